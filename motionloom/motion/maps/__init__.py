"""Joint name maps, as data."""
