"""Stand-ins without a kernel: devices, models, backends, a measuring process, plug-ins."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from autotune.models import ModelConfig
from autotune.ranking import Candidate
from kernels_bench.backends import Broken, FoundBackends
from kernels_bench.bench import Readiness
from kernels_bench.candidates import Entrant, Survey, survey
from kernels_bench.child import OutOfTime
from kernels_bench.devices import FoundDevice
from kernels_bench.messages import (
    AskAll,
    Examination,
    Examined,
    Finished,
    HarnessFailed,
    Passed,
    Rehearsal,
    Rehearsed,
    Step,
    Task,
)
from kernels_bench.spec import (
    AttentionSpec,
    Device,
    Failed,
    Outcome,
    Pages,
    Phase,
    Reason,
    Stack,
    Support,
    Timed,
    Variant,
    Wrong,
)

if TYPE_CHECKING:
    import pytest

    from kernels_bench.backends.base import Backend, Launch, PagedBatch

CPU = Device("cpu", "Fake CPU", "x86_64+avx512", 2, 16 << 30, 32 << 20)
H100 = Device("cuda", "NVIDIA H100 80GB HBM3", "sm_90", 132, 80 << 30, 50 << 20, power_limit_w=700)
CPU_FOUND = FoundDevice("cpu", CPU)
H100_FOUND = FoundDevice("cuda:0", H100, {"nvidia-driver": "580.1"})

FULL = AttentionSpec(8, 2, 64, "bfloat16", num_layers=4)
WINDOW = AttentionSpec(8, 2, 64, "bfloat16", num_layers=12, sliding_window=512)


def make_model(
    *specs: AttentionSpec,
    name: str = "tiny",
    max_model_len: int = 4096,
    unsupported: tuple[Reason, ...] = (),
) -> ModelConfig:
    return ModelConfig(name, "llama", specs, 1, max_model_len, unsupported)


def timed(gpu_us: float, noise: float = 0.01, plan_us: float = 0.0) -> Timed:
    return Timed(gpu_us, gpu_us, plan_us, noise, samples=15, floor_fraction=0.5)


def candidate(backend: str, variant: str = "plain") -> Candidate:
    return Candidate(backend, variant, Pages(16))


@dataclass(frozen=True)
class FakeBackend:
    """Says what it is told to say."""

    name: str
    variant_names: tuple[str, ...] = ("plain",)
    refusals: Mapping[Phase, tuple[Reason, ...]] = field(default_factory=dict)
    packages: tuple[str, ...] = ("torch",)
    pages: tuple[Pages, ...] = (Pages(16), Pages(32))
    engine_options: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    raises: str = ""
    """What `supports` raises instead of an answer."""

    def variants(self, device: Device, spec: AttentionSpec, stack: Stack) -> tuple[Variant, ...]:
        return tuple(
            Variant(name, self.packages, self.pages, engine_options=self.engine_options)
            for name in self.variant_names
        )

    def supports(
        self,
        variant: Variant,
        device: Device,
        spec: AttentionSpec,
        phase: Phase,
        stack: Stack,
    ) -> Support:
        if self.raises:
            raise RuntimeError(self.raises)
        return Support(self.refusals.get(phase, ()))

    def prepare(self, variant: Variant, spec: AttentionSpec, batch: PagedBatch) -> Launch:
        raise NotImplementedError


def refusing(name: str, text: str) -> FakeBackend:
    """A backend that says no to every phase."""
    return FakeBackend(name, refusals=dict.fromkeys(Phase, (Reason("arch", text),)))


SDPA, FLEX, SWIFT = FakeBackend("torch_sdpa"), FakeBackend("torch_flex"), FakeBackend("swift")
"""On a CPU the default's order is torch_sdpa, torch_flex, then whoever it does not name."""

OnTask = Callable[[Task], "Finished | OutOfTime | HarnessFailed | None"]


@dataclass
class FakeBench:
    """As `kernels_bench.bench.Bench`: answers from a table instead of a child process."""

    times_us: Mapping[str, float | Outcome]
    """Backend -> what it takes, or another outcome."""
    backends: tuple[Backend, ...] = (SDPA, FLEX, SWIFT)
    broken: tuple[Broken, ...] = ()
    on_task: OnTask = lambda _: None
    """Hears every task first; an answer of its own is the answer."""
    readiness: Mapping[str, Readiness] = field(default_factory=dict)
    """Backend -> how its rehearsal ends, if not well."""
    verdicts: Mapping[str, Wrong | Failed] = field(default_factory=dict)
    """Backend -> how its trials end, if it does not pass."""
    rehearsals: list[Rehearsal] = field(default_factory=list)
    examinations: list[Examination] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    """What was measured."""

    def survey(self, request: AskAll) -> Survey:
        found = FoundBackends(self.backends, self.broken)
        return survey(found, request.device, request.stack, request.specs, request.phases)

    def rehearse(
        self,
        rehearsals: Sequence[Rehearsal],
        deadline: float | None = None,
        on_ready: Callable[[int, Readiness], None] = lambda _, __: None,
    ) -> tuple[Readiness, ...]:
        self.rehearsals += rehearsals
        answers = tuple(
            self.readiness.get(each.entrant.backend, Rehearsed(1.5, 1 << 20)) for each in rehearsals
        )
        for index, answer in enumerate(answers):
            on_ready(index, answer)
        return answers

    def examine(
        self,
        examination: Examination,
        deadline: float | None = None,
        on_step: Callable[[Step], None] = lambda _: None,
    ) -> Examined | OutOfTime | HarnessFailed:
        self.examinations.append(examination)
        passed = Passed(plan_waits=False)
        return Examined(
            tuple(self.verdicts.get(each.backend, passed) for each in examination.entrants)
        )

    def measure(
        self,
        task: Task,
        deadline: float | None = None,
        on_step: Callable[[Step], None] = lambda _: None,
    ) -> Finished | OutOfTime | HarnessFailed:
        on_step(Step(None, "prepare"))
        special = self.on_task(task)
        if special is not None:
            return special
        self.tasks.append(task)
        return Finished(tuple(self._outcome(entrant) for entrant in task.entrants))

    def close(self) -> None:
        """Nothing to end."""

    def _outcome(self, entrant: Entrant) -> Outcome:
        answer = self.times_us[entrant.backend]
        return timed(answer) if isinstance(answer, float) else answer

    @property
    def measured(self) -> list[str]:
        """Workloads in the order in which they were measured."""
        return [task.workload.text for task in self.tasks]


def write_distribution(folder: Path, name: str, version: str, entry_points: str = "") -> None:
    """What an installer leaves behind, without the code."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    if entry_points:
        (info / "entry_points.txt").write_text(entry_points)


def write_plugin(folder: Path, name: str, source: str) -> None:
    """A backend as another distribution ships it; to be found, its folder goes on the path."""
    write_distribution(folder, name, "1.0", f"[attn_autotune.backends]\n{name} = {name}:BACKEND\n")
    (folder / f"{name}.py").write_text(source)


def install_plugin(monkeypatch: pytest.MonkeyPatch, folder: Path, backend: str) -> None:
    """Make a FakeBackend, written as its constructor's arguments, known to this process."""
    name = backend.partition(",")[0].strip("\"'")
    source = (
        f"from fakes import *\nfrom kernels_bench.spec import *\nBACKEND = FakeBackend({backend})\n"
    )
    write_plugin(folder, name, source)
    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(folder))


def has_ended(pid: int, within_s: float = 10.0) -> bool:
    """Whether a process is gone, or goes."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False
