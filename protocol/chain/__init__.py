"""The chain as the node sees it: watches, reorganisations, rebroadcast."""
