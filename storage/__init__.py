"""Where it is kept: snapshots of bytes under names. Knows nothing of Lightning."""
