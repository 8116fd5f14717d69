"""Command line and pictures."""
