"""Name families of rigs, as data."""
