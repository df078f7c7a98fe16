"""Traffic: how much each standard workload weighs in a decision.

`balanced` is the share of attention time in a replay of public traces through a vLLM-like
scheduler on an H100 (Azure 2023 conversation and code, Mooncake FAST'25; six scenarios, at least
1 each). The others are shares in percent by `benchmarks/profile_weights.py`, which names what they
are drawn from. Priors, not measurements of anybody's traffic.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from autotune.errors import ProfileError
from kernels_bench.grid import GridPoint
from kernels_bench.spec import Phase
from kernels_bench.workload import parse_workload


@dataclass(frozen=True)
class Profile:
    """Weights over standard workloads; only their ratios matter."""

    name: str
    weights: Mapping[str, float]
    """Workload text -> weight."""
    is_own: bool = False
    """A user's: what it weighs is exact, and nothing stands in for what was not measured."""
    notes: tuple[str, ...] = ()
    """What a reader of its file should know, a line each."""

    @property
    def key(self) -> str:
        """What identifies it: its name, and for a user's own the weights as well."""
        if not self.is_own:
            return self.name
        total = sum(self.weights.values())
        shares = {name: round(weight / total, 9) for name, weight in self.weights.items()}
        text = json.dumps(shares, sort_keys=True)
        return f"{self.name}#{hashlib.sha256(text.encode()).hexdigest()[:8]}"

    def uncovered(self, points: tuple[GridPoint, ...]) -> dict[str, float]:
        """Workload -> share of all weight, of those that no point stands for: a user's own that are
        none of the points, and a built-in one's of whose phase no other point stands in.
        """
        there = {point.standard for point in points}
        spare = (
            set()
            if self.is_own
            else {point.workload.phase for point in points if point.standard not in self.weights}
        )
        total = sum(self.weights.values())
        return {
            text: weight / total
            for text, weight in self.weights.items()
            if weight and text not in there and parse_workload(text).phase not in spare
        }

    def weigh(self, points: tuple[GridPoint, ...]) -> dict[str, float]:
        """Measured workload text -> weight.

        Of a built-in profile, points that it does not list, as most of a CPU's, share evenly what
        the listed ones leave of their phase's weight.
        """
        unlisted = [point for point in points if point.standard not in self.weights]
        left = self._left_by_phase(points)
        weights: dict[str, float] = {}
        for point in points:
            phase = point.workload.phase
            alike = sum(1 for other in unlisted if other.workload.phase is phase)
            shared = 0.0 if self.is_own else left[phase] / max(1, alike)
            weight = self.weights.get(point.standard, shared)
            text = point.workload.text
            weights[text] = weights.get(text, 0.0) + weight
        return weights

    def _left_by_phase(self, points: tuple[GridPoint, ...]) -> dict[Phase, float]:
        """The weight of the listed workloads that are not among the points."""
        there = {point.standard for point in points}
        totals = dict.fromkeys(Phase, 0.0)
        for text, weight in self.weights.items():
            if text not in there:
                totals[parse_workload(text).phase] += weight
        return totals


BALANCED = Profile(
    "balanced",
    MappingProxyType(
        {
            "q1s1k": 1, "q1s16k": 1, "8q1s1228v80": 2, "8q1s16kv80": 8, "32q1s1228v80": 14,
            "32q1s16kv80": 8, "128q1s2kv80": 1, "256q1s1228v80": 6,
            "64q1s512": 1, "128q1s256": 1, "256q1s320": 1,
            "q512": 1, "q220_q1000_q1050_q1800": 1, "q4k": 1, "q8k": 2,
            "q2ks4k": 1, "q8ks16k": 1, "q8ks40k": 7, "q512s8704": 1,
            "16q4s4k": 1,
            "32q1s1228v80_q1k": 3, "100q1s2kv80_5q1200": 27, "256q1s1228v80_2q1k": 8,
            "24q1s15kv80_q8ks24k": 6,
        }
    ),
)  # fmt: skip

CHAT = Profile(
    "chat",
    MappingProxyType(
        {
            "32q1s1228v80": 42, "256q1s1228v80": 20, "32q1s1228v80_q1k": 7,
            "100q1s2kv80_5q1200": 3, "256q1s1228v80_2q1k": 27,
        }
    ),
)  # fmt: skip
"""Azure 2023 conversation (Splitwise)."""
CODE = Profile(
    "code",
    MappingProxyType(
        {
            "8q1s1228v80": 20, "8q1s16kv80": 2, "128q1s2kv80": 2, "q220_q1000_q1050_q1800": 1,
            "q4k": 11, "q8k": 9, "q8ks16k": 2, "32q1s1228v80_q1k": 4, "100q1s2kv80_5q1200": 47,
        }
    ),
)  # fmt: skip
"""Azure 2023 code (Splitwise)."""
LONG_CONTEXT = Profile(
    "long-context",
    MappingProxyType(
        {
            "8q1s1228v80": 1, "8q1s16kv80": 26, "32q1s16kv80": 24, "q8ks16k": 4, "q8ks40k": 34,
            "24q1s15kv80_q8ks24k": 10,
        }
    ),
)  # fmt: skip
"""Mooncake FAST'25, conversation and synthetic, prefix hits included."""
DECODE_HEAVY = Profile(
    "decode-heavy",
    MappingProxyType(
        {
            "64q1s512": 33, "128q1s256": 33, "256q1s320": 33,
        }
    ),
)  # fmt: skip
"""Short prompts, long answers, many at once, as in generation of data; no public trace."""

_PROFILES = {
    profile.name: profile for profile in (BALANCED, CHAT, CODE, LONG_CONTEXT, DECODE_HEAVY)
}


def find_profile(name: str) -> Profile:
    """The profile of that name, or of a file of one's own; raises ProfileError."""
    if name in _PROFILES:
        return _PROFILES[name]
    if not _is_file(name):
        known = f"{', '.join(_PROFILES)}, or a file of weights, requests or vLLM's metrics"
        raise ProfileError(f"profile {name[:80]!r}: expected one of {known}")
    # Imported late: a start with a built-in profile needs no reader of logs.
    from autotune.traffic.files import read_profile

    return read_profile(Path(name))


def _is_file(name: str) -> bool:
    """Also a pipe, as in `--profile <(zcat log.gz)`; names that no path can have are none."""
    try:
        return bool(name) and Path(name).exists() and not Path(name).is_dir()
    except (OSError, ValueError):
        return False
