"""The peers: connections, and the living channels of each."""
