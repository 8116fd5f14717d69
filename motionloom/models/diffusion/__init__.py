"""The diffusion transformer of LMM."""
