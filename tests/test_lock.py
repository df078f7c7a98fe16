"""The lock file: what is written is what is read, and a bad one says what and where."""

from __future__ import annotations

import json
import os
import time
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


GOLDEN = """\
{
 "autotune_lock": 1,
 "decisions": [
  {
   "backend": "swift",
   "default": "torch_sdpa:plain",
   "device": {
    "arch": "sm_90",
    "kind": "cuda",
    "last_level_cache_bytes": 52428800,
    "memory_bytes": 85899345920,
    "multiprocessors": 132,
    "name": "NVIDIA H100 80GB HBM3",
    "partition": "",
    "power_limit_w": 700
   },
   "engine": "any",
   "engine_args": {
    "attention_backend": "SWIFT"
   },
   "evidence": "sha256:ab12",
   "max_model_len": 4096,
   "measured_at": "2026-11-23T01:02:03+00:00",
   "method": 3,
   "model": {
    "fingerprint": {
     "specs": [
      {
       "dtype": "bfloat16",
       "head_dim": 64,
       "num_kv_heads": 2,
       "num_layers": 4,
       "num_q_heads": 8
      }
     ]
    },
    "name": "tiny"
   },
   "page_size": [
    64
   ],
   "pages": {
    "layout": "NHD",
    "size": 16
   },
   "per_kind": {
    "full": {
     "decode": "swift",
     "prefill": "steady"
    }
   },
   "profile": "balanced",
   "speedup_vs_default": 1.25,
   "split": null,
   "variant": "plain",
   "versions": {
    "torch": "2.13.0",
    "triton": null
   }
  }
 ],
 "deny": [
  "torch_flex"
 ]
}
"""


def test_the_text_is_made_for_review() -> None:
    shown = replace(entry(replace(FULL, page_size=64)), split=None, evidence="sha256:ab12")
    assert render_lock([shown], ["torch_flex"]) == GOLDEN
    assert parse_lock(GOLDEN, "x").entries[0].entry == shown


def test_a_line_is_where_an_entry_begins_however_the_file_is_laid_out() -> None:
    fields = json.loads(render_lock([entry(), entry(engine="vllm")], []))
    one, two = (json.dumps(each) for each in fields["decisions"])
    note = '"note": "\\"decisions\\": [",'
    text = f'{{"autotune_lock": 1 ,{note}\n\n"decisions" : [\n {one} ,\n\n\n{two}]}}'
    assert [each.line for each in parse_lock(text, "x").entries] == [4, 7]


def test_the_digest_is_that_of_the_set() -> None:
    assert evidence_digest(["a", "b"]) == evidence_digest(["b", "a", "a"])
    assert evidence_digest(["a"]) != evidence_digest(["b"])


NOT_OURS = f"not a lock of attn-autotune; {REMEDY}"
NEWER = "schema 2, and this version knows 1; upgrade attn-autotune, or point AUTOTUNE_LOCK at"
NO_NAMES = f"deny: expected a list of names of backends; {REMEDY}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", f": not JSON (Expecting value: line 1 column 1 (char 0)); {REMEDY}"),
        ('{\n"a" 1}', f": not JSON (Expecting ':' delimiter: line 2 column 5 (char 6)); {REMEDY}"),
        ("[]", f": {NOT_OURS}"),
        ('{"decisions": []}', f": {NOT_OURS}"),
        ('{"autotune_lock": 1, "decisions": {}}', f": {NOT_OURS}"),
        ('{"autotune_lock": true, "decisions": []}', f": {NOT_OURS}"),
        ('{"autotune_lock": 1.0, "decisions": []}', f": {NOT_OURS}"),
        ('{"autotune_lock": 2}', f": {NEWER} another file"),
        ('{"autotune_lock": 1, "decisions": [], "deny": "x"}', f": {NO_NAMES}"),
        ('{"autotune_lock": 1, "decisions": [], "deny": [1]}', f": {NO_NAMES}"),
        ('{"autotune_lock": 1, "decisions": [], "deny": ["a\\nb"]}', f": {NO_NAMES}"),
        ('{"autotune_lock": 1, "decisions": [\n3]}', " line 2: an entry: expected an object; "),
    ],
)
def test_what_is_no_lock_says_so_in_a_line(text: str, said: str) -> None:
    with pytest.raises(LockError) as caught:
        parse_lock(text, "team.lock")
    assert str(caught.value) == f"lock team.lock{said}{REMEDY if said.endswith('; ') else ''}"


