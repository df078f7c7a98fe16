"""For engines of one's own: measure with little to write. Apart from `api.py`, so that asking loads
none of it.
"""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass, replace

from autotune import chooser, tuner
from autotune._store import Holder, Layers, LockPatience, Store, hold_tuning_lock
from autotune.api import Cache, Model, described, layers_of, question_of
from autotune.decision import Choice
from autotune.errors import UsageError
from autotune.job import Job, subject_of
from autotune.keys import Question
from autotune.models import ModelRequest
from autotune.profiles import find_profile
from autotune.run import Observed, OnProgress
from autotune.settings import Settings, read_settings
from autotune.today import Asked
from autotune.tuner import Report
from autotune.wishes import Wishes
from kernels_bench.bench import Bench
from kernels_bench.candidates import Answer
from kernels_bench.devices import find_device
from kernels_bench.grid import Effort
from kernels_bench.spec import Failed, Wrong

_log = logging.getLogger("autotune")


@dataclass(frozen=True)
class Warmed:
    """What a tuning run did, and what starts get from now on."""

    report: Report
    choice: Choice
    """Were it not for an override, a lock or a mode."""
    also: tuple[Choice, ...] = ()
    """Of other engines, whose kernels were measured too."""

    @property
    def rejected(self) -> tuple[Answer, ...]:
        """Who said that it cannot run a phase of a kind of layer, with every reason."""
        answers = self.report.plan.situation.survey.answers
        return tuple(each for each in answers if not each.support)

    @property
    def wrong(self) -> tuple[Observed, ...]:
        """Who computed something else, and on what."""
        return tuple(each for each in self.report.observed if isinstance(each.outcome, Wrong))

    @property
    def failed(self) -> tuple[Observed, ...]:
        """Who crashed, hung, raised or found no memory."""
        return tuple(each for each in self.report.observed if isinstance(each.outcome, Failed))


def warm(
    model: Model,
    cache: Cache | None = None,
    *,
    device: str = "auto",
    engine: str = "any",
    profile: str | None = None,
    tensor_parallel: int = 1,
    dtype: str | None = None,
    kv_dtype: str | None = None,
    page_size: int | None = None,
    max_model_len: int | None = None,
    effort: Effort = "quick",
    budget_s: float | None = None,
    force: bool = False,
    wait: bool = True,
    on_progress: OnProgress = lambda _: None,
) -> Warmed:
    """Measure what the cache lacks, decide, remember; in a child process, from any thread.

    A model that nobody can run raises nothing: `rejected`, `wrong` and `failed` say why. Raises as
    `choose` does; TuningBusyError where another process tunes the same and `wait` is False, or the
    budget was waited away; CacheError where the cache cannot be written; WorkerError where no child
    can be started.

    Args:
        model: see `Model`; the arguments that `choose` has too mean the same.
        cache: its user's file is written, and no other.
        device: "auto", "cpu", "cuda:N".
        engine, profile, tensor_parallel, dtype, kv_dtype, page_size, max_model_len: as there.
        effort: "quick" or "full": how many workloads.
        budget_s: seconds after which the best answer so far is taken; None: AUTOTUNE_BUDGET.
        force: measure again what is stored.
        wait: for another process that tunes the same.
        on_progress: called in this thread as things happen.
    """
    if budget_s is not None and not budget_s > 0:
        raise UsageError(f"budget_s {budget_s}: expected seconds above 0, or None for no end")
    served = ModelRequest("", tensor_parallel, dtype, kv_dtype, page_size, max_model_len)
    settings, layers = read_settings(os.environ, profile), layers_of(cache)
    question = question_of(described(model, served), engine, settings)
    job = Job(
        model=question.model,
        found=find_device(device),
        profile=find_profile(settings.profile),
        wishes=Wishes(engine, settings.disabled, rocm=settings.rocm),
        effort=effort,
        budget_s=settings.budget_s if budget_s is None else budget_s,
        force=force,
    )
    with Bench(settings.patience) as bench:
        report = _tuned(job, layers, bench, wait, on_progress)
    return _warmed(job, report, settings, layers)


def _tuned(job: Job, layers: Layers, bench: Bench, wait: bool, on_progress: OnProgress) -> Report:
    """The run, under the lock; what was waited for it is part of the budget."""
    started = time.monotonic()
    patience = LockPatience(job.budget_s if wait else 0.0, _tell_wait, _tell_dead)
    with (
        Store.open(layers.user.path) as store,
        hold_tuning_lock(subject_of(job, store.path), patience),
    ):
        return tuner.warm(job.since(started), store, bench, on_progress)


def _tell_wait(holder: Holder | None) -> None:
    _log.info("attn-autotune: waiting for %s", holder or "another process")


def _tell_dead(holder: Holder) -> None:
    _log.warning("attn-autotune: %s, died; what it finished is kept", holder)


def _warmed(job: Job, report: Report, settings: Settings, layers: Layers) -> Warmed:
    def answered(question: Question) -> Choice:
        return chooser.answer(Asked(question, job.found, settings.unforced), layers)

    choice = answered(job.question)
    if report.decision is None:
        choice = replace(choice, why=f"{report.why}; {choice.why}")
    return Warmed(report, choice, tuple(map(answered, report.also)))
