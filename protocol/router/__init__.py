"""Path finding on the graph of channels."""
