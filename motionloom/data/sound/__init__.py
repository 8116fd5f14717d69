"""Synthetic music and speech, and the sound features of a store."""
