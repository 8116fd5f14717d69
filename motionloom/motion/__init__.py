"""What a motion is."""
