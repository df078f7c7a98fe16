"""Right before fast: a candidate's output against an fp32 reference.

The yardstick is the error of what a right kernel must round to the model's dtype, not a constant:
outputs shrink as contexts grow, and an absolute 1e-2 passes a kernel that drops a page at 16k
tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernels_bench.reference import reference_pair
from kernels_bench.sample import Stretch, sample
from kernels_bench.spec import AttentionSpec, Wrong
from kernels_bench.workload import Request, first_tokens

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from kernels_bench.batch import Contents

ERROR_RATIO = 3.0
"""A candidate may be this many times worse than the yardstick. FlashAttention's own tests allow
2 times the largest and 1.5 times the mean error of attention in the model's dtype (3 with a soft
cap; 4 and 3 with an fp8 cache), which rounds logits and sums too and so errs about twice as much as
ours: tests/test_flash_attn.py, hopper/test_flash_attn.py."""
LOOSE_RATIO = 4.0
"""Of the largest error where a soft cap or an fp8 cache adds roundings of its own."""
MEAN_RATIO = 2.0
LOOSE_MEAN_RATIO = 3.0
"""With an fp8 cache."""
ERROR_FLOOR = 0.005
"""Relative L2 that always passes: the reordered sums of a correct bf16 kernel."""
MAX_FLOOR = 0.001
"""Of the largest output."""
MEAN_FLOOR = 0.0025
"""Of the mean size of outputs."""
_GPU_LOGITS = 1 << 27
_CPU_LOGITS = 1 << 24
"""Logits that the reference of a workload computes; two CPU cores take 0.3 s for theirs."""
_LARGEST = 3.0e38
"""An infinite error is told as this: it must be storable."""


@dataclass(frozen=True)
class Errors:
    """How far an output is from the right one; or how far it may be."""

    relative_l2: Tensor
    """[B, Hq]: one bad request or head must not hide among good ones."""
    stretch_l2: Tensor
    """[stretches, Hq]: nor a few bad tokens in a long request."""
    max_error: Tensor
    """[1], absolute"""
    mean_error: Tensor
    """[1], absolute"""

    def named(self) -> tuple[tuple[str, Tensor], ...]:
        """Each with the name that a `Wrong` bears."""
        return (
            ("relative_l2", self.relative_l2),
            ("stretch_l2", self.stretch_l2),
            ("max_error", self.max_error),
            ("mean_error", self.mean_error),
        )


@dataclass(frozen=True)
class Places:
    """Where the sampled tokens stand; int64 [S]."""

    tokens: Tensor
    """In the output."""
    requests: Tensor
    stretches: Tensor
    num_requests: int
    num_stretches: int


@dataclass(frozen=True)
class Truth:
    """The right output of a workload's sampled tokens, and how far a right kernel may land."""

    places: Places
    output: Tensor
    """float32 [S, Hq, Dv]"""
    allowed: Errors


def make_truth(spec: AttentionSpec, contents: Contents) -> Truth:
    """Compute attention in fp32 and, for the yardstick, with what a fused kernel rounds; of a large
    workload for some tokens of every stretch of 64.
    """
    max_logits = _GPU_LOGITS if contents.query.is_cuda else _CPU_LOGITS
    stretches = sample(contents.requests, spec.num_q_heads, max_logits)
    chosen: list[list[int]] = [[] for _ in contents.requests]
    for stretch in stretches:
        chosen[stretch.request].extend(stretch.tokens)
    pair = reference_pair(spec, contents, chosen)
    places = _places(contents.requests, stretches, contents.query.device)
    yardstick = _errors(pair.rounded, pair.exact, places)
    return Truth(places, pair.exact, _allowed(spec, yardstick, pair.exact))


