"""How long a run will take, said before it begins. Rough: it knows no kernel's speed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autotune.plan import Step
from kernels_bench.floor import Peaks, floor_us
from kernels_bench.method import SEED
from kernels_bench.rules import rules_for
from kernels_bench.spec import Device


@dataclass(frozen=True)
class _Rates:
    """Of a kind of device, rounded from runs on the machines that are named."""

    per_step_s: float
    """Inputs, and the right answer."""
    per_candidate_s: float
    """Its check, its graph, its host times."""
    calls: float
    """Whole calls that one candidate makes, beside those that fill a block."""
    peaks: Peaks
    """What an ordinary candidate reaches."""


_CPU = _Rates(0.05, 0.02, 14.0, Peaks(2.5e9, 3.5e10))
"""Two cores of an AMD EPYC."""
_GPU = _Rates(0.06, 0.006, 5.0, Peaks(1e12, 2.5e14))
"""An H100."""


def estimate_s(device: Device, steps: Sequence[Step]) -> float:
    """Checking and timing; how long a compiler takes is not known before it has run."""
    return sum(_step_s(device, step) for step in steps)


def _step_s(device: Device, step: Step) -> float:
    rates, rules = _CPU if device.kind == "cpu" else _GPU, rules_for(device)
    call_s = floor_us(step.spec, step.workload.requests(SEED), rates.peaks) / 1e6
    race_s = rules.min_rounds * (1 + rules.heat) * rules.block_us / 1e6 + rates.calls * call_s
    warming_s = rules.warm_seconds if rules.heat else 0.0
    return rates.per_step_s + warming_s + len(step.answers) * (rates.per_candidate_s + race_s)
