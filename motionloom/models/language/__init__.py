"""The motion language model of M3GPT."""
