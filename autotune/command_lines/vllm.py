"""vLLM's options, as far as they matter to us."""

from __future__ import annotations

from autotune.command_lines.dialect import Condition, Dialect
from autotune.command_lines.tokens import Option

_ONE = frozenset({"1"})
_ATTENTION_CONFIG = Option(("--attention-config", "-ac"))

VLLM = Dialect(
    engine="vllm",
    source="vllm 0.24.0 and 0.32.0: engine/arg_utils.py and the cli_args.py of its server",
    model=Option(("--model",)),
    revision=Option(("--revision",)),
    tensor_parallel=Option(("--tensor-parallel-size", "-tp")),
    dtype=Option(("--dtype",)),
    kv_dtype=Option(("--kv-cache-dtype",)),
    page_size=Option(("--block-size",)),
    max_model_len=Option(("--max-model-len",)),
    config_file=Option(("--config",)),
    config_source=Option(("--hf-config-path",)),
    explicit=(
        Condition(Option(("--attention-backend",)), unless=frozenset({"auto"})),
        Condition(
            _ATTENTION_CONFIG,
            unless=frozenset({"auto"}),
            keys=frozenset({"backend", "backend_per_kind", "flash_attn_version"}),
        ),
    ),
    agreement=(
        Condition(Option(("--kv-transfer-config",))),
        Condition(Option(("--nnodes", "-n")), unless=_ONE),
        Condition(Option(("--node-rank", "-r")), unless=frozenset({"0"})),
        Condition(Option(("--headless",), is_flag=True)),
        Condition(Option(("--data-parallel-address", "-dpa"))),
        Condition(Option(("--data-parallel-start-rank", "-dpr"))),
        Condition(Option(("--data-parallel-rank", "-dpn"))),
        Condition(Option(("--data-parallel-hybrid-lb", "-dph"), is_flag=True)),
        Condition(Option(("--data-parallel-external-lb", "-dpe"), is_flag=True)),
        Condition(Option(("--data-parallel-multi-port-external-lb", "-dpm"), is_flag=True)),
        Condition(Option(("--data-parallel-backend", "-dpb")), only=frozenset({"ray"})),
        Condition(Option(("--distributed-executor-backend",)), only=frozenset({"ray"})),
    ),
    unmodelled=(
        Condition(Option(("--decode-context-parallel-size", "-dcp")), unless=_ONE),
        Condition(Option(("--prefill-context-parallel-size", "-pcp")), unless=_ONE),
        Condition(Option(("--hf-overrides",)), unless=frozenset({"{}"})),
        Condition(Option(("--disable-sliding-window",), is_flag=True)),
    ),
    apart=(Option(("--diffusion-config", "-dc")),),
)
