"""The masked transformer of MMM."""