def check(truth: Truth, output: Tensor) -> Wrong | None:
    """Compare; None where the output [T, Hq, Dv] is right. It was filled with NaN before the run.

    Every element must be finite, also those of tokens that were not sampled.
    """
    import torch

    found = _errors(output[truth.places.tokens].float(), truth.output, truth.places)
    is_near = (_flat(found) <= _flat(truth.allowed)).all()
    is_right = torch.isfinite(output).all() & is_near
    return None if is_right else _first_wrong(truth, found, output)


def _first_wrong(truth: Truth, found: Errors, output: Tensor) -> Wrong | None:
    import torch

    unwritten = (~torch.isfinite(output)).float().mean()
    names = [name for name, _ in found.named()]
    worst = [
        _worst(error, allowed)
        for (_, error), (_, allowed) in zip(found.named(), truth.allowed.named(), strict=True)
    ]
    share, *numbers = torch.stack([unwritten, *(each for pair in worst for each in pair)]).tolist()
    if share:
        return Wrong("finite", error=share, allowed=0.0)
    for name, error, allowed in zip(names, numbers[::2], numbers[1::2], strict=True):
        if error > allowed:
            return Wrong(name, error=error, allowed=allowed)
    return None


def _places(
    requests: tuple[Request, ...], stretches: tuple[Stretch, ...], device: torch.device
) -> Places:
    import torch

    firsts = first_tokens(requests)
    rows = [
        (firsts[stretch.request] + token, stretch.request, index)
        for index, stretch in enumerate(stretches)
        for token in stretch.tokens
    ]
    tokens, in_requests, in_stretches = torch.tensor(rows).to(device).unbind(1)
    return Places(tokens, in_requests, in_stretches, len(requests), len(stretches))


def _errors(output: Tensor, exact: Tensor, places: Places) -> Errors:
    """Of outputs [S, Hq, Dv] at these places."""
    difference = output - exact
    errors, sizes = difference.square().sum(dim=2), exact.square().sum(dim=2)
    difference = difference.abs_()
    return Errors(
        _relative(errors, sizes, places.requests, places.num_requests),
        _relative(errors, sizes, places.stretches, places.num_stretches),
        difference.max()[None],
        difference.mean()[None],
    )


def _relative(errors: Tensor, sizes: Tensor, groups: Tensor, num_groups: int) -> Tensor:
    """Squares summed over the tokens of a group: their relative L2, [groups, Hq]."""
    import torch

    sums = torch.zeros((2, num_groups, errors.shape[1]), device=errors.device)
    sums.index_add_(1, groups, torch.stack([errors, sizes]))
    return (sums[0] / sums[1].clamp_min(torch.finfo(torch.float32).tiny)).sqrt()


def _allowed(spec: AttentionSpec, yardstick: Errors, exact: Tensor) -> Errors:
    is_fp8 = spec.kv_dtype is not None
    largest_ratio = LOOSE_RATIO if is_fp8 or spec.logit_softcap is not None else ERROR_RATIO
    mean_ratio = LOOSE_MEAN_RATIO if is_fp8 else MEAN_RATIO
    size = exact.abs()
    return Errors(
        _of_groups(yardstick.relative_l2),
        _of_groups(yardstick.stretch_l2),
        (largest_ratio * yardstick.max_error).clamp_min(MAX_FLOOR * size.max()),
        (mean_ratio * yardstick.mean_error).clamp_min(MEAN_FLOOR * size.mean()),
    )


def _flat(errors: Errors) -> Tensor:
    import torch

    return torch.cat([each.flatten() for _, each in errors.named()])


def _of_groups(yardstick: Tensor) -> Tensor:
    """Each group's own, but at least what is usual: its own may be small by luck."""
    return (ERROR_RATIO * yardstick.clamp_min(yardstick.mean())).clamp_min(ERROR_FLOOR)


def _worst(error: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor]:
    """Both numbers, where they are farthest apart."""
    at = (error / allowed).argmax()[None]
    # `take`, since an index on the device would make the host wait for it.
    return error.take(at)[0].clamp_max(_LARGEST), allowed.take(at)[0]
