"""Who waits for whom on a GPU: work that goes on behind the last event, and plans that wait."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kernels_bench.cuda_blocks import Block, keep_busy, mark
from kernels_bench.host_clock import wall_us

if TYPE_CHECKING:
    from collections.abc import Callable

_LATE_US, _LATE_SHARE = 100.0, 0.2
_SYNCHRONISING_US = 5.0
"""Less than a synchronisation takes, even of an idle device: that is about 10 us."""
_WAIT_US = 2_000.0


class UnfinishedError(Exception):
    """The device worked on behind the end of what was timed."""


def check_finished(block: Block) -> None:
    """Raises UnfinishedError where the device is still busy when the block's last event is done:
    work on another stream, that no event saw. Twice, since a host may be late once by itself.
    """
    if _late(block) is None or (late := _late(block)) is None:
        return
    raise UnfinishedError(
        f"the device worked for {late.behind_us:.0f} us behind the end of what was timed"
        f" ({late.timed_us:.0f} us): on another stream?"
    )


@dataclass(frozen=True)
class _Late:
    timed_us: float
    behind_us: float


def _late(block: Block) -> _Late | None:
    import torch

    torch.cuda.synchronize()
    marks = mark(replace(block, delay_us=0.0))  # during a delay, another stream would be done
    marks.end.synchronize()
    behind_us, timed_us = wall_us([torch.cuda.synchronize]), marks.elapsed_us()
    is_late = behind_us > _LATE_US + _LATE_SHARE * timed_us
    return _Late(timed_us, behind_us) if is_late else None


def waits_for_the_device(act: Callable[[], object]) -> bool:
    """Whether it returns only once the device has done what was queued before."""
    import torch

    torch.cuda.synchronize()
    own_us = wall_us([act])
    if own_us < _SYNCHRONISING_US:
        return False
    torch.cuda.synchronize()
    keep_busy(_WAIT_US)
    behind_us = wall_us([act])
    torch.cuda.synchronize()
    return behind_us > own_us + _WAIT_US / 2
