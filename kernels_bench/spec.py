"""The vocabulary that measuring, remembering and deciding share. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal, TypeAlias

DeviceKind: TypeAlias = Literal["cuda", "rocm", "cpu"]
Layout: TypeAlias = Literal["NHD", "HND"]
AttentionType: TypeAlias = Literal["decoder", "encoder_only", "cross"]
FailureKind: TypeAlias = Literal["crash", "hang", "memory", "exception", "compile"]

Stack: TypeAlias = Mapping[str, str]
"""Distribution -> version: driver, cuda or hip, torch, triton, and every kernel package found."""


class Phase(str, Enum):
    """What the new tokens of a batch are to the cached ones; engines capture and dispatch by it."""

    PREFILL = "prefill"
    """New tokens, nothing cached."""
    EXTEND = "extend"
    """New tokens over cached ones: chunked prefill, prefix hit."""
    DECODE = "decode"
    """One new token a request."""
    VERIFY = "verify"
    """2 to 16 new tokens a request: speculative decoding."""
    MIXED = "mixed"


@dataclass(frozen=True)
class Device:
    """What the numbers depend on. Equal on two hosts with the same part."""

    kind: DeviceKind
    name: str
    """As the driver says it: "NVIDIA H100 80GB HBM3"."""
    arch: str
    """ "sm_90", "gfx942", "x86_64+avx512+amx"."""
    multiprocessors: int
    """SMs, CUs, or the cores that this process may use."""
    memory_bytes: int
    last_level_cache_bytes: int
    """L2; on MI300 the Infinity Cache; on a CPU the last level that all cores share."""
    partition: str = ""
    """MIG profile, or CPX/NPS mode."""
    power_limit_w: int = 0
    """A drift when it differs, not another device."""


@dataclass(frozen=True)
class Mla:
    """DeepSeek's multi-head latent attention: recognised, not yet measured."""

    kv_lora_rank: int
    qk_rope_head_dim: int
    qk_nope_head_dim: int
    v_head_dim: int


@dataclass(frozen=True)
class AttentionSpec:
    """What a kernel sees of one kind of layer. Heads are per rank.

    Page size and KV layout are the candidate's answer, not the model's question.
    """

    num_q_heads: int
    num_kv_heads: int
    head_dim: int
    dtype: str
    """ "bfloat16" or "float16"."""
    num_layers: int
    """Layers of this kind: host cost is spread over them."""
    head_dim_v: int | None = None
    """None: head_dim."""
    kv_dtype: str | None = None
    """None: dtype; "fp8_e4m3", "fp8_e5m2"."""
    softmax_scale: float | None = None
    """None: head_dim ** -0.5."""
    sliding_window: int | None = None
    """Tokens that a query sees, itself included."""
    attention_chunk: int | None = None
    """Llama 4: a query sees its own chunk alone, tokens."""
    logit_softcap: float | None = None
    has_sinks: bool = False
    has_alibi: bool = False
    causal: bool = True
    mla: Mla | None = None
    page_size: int | None = None
    """Tokens a page, only where the user pinned one."""
    has_mixed_windows: bool = False
    """Other layers of the model have another window, or none: vLLM's FlashAttention 3 then goes
    without the schedule that it makes ahead for all layers at once."""
    attention_type: AttentionType = "decoder"
    """What queries attend to: their own past, their own text, or another one. Both of the others
    are not causal; an encoder keeps no cache, so that it only ever prefills."""
    batch_invariant: bool = False
    """The user wants a request's result to the bit, whatever else is in the batch."""

    @property
    def value_dim(self) -> int:
        """Dimension of one value head."""
        return self.head_dim if self.head_dim_v is None else self.head_dim_v

    @property
    def kv_element_bytes(self) -> int:
        """Bytes of one number in the KV cache."""
        return 2 if self.kv_dtype is None else 1

    @property
    def scale(self) -> float:
        """What the logits are multiplied by."""
        return self.head_dim**-0.5 if self.softmax_scale is None else self.softmax_scale

    @property
    def kind(self) -> str:
        """The kind of layer, as `per_kind` names it."""
        if self.mla is not None:
            return "mla"
        if self.attention_chunk is not None:
            return "chunk"
        return "full" if self.sliding_window is None else "window"


