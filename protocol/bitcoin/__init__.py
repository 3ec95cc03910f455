"""Just enough Bitcoin: scripts, transactions, signature hashes, addresses, blocks."""
