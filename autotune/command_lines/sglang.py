"""SGLang's options, as far as they matter to us."""

from __future__ import annotations

from autotune.command_lines.dialect import Condition, Dialect
from autotune.command_lines.tokens import Option

_ONE = frozenset({"1"})

SGLANG = Dialect(
    engine="sglang",
    # `--tp` is no name of its own there: argparse takes it as the beginning of --tp-size.
    source="sglang 0.5.23: srt/arg_groups/fields/, srt/server_args.py and cli/serve.py",
    model=Option(("--model-path", "--model")),
    revision=Option(("--revision",)),
    tensor_parallel=Option(("--tp-size", "--tensor-parallel-size")),
    dtype=Option(("--dtype",)),
    kv_dtype=Option(("--kv-cache-dtype",)),
    page_size=Option(("--page-size",)),
    max_model_len=Option(("--context-length",)),
    config_file=Option(("--config",)),
    device=Option(("--device",)),
    explicit=(
        Condition(Option(("--attention-backend",))),
        Condition(Option(("--prefill-attention-backend",))),
        Condition(Option(("--decode-attention-backend",))),
        Condition(Option(("--enable-deterministic-inference",), is_flag=True)),
    ),
    agreement=(
        Condition(Option(("--disaggregation-mode",))),
        Condition(Option(("--nnodes",)), unless=_ONE),
        Condition(Option(("--node-rank",)), unless=frozenset({"0"})),
        Condition(Option(("--use-ray",), is_flag=True)),
    ),
    unmodelled=(
        Condition(Option(("--enable-dp-attention",), is_flag=True)),
        Condition(Option(("--attn-dp-size", "--attention-data-parallel-size")), unless=_ONE),
        Condition(Option(("--attn-cp-size", "--attention-context-parallel-size")), unless=_ONE),
        Condition(Option(("--dcp-size", "--decode-context-parallel-size")), unless=_ONE),
        Condition(Option(("--json-model-override-args",)), unless=frozenset({"{}"})),
        Condition(Option(("--model-type",)), unless=frozenset({"auto", "llm"})),
    ),
)