@dataclass(frozen=True)
class Reason:
    """One cause of a refusal."""

    field: str
    """For code: "head_dim", "arch", "package"."""
    text: str
    """For people, with the value that offends: "head_dim 512: at most 256"."""


@dataclass(frozen=True)
class Support:
    """A yes, or every reason why not."""

    reasons: tuple[Reason, ...] = ()

    def __bool__(self) -> bool:
        return not self.reasons


@dataclass(frozen=True)
class Pages:
    """How a candidate wants the KV cache: tokens a page, and the order of a page's axes."""

    size: int
    layout: Layout = "NHD"
    """NHD is [pages, size, heads, dim]; HND is [pages, heads, size, dim]."""

    def count_for(self, tokens: int) -> int:
        """How many pages so many tokens take."""
        return -(-tokens // self.size)


@dataclass(frozen=True)
class Variant:
    """A knob worth racing, and the provider of the code: "fa3@vllm", "fa2", "tile128x64w8"."""

    name: str
    packages: tuple[str, ...] = ()
    """Distributions whose versions its numbers depend on."""
    pages: tuple[Pages, ...] = (Pages(16),)
    """The first is preferred; a pinned page size restricts."""
    graph_phases: frozenset[Phase] = frozenset(Phase)
    """Phases in which an engine may capture it."""
    engine_options: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """{"vllm": {"attention_backend": "FLASH_ATTN"}}; absent: that engine cannot load it."""


@dataclass(frozen=True)
class Health:
    """What the device went through while a measurement was made."""

    warnings: tuple[str, ...] = ()
    """Why the numbers may not be trusted; empty where nothing speaks against them."""
    voided_rounds: int = 0
    """Rounds that were thrown away, since the clock moved or the hardware slowed itself down."""
    clock_mhz: int | None = None
    """Of the multiprocessors, median over the rounds; None where nobody tells."""
    temperature_c: int | None = None
    """The highest over the rounds; None where nobody tells."""


@dataclass(frozen=True)
class Timed:
    """The candidate is right, and this is what it costs."""

    gpu_us: float
    """A layer, median. On a CPU the time of `run`."""
    call_us: float
    """Host time of one call, where the phase runs eager."""
    plan_us: float
    """Host time once a step."""
    noise: float
    """Relative spread, in one round, of the ratio between the costs of two candidates."""
    samples: int
    floor_fraction: float
    """Physical floor / gpu_us; above 1 is a broken measurement."""
    is_captured: bool = False
    """Replayed from a CUDA graph in this phase, so that an engine pays no `call_us`."""
    plan_waits: bool = False
    """`plan` waits for the device, so that an engine cannot plan a step while another runs."""
    compile_s: float = 0.0
    """From `prepare` to the first results of the layer's workloads, imports included; what lay
    compiled on the disk counts as it was found."""
    workspace_bytes: int | None = None
    """Device memory that the candidate takes beside the batch; None where nobody counts (a CPU)."""
    rounds_us: tuple[float, ...] = ()
    """The device's time of a layer, round by round from the first; none where it was sent home."""
    health: Health = Health()


@dataclass(frozen=True)
class Rejected:
    """The candidate says that it cannot run this."""

    reasons: tuple[Reason, ...]


@dataclass(frozen=True)
class Wrong:
    """The candidate ran and computed something else."""

    check: str
    """Which check of the gate."""
    error: float
    allowed: float


@dataclass(frozen=True)
class Failed:
    """The candidate did not finish."""

    kind: FailureKind
    message: str
    """One line."""


Outcome: TypeAlias = Timed | Rejected | Wrong | Failed
