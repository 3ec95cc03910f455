"""On-chain coins: what is said about them (`items`), and the decisions (`machine`)."""
