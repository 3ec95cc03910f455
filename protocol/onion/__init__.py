"""BOLT 4: onions, what they say to a hop, and the failures that travel back."""
