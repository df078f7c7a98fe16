"""Files of a user's own traffic: what is read, and what a broken one says."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.errors import ProfileError
from autotune.profiles import Profile, find_profile
from autotune.traffic.metrics_dump import read_metrics
from autotune.traffic.request_log import read_log
from autotune.traffic.weight_file import read_weights
from kernels_bench.workload import parse_workload

METRICS = """\
# HELP vllm:request_prompt_tokens Number of prefill tokens processed.
# TYPE vllm:request_prompt_tokens histogram
vllm:request_prompt_tokens_bucket{engine="0",le="100.0"} 5.0
vllm:request_prompt_tokens_bucket{engine="0",le="1000.0"} 9.0
vllm:request_prompt_tokens_bucket{engine="0",le="+Inf"} 10.0
# TYPE vllm:request_generation_tokens histogram
vllm:request_generation_tokens_bucket{engine="0",le="100.0"} 5.0
vllm:request_generation_tokens_bucket{engine="0",le="+Inf"} 10.0
# TYPE vllm:iteration_tokens_total histogram
vllm:iteration_tokens_total_bucket{engine="0",le="1.0"} 5.0
vllm:iteration_tokens_total_bucket{engine="0",le="+Inf"} 50.0
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{engine="0"} 900.0
"""


def write(tmp_path: Path, text: str, name: str = "mine.txt") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ProfileError) as caught:
        find_profile(str(path))
    said = str(caught.value)
    assert "\n" not in said
    assert str(path) in said
    return said.replace(str(path), "FILE")


@pytest.mark.parametrize(
    "text",
    [
        "workload,weight\nq1s1k,3\n8q1s1024v80 5 # busy\n\nQ1S1024 1\n",
        "# mine\nq1s1k 4\n8q1s1kv80\t5",
        '{"q1s1k": 4, "8q1s1kv80": 5.0}',
        '{"q1s1k": 3, "8q1s1kv80": 5, "q1s1024": 1}',
        '[{"workload": "q1s1k", "weight": 4}, {"workload": "8q1s1kv80", "weight": "5"}]',
    ],
)
def test_weights_in_their_forms(tmp_path: Path, text: str) -> None:
    profile = find_profile(str(write(tmp_path, text)))
    assert dict(profile.weights) == {"q1s1k": 4.0, "8q1s1kv80": 5.0}
    assert (profile.name, profile.is_own) == ("mine", True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "profile FILE: the file is empty; expected lines of"),
        ("q1s1k -1", "profile FILE line 1: workload q1s1k: weight -1: expected 0 to 1e+12"),
        ("q1s1k 1e300", "profile FILE line 1: workload q1s1k: weight 1e+300: expected 0 to 1e+12"),
        ("\nq1s1k nan", "profile FILE line 2: workload q1s1k: weight 'nan': expected a number"),
        ("q1s1k much", "profile FILE line 1: workload q1s1k: weight 'much': expected a number"),
        ("q1s1k", "profile FILE line 1: workload q1s1k has no weight; expected a workload and"),
        ("q1s1k 1 2", "profile FILE line 1: 'q1s1k 1 2'; expected a workload and its weight"),
        (
            "q1s1k 1\n\nfoo_8q1s1k 3",
            "profile FILE line 3: workload 'foo_8q1s1k': cannot read 'foo'; expected segments like",
        ),
        ("8q0s1k 3", "profile FILE line 1: workload '8q0s1k': '8q0s1k': 8 requests, 0 new"),
        ("q1s1k 0", "profile FILE: no workload has a weight above 0"),
        ('{"q1s1k": true}', "profile FILE: workload q1s1k: weight True: expected a number"),
        ('{"q1s1k": null}', "profile FILE: workload q1s1k: weight None: expected a number"),
        (f'{{"q1s1k": {"9" * 400}}}', "profile FILE: workload q1s1k: weight 99999"),
        ("[3]", "profile FILE entry 1: expected a workload and its weight"),
        ('[{"workload": "q1s1k"}]', "profile FILE entry 1: workload q1s1k has no weight"),
        ('{"q1s1k": 3,\n "x"', "profile FILE: not JSON (Expecting ':' delimiter: line 2"),
        ("[" * 100_000, "profile FILE: not JSON ("),
        ("prompt_tokens,foo\n1,2\n", "profile FILE: no request in it can be read; line 2: no len"),
        ("prompt_tokens,output_tokens\n", "profile FILE: no request in it can be read"),
        ("a,output_len\n1,2\n", "profile FILE: no request in it can be read; line 2: no length"),
        ('{"usage": 1}\n{"usage": 2}', "profile FILE: no request in it can be read; line 1: no"),
        (METRICS.replace(" 50.0", " 0").replace('le="1.0"} 5.0', 'le="1.0"} 0'),
         "profile FILE: nothing is counted in vllm:iteration_tokens_total; dump /metrics"),
        (METRICS.replace("9.0", "NaN"), "profile FILE: not what vLLM's /metrics says (nan is no"),
        (METRICS.replace("} 5.0", "} -5"), "profile FILE: not what vLLM's /metrics says (-5"),
        (METRICS.replace('le="1000.0"', 'le="x"'), "profile FILE: not what vLLM's /metrics says"),
        ("# TYPE a counter\na_total 1\n", "profile FILE: nothing is counted in vllm:request_"),
    ],
)  # fmt: skip
def test_a_broken_file_says_what_and_where(tmp_path: Path, text: str, said: str) -> None:
    assert refusal(write(tmp_path, text)).startswith(said)


def test_what_is_no_text(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\x7fELF\0\0\xff")
    assert refusal(binary).startswith("profile FILE: not a text")
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(257 << 20)
    assert refusal(large) == "profile FILE: 257 MiB, at most 256 MiB; give a part of it"


def test_broken_lines_of_a_log_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    text = "TIMESTAMP,ContextTokens,GeneratedTokens\nx,374,44\nx,bad,1\nx,1,2,3\nx,400,30\n"
    profile = find_profile(str(write(tmp_path, text, "azure.csv")))
    first = "line 3: contexttokens 'bad': expected a number of tokens"
    assert profile.notes[0].endswith(
        f"azure.csv: 2 of 4 lines cannot be read, the first is {first}"
    )
    assert sum(profile.weights.values()) == pytest.approx(100)


@pytest.mark.parametrize(
    ("lines", "lengths"),
    [
        (["prompt_tokens,output_tokens", "10,20"], [(10, 20, 0)]),
        (["output_len;prompt_len", "20;10"], [(10, 20, 0)]),
        (["input_length\toutput_length", "10\t20.0"], [(10, 20, 0)]),
        (['{"prompt_tokens": 10, "completion_tokens": 20}'], [(10, 20, 0)]),
        (['{"usage": {"prompt_tokens": 10, "completion_tokens": 0}}'], [(10, 1, 0)]),
        (["Request tokens,Response tokens", "10,20"], [(10, 20, 0)]),
        (["prompt_tokens,output_tokens,cached_tokens", "10,20,64", "0,5,0"],
         [(10, 20, 9), (1, 5, 0)]),
    ],
)  # fmt: skip
def test_logs_in_their_forms(lines: list[str], lengths: list[tuple[int, int, int]]) -> None:
    found = read_log(lines, "log").requests
    assert [(r.prompt_tokens, r.output_tokens, r.cached_tokens) for r in found] == lengths


def test_a_prompt_in_another_encoding_costs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "latin.csv"
    path.write_bytes(b"prompt_tokens,output_tokens,text\n100,20,caf\xe9\n")
    assert find_profile(str(path)).weights


def test_metrics_give_lengths_and_decodes_a_step() -> None:
    found = read_metrics(METRICS, "m")
    assert found.in_flight == 18
    prompts = sorted(each.prompt_tokens for each in found.requests)
    assert prompts[len(prompts) // 2] == pytest.approx(100, rel=0.02)
    assert prompts[-1] == 1000
    without = "\n".join(line for line in METRICS.splitlines() if not line.startswith("#")) + "\n"
    assert read_metrics(without, "m") == found
    # Without the counter, by the lengths themselves.
    no_counter = METRICS.replace("vllm:generation_tokens_total", "vllm:other_total")
    assert 1 < read_metrics(no_counter, "m").in_flight < 20


def test_series_of_several_engines_add_up_though_their_edges_differ() -> None:
    other = "\n".join(
        line.replace('engine="0"', 'engine="1"').replace('le="100.0"', 'le="200.0"')
        for line in METRICS.splitlines()
        if "_bucket" in line or line.startswith("vllm:generation")
    )
    both = read_metrics(METRICS + other + "\n", "m")
    assert both.in_flight == 18
    prompts = sorted(each.prompt_tokens for each in both.requests)
    assert 100 <= prompts[len(prompts) // 2] <= 200


WORKLOADS = ["q1s1k", "8q1s1kv80", "q2k", "q2ks4k", "2q4s64"]


@given(
    st.dictionaries(st.sampled_from(WORKLOADS), st.floats(0.001, 1e6), min_size=1),
    st.randoms(use_true_random=False),
)
def test_the_order_of_the_lines_does_not_matter(weights: dict[str, float], chance: object) -> None:
    lines = [f"{name} {weight!r}" for name, weight in weights.items()]
    expected = read_weights(lines, "x")
    chance.shuffle(lines)  # type: ignore[attr-defined]
    assert read_weights(lines, "x") == expected == weights
    assert read_weights(json.dumps(weights).splitlines(), "x") == weights


@given(st.lists(st.tuples(st.integers(0, 100_000), st.integers(0, 2_000)), min_size=1, max_size=30))
def test_any_log_becomes_weights_that_add_up(lengths: list[tuple[int, int]]) -> None:
    from autotune.traffic.files import LOADS
    from autotune.traffic.weighed import weigh_requests

    lines = ["prompt_tokens,output_tokens", *(f"{p},{o}" for p, o in lengths)]
    found = weigh_requests(read_log(lines, "x").requests, LOADS)
    assert math.fsum(found.weights.values()) == pytest.approx(100)
    assert all(parse_workload(text).text == text for text in found.weights)
    assert Profile("x", found.weights, is_own=True).key
