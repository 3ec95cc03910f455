"""BOLT 7: what is told to strangers about channels and nodes, and what of theirs is believed."""
