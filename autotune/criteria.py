"""How sure a decision has to be. Stored evidence can be decided again under others: `simulate`."""

from __future__ import annotations

from dataclasses import dataclass

from kernels_bench.standings import PROMOTION_MARGIN, REPLACE_MARGIN, TIE_MARGIN


@dataclass(frozen=True)
class Criteria:
    """Shares of a cost, 0.02 is 2 %; every margin also needs its 99 % bound to be clear."""

    promotion: float = PROMOTION_MARGIN
    """What a challenger costs less than the default, or the default stays."""
    tie: float = TIE_MARGIN
    """Challengers this close to the best are equal."""
    replace: float = REPLACE_MARGIN
    """What a challenger costs less than a stored winner, or that one stays."""
    split: float = 0.03
    """What two backends cost less than the best single one, or one serves all."""
    regression: float = 1.5
    """Nobody is taken who costs this many times the default's on a weighty workload."""
    weighty: float = 0.02
    """Share of all weight from which on a workload is weighty."""
    unmeasured: float = 0.5
    """Share of a profile's weight that nothing measured may stand for, or the default stays."""
    plan_share: float = 1.0
    """Of a plan's time, what a step waits for: 0 for an engine that plans while the last step runs,
    which only one can whose plans do not wait for the device."""
