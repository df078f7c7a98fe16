"""One start of a real vLLM: which backend class its worker loaded, and what it took. JSON, last.

python benchmarks/engine_start.py MODEL_FOLDER '{"enforce_eager": true, "max_model_len": 4096}'
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any


def start(model: str, arguments: dict[str, Any]) -> dict[str, object]:
    import torch
    from vllm import LLM, SamplingParams

    began = time.monotonic()
    llm = LLM(
        model=model,
        load_format="dummy",
        skip_tokenizer_init=True,
        worker_extension_cls="autotune.in_vllm.witness.Witness",
        **arguments,
    )
    took_s = time.monotonic() - began
    config = llm.llm_engine.vllm_config
    asked = SamplingParams(max_tokens=16, temperature=0.0, detokenize=False)
    prompts = [{"prompt_token_ids": [1 + i, *range(5, 105)]} for i in range(4)]
    outputs = llm.generate(prompts, asked, use_tqdm=False)
    return {
        "classes": llm.collective_rpc("attention_backends")[0],
        "config": getattr(config.attention_config.backend, "name", None),
        "hash": llm.collective_rpc("config_hash")[0],
        "tokens": [list(output.outputs[0].token_ids) for output in outputs],
        "start_s": round(took_s, 1),
        "has_context": torch.cuda.is_initialized(),
    }


if __name__ == "__main__":  # vLLM's processes import this file again
    print("STARTED", json.dumps(start(sys.argv[1], json.loads(sys.argv[2]))))
