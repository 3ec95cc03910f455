"""The program: command line, configuration, starting everything."""
