"""One channel: its state, what it hears, what it says (BOLT 2 and 3)."""
