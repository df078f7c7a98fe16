"""What would run if nothing were measured: the incumbent of every race.

Data about engines, one place an engine and a platform, each with its source. For engine `any` it is
the order that the platform documents.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from autotune.incumbents_sglang import sglang_order
from autotune.incumbents_vllm import vllm_order
from autotune.settings import RocmFlags
from kernels_bench.spec import AttentionSpec, Device, DeviceKind, Stack

# cpu: a model in plain torch attends through SDPA. transformers 5.23, modeling_utils.py,
#   get_correct_attn_implementation: "sdpa" unless asked otherwise; flex_attention is opt-in. vLLM's
#   own kernel is what its engine takes there, and stands between the two.
# cuda and rocm: vLLM's order, see there; on ROCm with every backend of AITER, as no variable of
#   vLLM speaks for an engine of one's own. Our Triton kernels, which no engine lists, stand behind
#   the one that it lists, and behind them what it tries last or, on ROCm, not at all.
_BEHIND = ("triton_unified", "triton_split", "torch_flex", "torch_sdpa")
_ANY: Mapping[DeviceKind, tuple[str, ...]] = MappingProxyType(
    {
        "cpu": ("torch_sdpa", "vllm_cpu", "torch_flex"),
        "cuda": ("flash_attn", "flashinfer", "vllm_triton", *_BEHIND),
        "rocm": ("vllm_rocm", "aiter_fa", "aiter_unified", "vllm_triton", *_BEHIND),
    }
)
_ANY_SM10X = ("flashinfer", "flash_attn", "vllm_triton", *_BEHIND)

_NOTHING: Stack = MappingProxyType({})


def default_order(
    engine: str,
    device: Device,
    specs: Sequence[AttentionSpec] = (),
    stack: Stack = _NOTHING,
    flags: RocmFlags = RocmFlags(),  # noqa: B008 - frozen
) -> tuple[str, ...]:
    """Backends in the order in which an engine without measurements would take them: the first that
    can run. A name that is no candidate here is one that nobody measures yet.
    """
    match engine:
        case "vllm":
            return vllm_order(device, specs, stack, flags)
        case "sglang":
            return sglang_order(device, specs)
        case _:
            return _ANY_SM10X if device.arch.startswith("sm_10") else _ANY[device.kind]


def with_variants(order: Sequence[str], labels: Iterable[str]) -> tuple[str, ...]:
    """The order with each backend's "backend:variant" in its place; `labels` stand in the backends'
    own order. A backend that the order does not name comes after all that it names, by name.
    """
    own: dict[str, list[str]] = {}
    for label in dict.fromkeys(labels):
        own.setdefault(label.partition(":")[0], []).append(label)
    names = dict.fromkeys([*order, *sorted(own)])
    return tuple(each for name in names for each in (*own.get(name, ()), name))
