"""Bounded readers of containers that datasets come in."""
