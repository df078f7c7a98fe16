"""Right before fast: a candidate's output against an fp32 reference.

The yardstick is the error of plain attention in the model's own dtype, not a constant: outputs
shrink as contexts grow, and an absolute 1e-2 passes a kernel that drops a page at 16k tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernels_bench.reference import reference
from kernels_bench.spec import AttentionSpec, Wrong

if TYPE_CHECKING:
    from torch import Tensor

    from kernels_bench.batch import Contents
    from kernels_bench.workload import Request

ERROR_RATIO = 3.0
"""A candidate may be this many times worse than plain low-precision attention."""
ERROR_FLOOR = 0.005
"""Relative L2 that always passes: the reordered sums of a correct bf16 kernel."""


@dataclass(frozen=True)
class Truth:
    """The right output of a workload, and how far from it a right kernel may land."""

    output: Tensor
    """float32 [T, Hq, Dv]"""
    requests: tuple[Request, ...]
    allowed: float
    """Relative L2, per request and head."""


def make_truth(spec: AttentionSpec, contents: Contents) -> Truth:
    """Compute attention in fp32 and, for the yardstick, with what a fused kernel rounds."""
    import torch

    exact = reference(spec, contents, torch.float32)
    rounded = reference(spec, contents, torch.float32, rounded_to=contents.query.dtype)
    yardstick = float(_relative_l2(rounded, exact, contents.requests).max())
    return Truth(exact, contents.requests, max(ERROR_RATIO * yardstick, ERROR_FLOOR))


def check(truth: Truth, output: Tensor) -> Wrong | None:
    """Compare; None where the output is right. `output` was filled with NaN before the run."""
    import torch

    unwritten = float((~torch.isfinite(output)).float().mean())
    if unwritten:
        return Wrong("finite", error=unwritten, allowed=0.0)
    error = float(_relative_l2(output.float(), truth.output, truth.requests).max())
    if error > truth.allowed:
        return Wrong("relative_l2", error=error, allowed=truth.allowed)
    return None


def _relative_l2(output: Tensor, exact: Tensor, requests: tuple[Request, ...]) -> Tensor:
    """[B, Hq]: one bad sequence or head must not hide among good ones."""
    import torch

    new_tokens = torch.tensor([r.new_tokens for r in requests], device=exact.device)
    rows = torch.repeat_interleave(torch.arange(len(requests), device=exact.device), new_tokens)
    sums = torch.zeros(2, len(requests), exact.shape[1], device=exact.device)
    sums[0].index_add_(0, rows, (output - exact).square().sum(dim=2))
    sums[1].index_add_(0, rows, exact.square().sum(dim=2))
    return (sums[0] / sums[1].clamp_min(torch.finfo(torch.float32).tiny)).sqrt()
