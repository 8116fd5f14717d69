"""Pure functions that measure motions."""
