"""The lock file: what is written is what is read, and a bad one says what and where."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import CPU, FULL, H100, WINDOW, candidate, make_model
from hypothesis import given
from hypothesis import strategies as st

from autotune.decision import SplitDecision
from autotune.errors import LockError
from autotune.keys import Question
from autotune.lock import evidence_digest, load_lock, matching, parse_lock, render_lock
from autotune.lock_entries import LockEntry
from kernels_bench.spec import AttentionSpec

REMEDY = "write one with autotune lock, or unset AUTOTUNE_LOCK"


def entry(*specs: AttentionSpec, engine: str = "any", profile: str = "balanced") -> LockEntry:
    return LockEntry(
        question_text=Question(make_model(*(specs or (FULL,))), engine, profile).text,
        model_name="tiny",
        device=H100,
        engine=engine,
        profile=profile,
        candidate=candidate("swift"),
        engine_args={"attention_backend": "SWIFT"},
        per_kind={"full": {"decode": "swift", "prefill": "steady"}},
        split=SplitDecision(
            {"full": {"decode": candidate("swift"), "prefill": candidate("steady")}},
            *(0.8, 0.05, 0.01, 0.02),
        ),
        default="torch_sdpa:plain",
        speedup_vs_default=1.25,
        versions={"torch": "2.13.0", "triton": None},
        method=3,
        measured_at="2026-11-23T01:02:03+00:00",
        evidence=evidence_digest(["a", "b"]),
    )


@pytest.mark.parametrize(
    "specs", [(FULL,), (FULL, WINDOW), (replace(FULL, page_size=64),), (WINDOW,)]
)
def test_what_is_written_is_read_again(specs: tuple[AttentionSpec, ...]) -> None:
    lock = parse_lock(render_lock([entry(*specs)], {"torch_flex"}), "x")
    assert [each.entry for each in lock.entries] == [entry(*specs)]
    assert lock.deny == {"torch_flex"}
    question = Question(make_model(*specs), "any", "balanced").text
    assert matching(lock, question, H100) is lock.entries[0]
    assert matching(lock, question, CPU) is None
    # A power limit is a drift, not another device.
    assert matching(lock, question, replace(H100, power_limit_w=500)) is lock.entries[0]


ENTRIES = st.lists(
    st.builds(
        entry,
        st.sampled_from([FULL, WINDOW]),
        engine=st.sampled_from(["any", "vllm"]),
        profile=st.sampled_from(["balanced", "chat", "mine#1a2b3c4d"]),
    ),
    unique_by=lambda each: each.question_text,
)


@given(ENTRIES, st.randoms(use_true_random=False))
def test_the_same_decisions_are_the_same_bytes(entries: list[LockEntry], chance: object) -> None:
    shuffled = [*entries]
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    text = render_lock(shuffled, ["b", "a"])
    assert text == render_lock(entries, ["a", "b"])
    read = [each.entry for each in parse_lock(text, "x").entries]
    assert sorted(read, key=str) == sorted(entries, key=str)


def test_the_text_is_made_for_review() -> None:
    lines = render_lock([entry()], ["torch_flex"]).splitlines()
    assert lines[:4] == ["{", ' "autotune_lock": 1,', ' "decisions": [', "  {"]
    assert '   "backend": "swift",' in lines
    assert '    "attention_backend": "SWIFT"' in lines
    assert len(max(lines, key=len)) < 100


def test_a_line_is_where_an_entry_begins_however_the_file_is_laid_out() -> None:
    fields = json.loads(render_lock([entry(), entry(engine="vllm")], []))
    one, two = (json.dumps(each) for each in fields["decisions"])
    note = '"note": "\\"decisions\\": [",'
    text = f'{{"autotune_lock": 1 ,{note}\n\n"decisions" : [\n {one} ,\n\n\n{two}]}}'
    assert [each.line for each in parse_lock(text, "x").entries] == [4, 7]


def test_the_digest_is_that_of_the_set() -> None:
    assert evidence_digest(["a", "b"]) == evidence_digest(["b", "a", "a"])
    assert evidence_digest(["a"]) != evidence_digest(["b"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON (Expecting value: line 1 column 1 (char 0))"),
        ("{", "not JSON (Expecting property name enclosed in double quotes: line 1"),
        ("[" * 100_000, "not JSON ("),
        ("[]", "not a lock of attn-autotune"),
        ('{"decisions": []}', "not a lock of attn-autotune"),
        ('{"autotune_lock": 1, "decisions": {}}', "not a lock of attn-autotune"),
        ('{"autotune_lock": 2}', "schema 2, and this version knows 1; upgrade attn-autotune"),
        ('{"autotune_lock": 1, "decisions": [], "deny": "x"}', "deny: expected a list of names"),
        ('{"autotune_lock": 1, "decisions": [], "x": NaN}', "not JSON (NaN is no number)"),
        ('{"autotune_lock": 1, "decisions": [], "decisions": [3]}', "it has decisions twice"),
        ('{"autotune_lock": 1, "decisions": [\n3]}', "line 2: an entry: expected an object"),
    ],
)
def test_what_is_no_lock_says_so_in_a_line(text: str, said: str) -> None:
    with pytest.raises(LockError) as caught:
        parse_lock(text, "team.lock")
    assert str(caught.value).startswith("lock team.lock")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("backend", None, "backend: expected a text on one line"),
        ("backend", "a\nb", "backend: expected a text on one line"),
        ("method", True, "method: expected a whole number"),
        ("method", -1, "method: expected a whole number"),
        ("pages", {"size": 16}, "pages.layout is missing"),
        ("pages", {"size": 16, "layout": "DNH"}, "pages.layout: expected one of NHD, HND"),
        ("pages", 3, "pages: expected an object"),
        ("per_kind", {"full": {"decode": 1}}, "per_kind.full.decode: expected a text"),
        ("split", {"seats": {}}, "not a split: "),
        ("versions", {"torch": 2}, "versions.torch: expected a text or null"),
        ("speedup_vs_default", 0, "speedup_vs_default: expected a number above 0, or null"),
        ("speedup_vs_default", True, "speedup_vs_default: expected a number above 0, or null"),
        ("device", {"kind": "tpu"}, "device.kind: expected one of cuda, rocm, cpu"),
    ],
)
def test_a_damaged_entry_names_its_line_and_field(field: str, value: object, said: str) -> None:
    fields = json.loads(render_lock([entry()], []))
    fields["decisions"][0][field] = value
    with pytest.raises(LockError) as caught:
        parse_lock(json.dumps(fields, indent=1), "team.lock")
    assert str(caught.value).startswith(f"lock team.lock line 4: {said}")
    del fields["decisions"][0][field]
    if field == "split":
        return
    with pytest.raises(LockError, match=rf"line 4: {field} is missing; {REMEDY}$"):
        parse_lock(json.dumps(fields, indent=1), "team.lock")


def test_fields_that_are_not_known_are_passed_over() -> None:
    fields = json.loads(render_lock([entry()], []))
    fields["reviewed_by"] = fields["decisions"][0]["reviewed_by"] = "somebody"
    assert parse_lock(json.dumps(fields), "x").entries[0].entry == entry()


def test_two_answers_to_a_question_are_an_error() -> None:
    fields = json.loads(render_lock([entry()], []))
    fields["decisions"] *= 2
    with pytest.raises(LockError, match=r"^lock x: lines \d+ and \d+ answer the same question"):
        parse_lock(json.dumps(fields, indent=1), "x")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    missing, binary = tmp_path / "missing", tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LockError, match=r"cannot be read \(No such file or directory\)"):
        load_lock(missing)
    with pytest.raises(LockError, match=r"cannot be read \(Is a directory\)"):
        load_lock(tmp_path)
    with pytest.raises(LockError, match="not a text in UTF-8"):
        load_lock(binary)
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(5 << 20)
    with pytest.raises(LockError, match="larger than 4 MiB"):
        load_lock(large)
