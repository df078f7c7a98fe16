"""The parent's side of measuring: owns the child processes and outlives their deaths."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias, TypeVar

from kernels_bench.backends import Broken
from kernels_bench.candidates import Survey
from kernels_bench.child import Child, Died, OutOfTime
from kernels_bench.errors import WorkerError
from kernels_bench.helpers import Helpers, helpers_for
from kernels_bench.messages import (
    AskAll,
    Event,
    Examination,
    Examined,
    Finished,
    HarnessFailed,
    Rehearsal,
    Rehearsed,
    Request,
    Step,
    Task,
    Turn,
)
from kernels_bench.patience import Patience
from kernels_bench.spec import Failed

Readiness: TypeAlias = Rehearsed | Failed | OutOfTime
OnStep: TypeAlias = Callable[[Step], None]
_AnswerT = TypeVar("_AnswerT", Examined, Finished)


class Bench:
    """Surveys and measures in a child process that is started when first needed.

    A candidate that kills the child, or hangs it, becomes `Failed`, or `Broken` where it was only
    asked; a new child goes on without it.
    """

    def __init__(self, patience: Patience | None = None) -> None:
        self._patience = patience or Patience()
        self._child: Child | None = None

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the child, whatever it does."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def survey(self, request: AskAll) -> Survey:
        """Ask every backend. Whoever ends the child is broken, and another child asks the others.
        Raises WorkerError where the child cannot answer.
        """
        broken: list[Broken] = []
        while True:
            without = (*request.without, *(each.name for each in broken))
            match self._ask(replace(request, without=without), None, lambda _: None):
                case Survey() as answer:
                    return replace(answer, broken=(*answer.broken, *broken))
                case Died(last=Turn(backend=name), failed=failed):
                    broken.append(Broken(name, failed.message))
                case Died(failed=failed):
                    raise WorkerError(f"the measuring process ended while asking: {failed.message}")
                case other:
                    raise _nonsense(other, AskAll.__name__)

    def rehearse(
        self,
        rehearsals: Sequence[Rehearsal],
        deadline: float | None = None,
        on_ready: Callable[[int, Readiness], None] = lambda _, __: None,
    ) -> tuple[Readiness, ...]:
        """Compile and load the entrants, one a rehearsal: side by side in other processes where the
        device and the cores have room for some, then in the measuring process itself.
        """
        compiled: list[Readiness | None] = [None] * len(rehearsals)
        count = helpers_for(rehearsals)
        if count > 1:
            rehearse_in = partial(self._rehearse_in, deadline=deadline)
            compiled = list(Helpers(rehearsals, rehearse_in, on_ready).rehearse(count))
        results: list[Readiness] = []
        for index, (rehearsal, before) in enumerate(zip(rehearsals, compiled, strict=True)):
            if isinstance(before, (Failed, OutOfTime)):
                results.append(before)
                continue
            # What is compiled only has to be loaded, and no deadline for compiling leaves it out.
            until = None if isinstance(before, Rehearsed) else deadline
            loaded = self._rehearse_in(self._own_child(), rehearsal, until)
            if isinstance(before, Rehearsed) and isinstance(loaded, Rehearsed):
                # What it took at first is what a cold start pays.
                loaded = replace(loaded, seconds=max(before.seconds, loaded.seconds))
            results.append(loaded)
            on_ready(index, loaded)
        return tuple(results)

    def examine(
        self,
        examination: Examination,
        deadline: float | None = None,
        on_step: OnStep = lambda _: None,
    ) -> Examined | OutOfTime | HarnessFailed:
        """Put the entrants through a trial. `deadline` is a `time.monotonic` moment."""
        return self._ask_of_each(examination, Examined, deadline, on_step)

    def measure(
        self, task: Task, deadline: float | None = None, on_step: OnStep = lambda _: None
    ) -> Finished | OutOfTime | HarnessFailed:
        """Check and time a task's entrants. `deadline` is a `time.monotonic` moment."""
        return self._ask_of_each(task, Finished, deadline, on_step)

    def _ask_of_each(
        self,
        request: Examination | Task,
        expected: type[_AnswerT],
        deadline: float | None,
        on_step: OnStep,
    ) -> _AnswerT | OutOfTime | HarnessFailed:
        """Whoever ends the child has failed, and another child goes on with the others."""
        outcomes: dict[int, Any] = {}
        alive = list(range(len(request.entrants)))
        while alive:
            entrants = tuple(request.entrants[index] for index in alive)
            step = partial(_forward, on_step, tuple(alive))
            match self._ask(replace(request, entrants=entrants), deadline, step):
                case Examined(found) | Finished(found):
                    outcomes.update(zip(alive, found, strict=True))
                    break
                case Died(last=Step(entrant=int(position)), failed=failed):
                    outcomes[alive.pop(position)] = failed
                case Died(last=Step(doing="time")) if (
                    isinstance(request, Task) and not request.rules.apart
                ):  # once more, one by one, so that it shows whose fault it was
                    request = replace(request, rules=replace(request.rules, apart=True))
                case Died(failed=failed):
                    return HarnessFailed(failed.message)
                case OutOfTime() | HarnessFailed() as answer:
                    return answer
                case other:
                    raise _nonsense(other, type(request).__name__)
        return expected(tuple(outcomes[index] for index in range(len(request.entrants))))

    def _rehearse_in(self, child: Child, rehearsal: Rehearsal, deadline: float | None) -> Readiness:
        """The deadline of a variant counts from here, however often it speaks meanwhile."""
        compile_s = self._patience.compile_s
        own = time.monotonic() + compile_s
        until = own if deadline is None else min(own, deadline)
        match child.ask(rehearsal, compile_s, until, lambda _: None):
            case Rehearsed() | Failed() as answer:
                return answer
            case HarnessFailed() | Died(last=None | Step(entrant=None)):
                # No candidate is to blame: where it lasts, the trial or the race will tell.
                return Rehearsed(0.0, None)
            case Died(failed=failed):
                return failed
            case OutOfTime() as answer:
                late = deadline is None or until < deadline
                return Failed("compile", f"not ready after {compile_s:g} s") if late else answer
            case other:
                raise _nonsense(other, Rehearsal.__name__)

    def _ask(
        self, request: Request, deadline: float | None, on_step: OnStep
    ) -> Event | OutOfTime | Died:
        return self._own_child().ask(request, self._patience.hang_s, deadline, on_step)

    def _own_child(self) -> Child:
        """The process that measures; another one where that died."""
        if self._child is None or self._child.is_dead:
            self._child = Child()
        return self._child


def _nonsense(answer: object, asked: str) -> WorkerError:
    return WorkerError(f"the measuring process answered {answer!r} to {asked}")


def _forward(on_step: OnStep, alive: tuple[int, ...], step: Step) -> None:
    """The child numbers the entrants that it was sent; the caller knows them all."""
    on_step(step if step.entrant is None else replace(step, entrant=alive[step.entrant]))
