"""Puts candidates through the trial of a phase: as an engine would run them, a scene at a time."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from kernels_bench.binding import prepared
from kernels_bench.candidates import Entrant
from kernels_bench.capture import is_captured, table_tokens
from kernels_bench.clock import Contestant
from kernels_bench.failures import failure
from kernels_bench.messages import Examination, Passed
from kernels_bench.spec import Failed, Wrong
from kernels_bench.trial import Trial, run_trial

if TYPE_CHECKING:
    from kernels_bench.workbench import Workbench


class Examiner:
    """One layer and phase: everybody hears the same questions."""

    def __init__(self, examination: Examination, bench: Workbench[Any]) -> None:
        self._examination, self._bench = examination, bench
        longest = table_tokens(examination.device, examination.phase, examination.max_model_len)
        trial = Trial(examination.spec, examination.phase, bench.torch_device, longest)
        # Candidates with the same pages stand on the same stage, one after the other.
        self._stage_of = lru_cache(partial(trial.bind, max_seq_len=examination.max_model_len))

    def examine(self, entrant: Entrant) -> Passed | Wrong | Failed:
        """Bind once, then show every scene; the first wrong answer ends it."""
        answer = self._examine(entrant)
        if not isinstance(answer, Passed):
            # It may have written into the pages, or still write, from a thread or a stream: who
            # follows gets other tensors, and none of that memory before the device is done with it.
            self._bench.memory.survives()
            self._stage_of.cache_clear()
        return answer

    def _examine(self, entrant: Entrant) -> Passed | Wrong | Failed:
        asked, bench = self._examination, self._bench
        captured = is_captured(asked.device, entrant.variant, asked.phase)
        try:
            # Engines pad what they replay from a graph, and nothing else.
            stage = self._stage_of(entrant.pages, with_padding=captured)
            stage.show(stage.scenes[0])
            bench.memory.poison()
            launch = prepared(entrant, asked.spec, stage.batch)
            contestant = Contestant((launch,), (stage.batch,), captured)
            call = bench.clock.deployed(contestant)
            wrong = run_trial(stage, launch, call)
            return wrong or Passed(plan_waits=bench.clock.waits(launch.plan))
        except Exception as error:  # a candidate's code: whatever it raises is its outcome
            return failure(error)
