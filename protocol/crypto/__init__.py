"""Keys, onions, noise."""
