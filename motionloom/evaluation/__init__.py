"""Evaluation of engines, a file a protocol."""
