"""PURE: what Lightning says must happen. No sockets, clocks, dice, actors or files."""
