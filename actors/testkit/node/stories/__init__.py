"""Stories of whole nodes, whose sentences may be said again at any time."""
