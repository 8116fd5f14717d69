"""What an engine is conditioned on."""
