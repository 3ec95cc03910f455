"""BOLT messages as bytes."""
