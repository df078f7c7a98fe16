"""A user's own traffic: files of weights, request logs and vLLM's metrics, made into weights."""
