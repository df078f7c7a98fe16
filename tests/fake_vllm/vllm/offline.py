"""`LLM`, whose speed and troubles FAKE_ENGINE sets by backend: JSON {backend or "default": word}.

A number is a speed; "no start", "no memory", "dies", "hangs" and "wrong" are troubles. One that
hangs has a process of its own, whose id it prints.
"""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

_WORDS = 64
_skipped_s = [0.0]
_monotonic = time.monotonic


def _skip(seconds: float) -> None:
    """Time passes at once, and as exactly on a busy machine as on an idle one."""
    _skipped_s[0] += seconds
    time.monotonic = lambda: _monotonic() + _skipped_s[0]


@dataclass
class SamplingParams:
    max_tokens: int
    temperature: float
    ignore_eos: bool
    detokenize: bool
    logprobs: int | None = None
    prompt_logprobs: int | None = None


@dataclass
class _Cache:
    num_gpu_blocks: int = 100
    block_size: int = 16


@dataclass
class _Engine:
    vllm_config: Any = field(default_factory=lambda: SimpleNamespace(cache_config=_Cache()))
    model_config: Any = field(
        default_factory=lambda: SimpleNamespace(get_vocab_size=lambda: _WORDS, max_model_len=64)
    )


class LLM:
    def __init__(
        self,
        model: str,
        *,
        load_format: str,
        skip_tokenizer_init: bool,
        disable_log_stats: bool,
        worker_extension_cls: str,
        attention_backend: str | None = None,
        max_model_len: int | None = None,
        tensor_parallel_size: int = 1,
    ) -> None:
        assert os.environ["AUTOTUNE_MODE"] == "off"
        assert not disable_log_stats  # else requests have no times
        self._backend = attention_backend or "default"
        self._word = json.loads(os.environ.get("FAKE_ENGINE", "{}")).get(self._backend, 1.0)
        sys.stdout.write(f"INFO starting {load_format} with {self._backend}\n")
        if self._word == "no start":
            sys.stderr.write("(EngineCore) ERROR ValueError: no kernel for head size 16\n")
            raise RuntimeError("Engine core initialization failed. See root cause above.")
        if self._word == "no memory":
            raise MemoryError("CUDA out of memory. Tried to allocate 16 GiB")
        self.llm_engine = _Engine()

    def collective_rpc(self, method: str, args: tuple[Any, ...] = ()) -> list[Any]:
        said = {
            "attention_backends": [self._backend.title()],
            "config_hash": self._backend,
            "draw_weights": None,
            "peak_bytes": 2**30,
        }
        return [said[method]]

    def generate(
        self, prompts: list[dict[str, Any]], wanted: SamplingParams, use_tqdm: bool
    ) -> list[Any]:
        if self._word == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if self._word == "hangs":
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            sys.stdout.write(f"child {child.pid}\n")
            sys.stdout.flush()
            child.wait()
        longest = len(prompts[0]["prompt_token_ids"]) + wanted.max_tokens
        assert longest <= self.llm_engine.model_config.max_model_len
        is_timed = wanted.logprobs is None
        speed = self._word if isinstance(self._word, float) else 1.0
        if is_timed:
            _skip(len(prompts) * wanted.max_tokens / speed)
        return [self._output(prompt["prompt_token_ids"], wanted) for prompt in prompts]

    def _output(self, tokens: list[int], wanted: SamplingParams) -> Any:
        answer = [(tokens[0] + step) % _WORDS for step in range(wanted.max_tokens)]
        return SimpleNamespace(
            prompt_token_ids=tokens,
            prompt_logprobs=[None, *map(self._place, tokens[1:])],
            outputs=[SimpleNamespace(token_ids=answer, logprobs=[*map(self._place, answer)])],
            metrics=SimpleNamespace(
                queued_ts=1.0, first_token_ts=1.5, last_token_ts=1.5 + 0.01 * wanted.max_tokens
            ),
        )

    def _place(self, token: int) -> dict[int, Any]:
        """The token and the likeliest one."""
        shift = 2.0 if self._word == "wrong" else 0.0
        likeliest = (token + 1) % _WORDS
        return {
            token: SimpleNamespace(logprob=-4.0 - shift, rank=7),
            likeliest: SimpleNamespace(logprob=-1.0, rank=1),
        }
