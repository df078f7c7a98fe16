"""In which dtypes and scales a workload's numbers are stored, as engines store them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernels_bench.spec import AttentionSpec

if TYPE_CHECKING:
    import torch
    from torch import Tensor

QUERY_SCALE = 2.0**-5
"""What an fp8 query is multiplied by: a power of two, so that the model's dtype holds every such
query to the bit. The largest, 14, lies above all that is drawn."""


def quantisable(spec: AttentionSpec, query: Tensor) -> Tensor:
    """Rounded to what an fp8 query holds, where the cache is fp8; in its own dtype."""
    import torch

    if spec.kv_dtype is None:
        return query
    return (query / QUERY_SCALE).to(torch.float8_e4m3fn).to(query.dtype) * QUERY_SCALE


def kv_storage(spec: AttentionSpec, device: torch.device) -> tuple[float, torch.dtype]:
    """Scale and dtype of the KV cache. Of e4m3 a fixed scale puts 6 sigma of a normal draw at the
    format's largest number, as a calibrated checkpoint would; e5m2 has the range of fp16, so that
    engines store what there is.
    """
    import torch

    match spec.kv_dtype:
        case None:
            return 1.0, getattr(torch, spec.dtype)
        case "fp8_e4m3":
            kv_dtype = torch.float8_e4m3fnuz if _is_fnuz(device) else torch.float8_e4m3fn
        case "fp8_e5m2":
            return 1.0, torch.float8_e5m2fnuz if _is_fnuz(device) else torch.float8_e5m2
        case other:
            raise ValueError(f"kv_dtype {other!r}: expected fp8_e4m3, fp8_e5m2 or none")
    return 6.0 / torch.finfo(kv_dtype).max, kv_dtype


def _is_fnuz(device: torch.device) -> bool:
    """CDNA 3 has formats of its own, without infinities and negative zero: AMD's ISA guide; vllm
    0.24, platforms/rocm.py, `is_fp8_fnuz`.
    """
    import torch

    if torch.version.hip is None or device.type == "cpu":
        return False
    arch: str = torch.cuda.get_device_properties(device).gcnArchName
    return arch.startswith("gfx94")
