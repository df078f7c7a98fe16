"""As much of vLLM as we touch, with the signatures of 0.24; nothing of it computes."""

from vllm.offline import LLM as LLM
from vllm.offline import SamplingParams as SamplingParams

__version__ = "0.24.0"
