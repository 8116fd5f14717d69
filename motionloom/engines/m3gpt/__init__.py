"""M3GPT: text, music and motion in one language model (arXiv 2405.16273)."""
