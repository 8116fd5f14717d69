"""MMM: the generative masked motion model (arXiv 2312.03596)."""
