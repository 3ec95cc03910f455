"""On-chain coins: what is said about them (`messages`), and the decisions (`machine`)."""
