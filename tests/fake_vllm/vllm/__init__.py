"""As much of vLLM as the plug-in touches, with the signatures of 0.24; nothing of it computes."""

__version__ = "0.24.0"
