"""Hard questions on a small batch, asked of a candidate once a layer and phase.

A launch is bound once, as in an engine's graph, and then shown several scenes, which are written
into the tensors that it knows: it must follow every length, page and value that changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kernels_bench.batch import Batch, Contents, bind, draw_contents, empty_output, lens_and_starts
from kernels_bench.gate import Truth, check, make_truth
from kernels_bench.method import SEED
from kernels_bench.needles import with_needles
from kernels_bench.pool import Pool, make_pool, page_counts
from kernels_bench.spec import AttentionSpec, Pages, Phase, Wrong
from kernels_bench.trial_lengths import trial_lengths

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from kernels_bench.backends.base import Launch
    from kernels_bench.workload import Request

_PLAIN = "plain"


@dataclass(frozen=True)
class Question:
    """What a scene asks, before it is paged."""

    name: str
    contents: Contents
    """Of the rows that are not padding."""
    truth: Truth


@dataclass(frozen=True)
class Scene:
    """One state of a stage's tensors, and what a right candidate makes of it."""

    question: Question
    block_table: Tensor
    seq_lens: Tensor
    """int32 [B], on the CPU; 0 in a padded row."""
    query_start_loc: Tensor
    """int32 [B + 1], on the CPU; a padded row repeats the last."""

    @property
    def name(self) -> str:
        """As a `Wrong` says it before the check."""
        return self.question.name

    @property
    def is_padded(self) -> bool:
        """Whether rows at the end are empty."""
        return len(self.question.contents.requests) < len(self.seq_lens)

    def check(self, output: Tensor) -> Wrong | None:
        """Compare all but the tokens of padded rows, which nobody reads."""
        wrong = check(self.question.truth, output[: len(self.question.contents.query)])
        return None if wrong is None else self.named(wrong)

    def named(self, wrong: Wrong) -> Wrong:
        """Told with the scene, unless that is the plain one."""
        if self.name == _PLAIN:
            return wrong
        return replace(wrong, check=f"{self.name}: {wrong.check}")


@dataclass(frozen=True)
class Stage:
    """The tensors that a launch is bound to, and all that they will hold."""

    batch: Batch
    scenes: tuple[Scene, ...]

    def show(self, scene: Scene) -> None:
        """Write a scene in place; the queries of padded rows keep what was there."""
        for tensor, content in self._inputs(scene):
            tensor.copy_(content)
        self.batch.output.fill_(math.nan)

    def check(self, scene: Scene) -> Wrong | None:
        """Whether the output is right, and all else as it was shown: others read it next. Who wrote
        into the pages is found by the scene that comes again.
        """
        import torch

        wrong = scene.check(self.batch.output)
        if wrong is not None:
            return wrong
        pairs = self._inputs(scene)
        changed = sum(
            not torch.equal(tensor, content.to(tensor.device)) for tensor, content in pairs
        )
        return scene.named(Wrong("inputs", error=changed, allowed=0.0)) if changed else None

    def _inputs(self, scene: Scene) -> tuple[tuple[Tensor, Tensor], ...]:
        """Each input with what the scene puts there."""
        batch, query = self.batch, scene.question.contents.query
        return (
            (batch.block_table, scene.block_table),
            (batch.seq_lens, scene.seq_lens),
            (batch.seq_lens_cpu, scene.seq_lens),
            (batch.query_start_loc, scene.query_start_loc),
            (batch.query_start_loc_cpu, scene.query_start_loc),
            (batch.query[: len(query)], query),
        )


class Trial:
    """The contents and truths of all scenes, drawn once and the same on every run."""

    def __init__(
        self, spec: AttentionSpec, phase: Phase, torch_device: torch.device, longest_tokens: int
    ) -> None:
        """`longest_tokens` is the longest context that a captured block table has room for; with 0
        it is as wide as the longest request, which then fills its row.
        """
        self._spec, self._longest_tokens = spec, longest_tokens
        self._questions = _questions(spec, phase, torch_device, longest_tokens)

    def bind(self, pages: Pages, max_seq_len: int, with_padding: bool = True) -> Stage:
        """Page every scene into its own pages of one pool; the batch holds the first.

        Without padding for a candidate that no engine replays from a graph in this phase.
        """
        import torch

        first = self._questions[0].contents
        asked = [question.contents.requests for question in self._questions]
        counts = [page_counts(requests, pages) for requests in asked]
        longest = max(request.total_tokens for requests in asked for request in requests)
        columns = pages.count_for(max(longest, self._longest_tokens))
        pool = make_pool(first, sum(map(sum, counts)), pages)
        shares = torch.split(pool.free, [sum(each) for each in counts])
        scenes = [
            _scene(question, pool, own_pages, len(first.requests), columns)
            for question, own_pages in zip(self._questions, shares, strict=True)
        ]
        scenes = [scene for scene in scenes if with_padding or not scene.is_padded]
        again = replace(scenes[0], question=replace(scenes[0].question, name="again"))
        own_query = replace(first, query=first.query.clone())
        table = scenes[0].block_table.clone()
        batch = bind(self._spec, own_query, pool, table, empty_output(self._spec, first))
        batch.max_seq_len = max(longest, max_seq_len)
        return Stage(batch, (*scenes, again))


def run_trial(stage: Stage, launch: Launch, call: Callable[[], object]) -> Wrong | None:
    """Show scene after scene; the first wrong answer ends it. Raises what the candidate raises.

    `call` is `launch.run`, or the replay of a graph that holds it.
    """
    for scene in stage.scenes:
        stage.show(scene)
        launch.plan()
        call()
        wrong = stage.check(scene)
        if wrong is not None:
            return wrong
    return None


def _questions(
    spec: AttentionSpec, phase: Phase, device: torch.device, longest_tokens: int
) -> tuple[Question, ...]:
    import torch

    lengths = trial_lengths(spec, phase, longest_tokens)
    plain = draw_contents(spec, lengths.plain, device)

    def drawn(requests: tuple[Request, ...], turn: int) -> Contents:
        contents = draw_contents(spec, requests, device, SEED + turn)
        return replace(contents, sinks=plain.sinks)  # weights, which an engine never changes

    generator = torch.Generator(device).manual_seed(SEED)
    scenes = [
        (_PLAIN, plain),
        ("needles", with_needles(spec, drawn(lengths.plain, 1), generator)),
        ("replay", drawn(lengths.replay, 2)),
    ]
    if lengths.padded is not None:
        scenes.append(("padded", drawn(lengths.padded, 3)))
    return tuple(Question(name, each, make_truth(spec, each)) for name, each in scenes)


def _scene(question: Question, pool: Pool, own_pages: Tensor, rows: int, columns: int) -> Scene:
    requests = question.contents.requests
    pool.write(question.contents, own_pages[None])
    table = pool.tables(requests, own_pages[None], rows, columns)[0]
    return Scene(question, table, *lens_and_starts(requests, rows - len(requests)))
