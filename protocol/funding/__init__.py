"""Openings, both roles, from the first message until they need no more."""
