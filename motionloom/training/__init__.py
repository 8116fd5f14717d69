"""Training: one loop, and a file a trainer."""
