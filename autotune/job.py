"""A tuning run as it is asked for."""

from __future__ import annotations

from dataclasses import dataclass

from autotune.keys import Question
from autotune.models import ModelConfig
from autotune.profiles import Profile
from autotune.wishes import Wishes
from kernels_bench.devices import FoundDevice
from kernels_bench.grid import Effort


@dataclass(frozen=True)
class Job:
    """What to tune."""

    model: ModelConfig
    found: FoundDevice
    profile: Profile
    wishes: Wishes
    effort: Effort = "quick"
    budget_s: float | None = None
    """None: until everything is measured."""
    force: bool = False
    """Measure again what is stored."""

    @property
    def question(self) -> Question:
        """What the decision will answer."""
        return self.question_for(self.wishes.engine)

    def question_for(self, engine: str) -> Question:
        """The same for another engine."""
        return Question(self.model, engine, self.profile.key)
