"""Keys and secrets (BOLT 3), and the encrypted transport (BOLT 8)."""
