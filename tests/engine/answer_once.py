"""Starts a real vLLM as a user would, asks it once, and prints what it saw as one line of JSON.

answer_once.py MODEL '{"attention_backend": "CPU_ATTN"}'
"""

from __future__ import annotations

import json
import sys
from typing import Any


def answer(model: str, arguments: dict[str, Any]) -> dict[str, object]:
    from vllm import LLM, SamplingParams

    llm = LLM(
        model=model,
        load_format="dummy",
        skip_tokenizer_init=True,
        enforce_eager=True,
        max_model_len=256,
        seed=0,
        **arguments,
    )
    config = llm.llm_engine.vllm_config
    asked = SamplingParams(max_tokens=8, temperature=0.0, detokenize=False)
    (output,) = llm.generate([{"prompt_token_ids": [1, 5, 7, 9]}], asked, use_tqdm=False)
    return {
        "backend": getattr(config.attention_config.backend, "name", None),
        "hash": config.compute_hash(),
        "tokens": list(output.outputs[0].token_ids),
        "dump": str(config),
        "metrics": _metrics(),
    }


def _metrics() -> list[str]:
    from prometheus_client import generate_latest

    lines = generate_latest().decode().splitlines()
    return [line for line in lines if line.startswith("attn_autotune")]


if __name__ == "__main__":  # vLLM's processes import this file again
    found = answer(sys.argv[1], json.loads(sys.argv[2]))
    print(f"ANSWER {json.dumps(found)}")  # noqa: T201
