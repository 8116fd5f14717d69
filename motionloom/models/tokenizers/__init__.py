"""Tokenizers of motion and music."""
