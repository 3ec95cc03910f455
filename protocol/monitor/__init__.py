"""The durable truth of each channel: its monitor."""
