"""Text-motion encoders: ours, and the one of Guo et al."""
