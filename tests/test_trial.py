"""Which mistakes each scene of a trial finds, and that the honest pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import pytest
import torch
from fake_kernels import attend

from kernels_bench.backends.torch_sdpa import BACKEND as TORCH_SDPA
from kernels_bench.batch import Batch
from kernels_bench.spec import AttentionSpec, Layout, Pages, Phase, Variant
from kernels_bench.trial import Stage, Trial, run_trial
from kernels_bench.trial_lengths import trial_lengths

HOST = torch.device("cpu")
SPEC = AttentionSpec(4, 2, 64, "bfloat16", num_layers=1)
UNIFORM = (Phase.DECODE, Phase.VERIFY)
ALL_PAGES = (Pages(16), Pages(64), Pages(256), Pages(16, "HND"))


@lru_cache(maxsize=64)
def trial(spec: AttentionSpec, phase: Phase, longest_tokens: int = 0) -> Trial:
    return Trial(spec, phase, HOST, longest_tokens)


@dataclass(frozen=True)
class Read:
    """What the fake reads of a batch before it computes; mistakes change it."""

    query: torch.Tensor
    key_cache: torch.Tensor
    value_cache: torch.Tensor
    block_table: torch.Tensor
    starts: torch.Tensor
    lens: torch.Tensor


Mistake = Callable[[Read, Batch], Read]


def honest(read: Read, batch: Batch) -> Read:
    return read


@dataclass
class Fake:
    """Paged attention in plain torch that plans nothing and reads everything when it runs."""

    spec: AttentionSpec
    batch: Batch
    mistake: Mistake = honest
    runs: int = 0
    plans: list[list[int]] = field(default_factory=list)

    def plan(self) -> None:
        self.plans.append(self.batch.seq_lens_cpu.tolist())

    def run(self) -> None:
        self.runs += 1
        output = self.computed(self.mistake(self.read(), self.batch))
        self.batch.output[: len(output)] = output

    def read(self) -> Read:
        batch = self.batch
        caches = [
            cache.float() * (1.0 if batch.k_scale is None else batch.k_scale)
            for cache in (batch.key_cache, batch.value_cache)
        ]
        if batch.pages.layout == "HND":
            caches = [cache.transpose(1, 2) for cache in caches]
        starts, lens = batch.query_start_loc.clone(), batch.seq_lens.clone()
        return Read(batch.query, *caches, batch.block_table.clone(), starts, lens)

    def computed(self, read: Read) -> torch.Tensor:
        spec = self.spec
        before = -1 if spec.sliding_window is None else spec.sliding_window - 1
        return attend(
            read.query,
            (read.key_cache, read.value_cache),
            read.block_table,
            read.starts,
            read.lens,
            spec.scale,
            spec.causal,
            (before, -1),
            spec.logit_softcap or 0.0,
            self.batch.alibi_slopes,
            self.batch.sinks,
            spec.attention_chunk or 0,
        )


def verdict(
    spec: AttentionSpec,
    phase: Phase,
    launch_of: Callable[[Batch], Fake],
    pages: Pages = ALL_PAGES[0],
) -> str | None:
    """The check that failed; None where the fake passed."""
    stage = trial(spec, phase).bind(pages, 0)
    launch = launch_of(stage.batch)
    wrong = run_trial(stage, launch, launch.run)
    return None if wrong is None else wrong.check


def verdict_of(
    mistake: Mistake, spec: AttentionSpec = SPEC, phase: Phase = Phase.DECODE, size: int = 16
) -> str | None:
    return verdict(spec, phase, lambda batch: Fake(spec, batch, mistake), Pages(size))


FEATURES: list[dict[str, Any]] = [
    {},
    {"dtype": "float16"},
    {"kv_dtype": "fp8_e4m3"},
    {"kv_dtype": "fp8_e5m2"},
    {"logit_softcap": 50.0},
    {"logit_softcap": 30.0, "sliding_window": 200, "kv_dtype": "fp8_e4m3"},
    {"sliding_window": 128},
    {"sliding_window": 1024},
    {"sliding_window": 1},
    {"attention_chunk": 96},
    {"has_sinks": True, "sliding_window": 128},
    {"has_sinks": True, "dtype": "float16"},
    {"has_alibi": True},
    {"num_kv_heads": 1},
    {"num_kv_heads": 4, "head_dim_v": 32},
    {"softmax_scale": 1.0},
]


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("features", FEATURES, ids=str)
def test_the_honest_pass_in_every_phase(features: dict[str, Any], phase: Phase) -> None:
    spec = replace(SPEC, **features)
    assert verdict(spec, phase, lambda batch: Fake(spec, batch)) is None


@pytest.mark.parametrize("pages", ALL_PAGES, ids=str)
@pytest.mark.parametrize("phase", Phase)
def test_the_honest_pass_with_all_pages(phase: Phase, pages: Pages) -> None:
    assert verdict(SPEC, phase, lambda batch: Fake(SPEC, batch), pages) is None


SDPA_FEATURES = [
    {},
    {"dtype": "float16"},
    {"sliding_window": 128},
    {"attention_chunk": 96},
    {"has_sinks": True},
    {"has_alibi": True},
    {"causal": False},
]


@pytest.mark.parametrize("variant", ["padded", "per_request"])
@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("features", SDPA_FEATURES, ids=str)
def test_torch_s_own_attention_passes(features: dict[str, Any], phase: Phase, variant: str) -> None:
    spec = replace(SPEC, **features)
    stage = trial(spec, phase).bind(Pages(64), 0)
    launch = TORCH_SDPA.prepare(Variant(variant), spec, stage.batch)
    assert run_trial(stage, launch, launch.run) is None


def drops_the_last_page(read: Read, batch: Batch) -> Read:
    whole = (read.lens - 1) // batch.pages.size * batch.pages.size
    return replace(read, lens=torch.where(whole > 0, whole, read.lens))


def reads_a_page_too_many(read: Read, batch: Batch) -> Read:
    """The longest request fills its row and has none; the others read garbage and call it keys."""
    room = read.block_table.shape[1] * batch.pages.size
    return replace(read, lens=torch.where(read.lens > 0, (read.lens + 16).clamp_max(room), 0))


def reads_the_tail_of_the_last_page(read: Read, batch: Batch) -> Read:
    whole = (read.lens + batch.pages.size - 1) // batch.pages.size * batch.pages.size
    return replace(read, lens=whole)


def reads_a_page_that_nobody_owns(read: Read, batch: Batch) -> Read:
    named = set(read.block_table.flatten().tolist())
    nobody_s = [
        page
        for page in range(len(read.key_cache))
        if page not in named and read.key_cache[page].isnan().all()
    ]
    table = read.block_table.clone()
    table[0, 1] = nobody_s[0]
    return replace(read, block_table=table)


def swaps_two_heads(read: Read, batch: Batch) -> Read:
    return replace(read, query=read.query[:, [1, 0, 2, 3]])


def swaps_two_kv_heads(read: Read, batch: Batch) -> Read:
    return replace(read, key_cache=read.key_cache[:, :, [1, 0]])


def forgets_the_newest_token(read: Read, batch: Batch) -> Read:
    return replace(read, lens=torch.where(read.lens > 7, read.lens - 1, read.lens))


def takes_a_page_of_another_request(read: Read, batch: Batch) -> Read:
    table = read.block_table.clone()
    table[1, 0] = table[0, 0]
    return replace(read, block_table=table)


@pytest.mark.parametrize("size", [16, 64])
@pytest.mark.parametrize(
    "mistake",
    [
        drops_the_last_page,
        reads_a_page_too_many,
        reads_the_tail_of_the_last_page,
        reads_a_page_that_nobody_owns,
        swaps_two_heads,
        swaps_two_kv_heads,
        forgets_the_newest_token,
        takes_a_page_of_another_request,
    ],
)
def test_the_plain_scene_finds_what_is_wrong_on_any_contents(mistake: Mistake, size: int) -> None:
    found = verdict_of(mistake, size=size)
    assert found is not None
    assert ":" not in found


@pytest.mark.parametrize("phase", [Phase.DECODE, Phase.VERIFY, Phase.EXTEND, Phase.MIXED])
@pytest.mark.parametrize("window", [128, 200, 4096])
@pytest.mark.parametrize("mistaken", [-1, 1, None], ids=["less", "more", "ignored"])
def test_a_window_that_is_off_or_ignored_is_found(
    window: int, mistaken: int | None, phase: Phase
) -> None:
    spec = replace(SPEC, sliding_window=window)
    wrong = replace(SPEC, sliding_window=None if mistaken is None else window + mistaken)
    assert verdict(spec, phase, lambda batch: Fake(wrong, batch)) is not None


@pytest.mark.parametrize("mistaken", [127, 129, None])
def test_a_window_that_is_off_is_found_in_prompts_too(mistaken: int | None) -> None:
    spec = replace(SPEC, sliding_window=128)
    wrong = replace(SPEC, sliding_window=mistaken)
    assert verdict(spec, Phase.PREFILL, lambda batch: Fake(wrong, batch)) is not None


@pytest.mark.parametrize("phase", [Phase.PREFILL, Phase.DECODE])
@pytest.mark.parametrize("mistaken", [95, 97, None])
def test_a_chunk_that_is_off_or_ignored_is_found(mistaken: int | None, phase: Phase) -> None:
    spec = replace(SPEC, attention_chunk=96)
    wrong = replace(SPEC, attention_chunk=mistaken)
    assert verdict(spec, phase, lambda batch: Fake(wrong, batch)) is not None


@pytest.mark.parametrize("phase", Phase)
def test_an_ignored_cap_of_50_shows_among_needles(phase: Phase) -> None:
    """On random contents, whose logits are about 1, it hardly does."""
    spec = replace(SPEC, logit_softcap=50.0)
    stage = trial(spec, phase).bind(Pages(16), 0)
    needles = replace(stage, scenes=stage.scenes[1:2])
    launch = Fake(SPEC, stage.batch)
    wrong = run_trial(needles, launch, launch.run)
    assert wrong is not None
    assert wrong.check == "needles: relative_l2"
    assert wrong.error > 10 * wrong.allowed


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("window", [None, 128])
def test_ignored_sinks_are_found(window: int | None, phase: Phase) -> None:
    spec = replace(SPEC, has_sinks=True, sliding_window=window)

    def without_sinks(batch: Batch) -> Fake:
        return Fake(spec, replace(batch, sinks=None))

    assert verdict(spec, phase, without_sinks) == "relative_l2"


def test_ignored_slopes_are_found() -> None:
    spec = replace(SPEC, has_alibi=True)
    found = verdict(spec, Phase.DECODE, lambda batch: Fake(spec, replace(batch, alibi_slopes=None)))
    assert found == "relative_l2"


@pytest.mark.parametrize("phase", [Phase.PREFILL, Phase.EXTEND, Phase.VERIFY, Phase.MIXED])
def test_a_causal_mask_that_is_ignored_is_found(phase: Phase) -> None:
    wrong = replace(SPEC, causal=False)
    assert verdict(SPEC, phase, lambda batch: Fake(wrong, batch)) is not None


@pytest.mark.parametrize("phase", [Phase.PREFILL, Phase.EXTEND, Phase.VERIFY, Phase.MIXED])
@pytest.mark.parametrize("off_by", [-1, 1])
def test_a_causal_mask_that_is_off_by_one_is_found(off_by: int, phase: Phase) -> None:
    """The newest token alone sees no more than there is."""

    class Shifted(Fake):
        def computed(self, read: Read) -> torch.Tensor:
            caches = (read.key_cache, read.value_cache)
            lens = read.lens + min(off_by, 0)
            window = (-1, max(off_by, 0))
            return attend(
                read.query, caches, read.block_table, read.starts, lens, SPEC.scale, False, window
            )

    assert verdict(SPEC, phase, lambda batch: Shifted(SPEC, batch)) is not None


class PlannedOnce(Fake):
    """Keeps the lengths of its first plan."""

    def read(self) -> Read:
        return replace(super().read(), lens=torch.tensor(self.plans[0], dtype=torch.int32))


class BoundPages(Fake):
    """Keeps the block table that it was bound to."""

    def __init__(self, spec: AttentionSpec, batch: Batch) -> None:
        super().__init__(spec, batch)
        self.table = batch.block_table.clone()

    def read(self) -> Read:
        return replace(super().read(), block_table=self.table)


class PlannedLate(Fake):
    """Runs with the lengths of the plan before; the first time with its own."""

    def read(self) -> Read:
        lens = self.plans[max(0, len(self.plans) - 2)]
        return replace(super().read(), lens=torch.tensor(lens, dtype=torch.int32))


class OnlyOnce(Fake):
    """Its first answer, for ever."""

    def run(self) -> None:
        if self.runs == 0:
            super().run()
            self.kept = self.batch.output.clone()
        self.batch.output.copy_(self.kept)


class WornOut(Fake):
    """Wrong from the fourth or fifth call on, as with a workspace that is never cleared."""

    calls = 4

    def run(self) -> None:
        super().run()
        if self.runs > self.calls:
            self.batch.output[0] *= 1.5


class Unwritten(Fake):
    """Leaves the last token of what is real."""

    def run(self) -> None:
        super().run()
        self.batch.output[int(self.batch.query_start_loc[-1]) - 1] = torch.nan


class Zeros(Fake):
    def run(self) -> None:
        self.batch.output.zero_()


class Shuffled(Fake):
    """Heads of the output in another order."""

    def run(self) -> None:
        super().run()
        self.batch.output.copy_(self.batch.output[:, [0, 1, 3, 2]])


class PaddingIsReal(Fake):
    """Counts a request of one token in every row, so that padded rows shift the others."""

    def read(self) -> Read:
        read = super().read()
        rows = len(read.lens)
        per_row = len(self.batch.query) // rows
        last = int(read.starts[-1])
        shift = (len(self.batch.query) - last) // per_row
        starts = torch.arange(rows + 1) * per_row
        return replace(read, starts=starts, lens=read.lens.roll(shift).clamp_min(per_row))


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize(
    ("kernel", "scenes"),
    [
        (Unwritten, {"finite"}),
        (Zeros, {"relative_l2"}),
        (Shuffled, {"relative_l2"}),
        (OnlyOnce, {"needles: relative_l2"}),
        (BoundPages, {"needles: relative_l2"}),
    ],
)
def test_a_kernel_that_does_not_read_what_is_there_is_found(
    kernel: type[Fake], scenes: set[str], phase: Phase
) -> None:
    assert verdict(SPEC, phase, lambda batch: kernel(SPEC, batch)) in scenes


@pytest.mark.parametrize("phase", [Phase.EXTEND, Phase.DECODE, Phase.VERIFY, Phase.MIXED])
@pytest.mark.parametrize("kernel", [PlannedOnce, PlannedLate])
def test_a_stale_plan_is_found_when_the_lengths_change(kernel: type[Fake], phase: Phase) -> None:
    found = verdict(SPEC, phase, lambda batch: kernel(SPEC, batch))
    assert found is not None
    assert found.startswith("replay: ")


@pytest.mark.parametrize("phase", UNIFORM)
def test_who_takes_padded_rows_for_real_is_found(phase: Phase) -> None:
    found = verdict(SPEC, phase, lambda batch: PaddingIsReal(SPEC, batch))
    assert found == "padded: relative_l2"


def test_who_wears_out_is_found_when_the_first_scene_returns() -> None:
    assert verdict(SPEC, Phase.DECODE, lambda batch: WornOut(SPEC, batch)) == "again: relative_l2"


@pytest.mark.parametrize("size", [16, 64])
def test_one_wrong_page_is_found_at_every_place(size: int) -> None:
    """Of the longest request; its needles stand on the borders of some of them."""
    columns = 1024 // size

    def wrong_page(place: int) -> Mistake:
        def mistake(read: Read, batch: Batch) -> Read:
            table = read.block_table.clone()
            table[0, place] = table[1, 0]
            return replace(read, block_table=table)

        return mistake

    for place in range(0, columns, 5):
        assert verdict_of(wrong_page(place), size=size) is not None


def scenes_of(stage: Stage) -> list[str]:
    return [scene.name for scene in stage.scenes]


def test_the_scenes_of_each_phase() -> None:
    for phase in Phase:
        names = scenes_of(trial(SPEC, phase).bind(Pages(16), 0))
        padded = ["padded"] if phase in UNIFORM else []
        assert names == ["plain", "needles", "replay", *padded, "again"]


@pytest.mark.parametrize("layout", ["NHD", "HND"])
@pytest.mark.parametrize("phase", Phase)
def test_scenes_change_the_contents_of_tensors_and_no_tensor(phase: Phase, layout: Layout) -> None:
    stage = trial(SPEC, phase).bind(Pages(16, layout), 0)
    batch = stage.batch
    before = {name: value for name, value in vars(batch).items()}
    rows = {scene.name: set(scene.block_table.flatten().tolist()) for scene in stage.scenes}
    padding = {len(batch.key_cache) - 1}
    for scene in stage.scenes:
        batch.output.zero_()
        stage.show(scene)
        assert vars(batch).keys() == before.keys()
        assert all(vars(batch)[name] is value for name, value in before.items())
        assert batch.output.isnan().all()
        assert torch.equal(batch.block_table, scene.block_table)
        assert batch.seq_lens.tolist() == batch.seq_lens_cpu.tolist() == scene.seq_lens.tolist()
        starts = scene.query_start_loc.tolist()
        assert batch.query_start_loc.tolist() == batch.query_start_loc_cpu.tolist() == starts
        assert torch.equal(batch.query[: starts[-1]], scene.question.contents.query)
        for other in stage.scenes:
            if {scene.name, other.name} not in ({"plain", "again"}, {scene.name}):
                assert rows[scene.name] & rows[other.name] <= padding


@pytest.mark.parametrize("phase", UNIFORM)
def test_padded_rows_have_no_length_no_tokens_and_no_pages(phase: Phase) -> None:
    stage = trial(SPEC, phase).bind(Pages(16), 0)
    (scene,) = (scene for scene in stage.scenes if scene.name == "padded")
    lens, starts = scene.seq_lens.tolist(), scene.query_start_loc.tolist()
    assert lens[-2:] == [0, 0]
    assert min(lens[:-2]) > 0
    assert starts[-3] == starts[-2] == starts[-1] < len(stage.batch.query)
    assert (scene.block_table[-2:] == len(stage.batch.key_cache) - 1).all()


def test_the_output_of_padded_rows_may_be_anything() -> None:
    class Careless(Fake):
        def run(self) -> None:
            self.batch.output.fill_(torch.inf)
            super().run()

    assert verdict(SPEC, Phase.DECODE, lambda batch: Careless(SPEC, batch)) is None


def test_a_replay_changes_every_cached_length() -> None:
    for phase in (Phase.DECODE, Phase.VERIFY, Phase.MIXED):
        lengths = trial_lengths(SPEC, phase, 0)
        pairs = list(zip(lengths.plain, lengths.replay, strict=True))
        assert [a.new_tokens for a, _ in pairs] == [b.new_tokens for _, b in pairs]
        assert all(
            a.total_tokens != b.total_tokens for a, b in pairs if a.new_tokens < a.total_tokens
        )


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("window", [None, 1, 128, 512, 513, 4096])
@pytest.mark.parametrize("longest_tokens", [0, 96, 700, 131072])
def test_lengths_follow_phase_and_limit(
    longest_tokens: int, window: int | None, phase: Phase
) -> None:
    spec = replace(SPEC, sliding_window=window)
    lengths = trial_lengths(spec, phase, longest_tokens)
    for requests in (lengths.plain, lengths.replay, lengths.padded or lengths.plain):
        for request in requests:
            assert request.total_tokens <= (longest_tokens or 10_000)
            assert request.total_tokens > request.new_tokens or request.new_tokens > 1
        new_tokens = {request.new_tokens for request in requests}
        if phase in UNIFORM:
            assert new_tokens == {1 if phase is Phase.DECODE else 4}
        if phase is Phase.MIXED:
            assert requests[0].new_tokens == 1 < requests[-1].new_tokens


def test_decodes_stand_around_the_borders_of_pages_and_of_a_window() -> None:
    plain = {request.total_tokens for request in trial_lengths(SPEC, Phase.DECODE, 0).plain}
    assert plain == {1024, 513, 256, 17, 7}
    small = replace(SPEC, sliding_window=128)
    around = {request.total_tokens for request in trial_lengths(small, Phase.DECODE, 0).plain}
    assert {127, 128, 129, 259} < around
    long = trial_lengths(replace(SPEC, sliding_window=4096), Phase.DECODE, 0)
    assert long.padded is not None
    longest = [max(r.total_tokens for r in each) for each in (long.plain, long.replay, long.padded)]
    assert longest == [4352, 4097, 4096]


@pytest.mark.parametrize("pages", ALL_PAGES, ids=str)
@pytest.mark.parametrize("phase", [Phase.DECODE, Phase.EXTEND, Phase.PREFILL])
def test_the_longest_request_fills_its_row_of_the_table(phase: Phase, pages: Pages) -> None:
    stage = trial(SPEC, phase).bind(pages, 0)
    columns = stage.batch.block_table.shape[1]
    assert int(stage.scenes[0].seq_lens.max()) == columns * pages.size
    assert stage.batch.max_seq_len == columns * pages.size


def test_a_captured_table_is_as_wide_as_the_engine_s_longest_context() -> None:
    stage = trial(SPEC, Phase.DECODE, 8192).bind(Pages(16), 8192)
    assert stage.batch.block_table.shape[1] == 8192 // 16
    assert stage.batch.max_seq_len == 8192
    launch = Fake(SPEC, stage.batch)
    assert run_trial(stage, launch, launch.run) is None
    assert len(launch.plans) == launch.runs == len(stage.scenes)


def test_sinks_are_the_same_in_all_scenes() -> None:
    stage = trial(replace(SPEC, has_sinks=True), Phase.DECODE).bind(Pages(16), 0)
    assert stage.batch.sinks is not None
    assert all(scene.question.contents.sinks is stage.batch.sinks for scene in stage.scenes)


def test_a_second_trial_asks_the_same() -> None:
    one, other = (Trial(SPEC, Phase.VERIFY, HOST, 0).bind(Pages(16), 0) for _ in range(2))
    for left, right in zip(one.scenes, other.scenes, strict=True):
        assert torch.equal(left.question.truth.output, right.question.truth.output)
        assert torch.equal(left.block_table, right.block_table)
