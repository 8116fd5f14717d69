"""LMM: the large motion model (arXiv 2404.01284)."""