DIGITS = "1" + "0" * 400


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("NaN", "NaN is no number"),
        ("-Infinity", "-Infinity is no number"),
        ("1e999", "1e999 is out of range"),
        (DIGITS, "a number of 401 digits is out of range"),
        ("[" * 40 + "]" * 40, "nested more than 32 deep"),
        ('{"a": 1, "a": 2}', "an object has a twice"),
        ('{"a\\u001b\\n": 1, "a\\u001b\\n": 2}', r"an object has a\x1b\n twice"),
    ],
)
def test_what_only_json_itself_would_take(value: str, said: str) -> None:
    text = render_lock([entry()], [])
    for place in ('"speedup_vs_default": 1.25', '"score": 0.8', '"autotune_lock": 1'):
        assert place in text
        hostile = text.replace(place, f"{place.partition(':')[0]}: {value}")
        with pytest.raises(LockError) as caught:
            parse_lock(hostile, "team.lock")
        assert str(caught.value) == f"lock team.lock: not JSON ({said}); {REMEDY}"


@pytest.mark.parametrize("depth", [*range(950, 1000, 7), 100_000])
def test_no_depth_is_more_than_an_error_of_the_lock(depth: int) -> None:
    deep = '{"a":' * depth + "1" + "}" * depth
    text = render_lock([entry()], []).replace('"fingerprint": {', f'"fingerprint": {{"a": {deep},')
    with pytest.raises(LockError, match=r"^lock x: not JSON \([^\n]*\); "):
        parse_lock(text, "x")


def test_decisions_twice_are_an_error_whichever_would_win() -> None:
    text = render_lock([entry()], []).replace('"deny"', '"decisions": [{}],\n "deny"')
    with pytest.raises(LockError, match=r"^lock x: not JSON \(an object has decisions twice\); "):
        parse_lock(text, "x")


def test_a_crowded_file_is_not_read_over_for_every_entry() -> None:
    one = json.dumps(json.loads(render_lock([entry()], []))["decisions"][0])
    crowd = ",\n".join([one, *["{}"] * 100_000])
    start = time.process_time()
    with pytest.raises(LockError, match=r"^lock x line 2: model is missing"):
        parse_lock(f'{{"autotune_lock": 1, "decisions": [{crowd}]}}', "x")
    assert time.process_time() - start < 5  # a tenth of a second; 8 where lines were counted anew


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
        ("per_kind", {"a\n\x1b": 1}, "per_kind: expected names on one line"),
        ("per_kind", {"a": 1}, "per_kind.a: expected an object"),
        ("split", {"seats": {}}, "not a split: "),
        ("versions", {"torch": 2}, "versions.torch: expected a text on one line, or null"),
        ("versions", {"torch": "2\n3"}, "versions.torch: expected a text on one line, or null"),
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
    assert str(caught.value).isprintable()
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


def cannot_be_read(path: Path) -> str:
    with pytest.raises(LockError) as caught:
        load_lock(path)
    told = str(caught.value)
    assert told.startswith(f"lock {path}: ")
    assert told.endswith(f"; {REMEDY}")
    return told.removeprefix(f"lock {path}: ").removesuffix(f"; {REMEDY}")


def test_a_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binary, large, pipe = tmp_path / "binary", tmp_path / "large", tmp_path / "pipe"
    binary.write_bytes(b"\xff\xfe\x00")
    with large.open("wb") as file:
        file.truncate(5 << 20)
    os.mkfifo(pipe)
    assert cannot_be_read(tmp_path / "none") == "cannot be read (No such file or directory)"
    assert cannot_be_read(tmp_path) == "cannot be read (Is a directory)"
    assert cannot_be_read(binary) == "not a text in UTF-8"
    assert cannot_be_read(large) == "larger than 4 MiB, not a lock"
    # Nobody writes into the pipe, and zeros have no end: a start would wait for ever.
    assert cannot_be_read(pipe) == "cannot be read (not a regular file)"
    assert cannot_be_read(Path("/dev/zero")) == "cannot be read (not a regular file)"

    def refuse(*_: object) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert cannot_be_read(binary) == "cannot be read (Permission denied)"


def test_a_file_is_read_through_a_link_as_a_configmap_mounts_it(tmp_path: Path) -> None:
    (tmp_path / "data").write_text(GOLDEN, encoding="utf-8")
    (tmp_path / "lock").symlink_to("data")
    assert load_lock(tmp_path / "lock") == parse_lock(GOLDEN, str(tmp_path / "lock"))
