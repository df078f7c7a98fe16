"""How long to measure, and when to stop."""

from __future__ import annotations

from dataclasses import dataclass, replace

from kernels_bench.spec import Device


@dataclass(frozen=True)
class Rules:
    """How long to measure."""

    min_rounds: int = 5
    max_rounds: int = 15
    block_us: float = 4_000.0
    """Calls are repeated until a block lasts this long."""
    max_calls: int = 32
    seconds: float = 3.0
    """No round is started after this time, once `min_rounds` are done."""
    hopeless: float = 2.0
    """Whose probe is more than so many times the best is not raced."""
    hopeless_us: float = 200.0
    """But no probe below this: what a short call costs to start, and what the cache still holds,
    is too large a part of it.
    """
    screen_rounds: int = 2
    """Not recorded."""
    screen_ratio: float = 1.25
    """Whose best round of the screen is more than so many times the best is sent home."""
    noisy: float = 0.02
    """Relative spread of one contestant's times, without the drift that all share."""
    noisy_rounds: int = 40
    """Instead of `max_rounds` while it is noisy; not where `min_rounds` equals that, which asks for
    exactly so many.
    """
    max_voided: int = 5
    """Disturbed rounds that are thrown away; after so many they count."""
    apart: bool = False
    """Wait for the device after every block: slower and noisier, but a fault shows whose it is."""
    warm_seconds: float = 0.15
    max_warm_seconds: float = 0.5
    heat: float = 0.0
    """Matrix products before each block, for so many times what that takes: attention is 6 to 33 %
    of the device's time in the engines that we traced. Each race is warmed up for by them.
    """

    def rounds_at(self, noise: float) -> int:
        """How many at most, at this relative spread of one contestant's times."""
        is_fixed = self.min_rounds == self.max_rounds
        return self.max_rounds if is_fixed or noise <= self.noisy else self.noisy_rounds

    def at_most(self, rounds: int) -> Rules:
        """These, for a race that is shorter."""
        least, most = min(self.min_rounds, rounds), min(self.max_rounds, rounds)
        return replace(self, min_rounds=least, max_rounds=most, noisy_rounds=most)


CPU_RULES = Rules()
# Hopeless at 1.5: first readings of 150 us or more were 12 % below to 6 % above what the race then
# said (one H100, 10 workloads, 4 repeats).
# Blocks of 1 ms: a replay costs about 15 us whatever it holds, 1.5 % even before it is subtracted
# (one H100, driver 580).
GPU_RULES = Rules(block_us=1_000.0, max_calls=48, seconds=1.0, hopeless=1.5, heat=3.0)


def rules_for(device: Device) -> Rules:
    """A GPU's noise falls with many short blocks, a CPU's with long ones."""
    return CPU_RULES if device.kind == "cpu" else GPU_RULES
