"""The interface to the outside: Core Lightning's JSON-RPC, as a machine."""
