"""The command line, a file a group of verbs; ``main`` is the entry point."""
