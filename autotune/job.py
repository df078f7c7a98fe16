"""A tuning run as it is asked for."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from autotune._store import TuningSubject
from autotune.keys import Question, device_key
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

    def since(self, started: float) -> Job:
        """With what is left of its budget, which began at this `time.monotonic` moment."""
        if self.budget_s is None:
            return self
        return replace(self, budget_s=max(0.0, self.budget_s - (time.monotonic() - started)))

    @property
    def question(self) -> Question:
        """What the decision will answer."""
        return self.question_for(self.wishes.engine)

    def question_for(self, engine: str) -> Question:
        """The same for another engine."""
        return Question(self.model, engine, self.profile.key)


def subject_of(job: Job, path: Path) -> TuningSubject:
    """One device, whatever host it is in, and one model, whatever it is tuned for."""
    device = job.found.device
    name = f"{job.model.name} on {device.name}"
    return TuningSubject(path, device_key(device), job.model.fingerprint, name)
