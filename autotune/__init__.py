"""Chooses the attention backend of an LLM engine by measuring, and remembers the answer."""
