"""Command lines of engines: what they say, and what is appended to them."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import FULL, H100, candidate, make_model

from autotune.command_lines import Command, config_words, read_command
from autotune.command_lines.appending import appended
from autotune.command_lines.programs import find_program
from autotune.decision import Choice
from autotune.errors import UsageError
from autotune.keys import Question
from autotune.models import ModelRequest
from autotune.start import Circumstances, Keep, Take, rule


def read(*words: str) -> Command:
    return read_command(words, lambda _: ())


def vllm(*words: str) -> Command:
    return read("vllm", "serve", "M", *words)


def sglang(*words: str) -> Command:
    return read("sglang", "serve", "M", *words)


# the programs


@pytest.mark.parametrize(
    ("command", "engine"),
    [
        ("vllm serve M", "vllm"),
        ("vllm serve --model M", "vllm"),
        ("vllm serve --model=M", "vllm"),
        ("vllm serve --port=80 -- M", "vllm"),
        ("/opt/venv/bin/vllm serve M", "vllm"),
        ("python /opt/venv/bin/vllm serve M", "vllm"),
        ("python -m vllm.entrypoints.openai.api_server --model M", "vllm"),
        ("/usr/bin/python3.12 -u -X dev -W ignore -m vllm.entrypoints.cli.main serve M", "vllm"),
        ("vllm bench latency --model M --input-len 8", "vllm"),
        ("vllm bench throughput --backend vllm --model M", "vllm"),
        ("sglang serve M", "sglang"),
        ("sglang serve --model-path M", "sglang"),
        ("python3 -m sglang.launch_server --model-path M", "sglang"),
        ("python3 -msglang.launch_server --model M", "sglang"),
    ],
)
def test_the_programs_and_their_model(command: str, engine: str) -> None:
    found = read(*command.split())
    assert (found.engine, found.request()) == (engine, ModelRequest("M"))
    assert found.with_words(()) == tuple(command.split())


@pytest.mark.parametrize(
    "command",
    ["", "ls", "vllm", "vllm chat", "vllm bench serve --model M", "vllm --version", "python",
     "python -c x", "python -m", "python -m vllm.run", "uv run vllm serve M", "sglang version"],
)  # fmt: skip
def test_other_programs_are_named_with_what_is_known(command: str) -> None:
    with pytest.raises(UsageError, match="expected one of: vllm serve MODEL, ") as raised:
        find_program(command.split())
    assert "python -m sglang.launch_server" in str(raised.value)


def test_a_model_in_an_uncertain_place_is_not_guessed() -> None:
    for words in (["--port", "80", "M"], ["--enforce-eager", "M"], []):
        with pytest.raises(UsageError, match=r"names no model: expected it right after serve"):
            read("vllm", "serve", *words).request()
    with pytest.raises(UsageError, match="names no model: expected it as --model MODEL"):
        read("python", "-m", "vllm.entrypoints.openai.api_server", "M").request()


# options


@pytest.mark.parametrize(
    "words",
    [
        ["--tensor-parallel-size", "4"],
        ["--tensor-parallel-size=4"],
        ["--tensor_parallel_size=4"],
        ["--tensor-parallel", "4"],
        ["-tp", "4"],
        ["-tp=4"],
        ["-tp", "2", "--tensor-parallel-size", "4"],
        ["--served-model-name", "a", "b", "-tp", "4", "--enforce-eager"],
    ],
)
def test_every_spelling_of_an_option(words: list[str]) -> None:
    assert vllm(*words).request() == ModelRequest("M", tensor_parallel=4)


def test_what_vllm_is_told_of_the_model() -> None:
    words = (
        "-tp 8 --dtype bfloat16 --kv-cache-dtype fp8 --block-size 32 --max-model-len 16k"
        " --revision v2 --hf-config-path elsewhere"
    )
    found = vllm(*words.split())
    assert found.request() == ModelRequest("elsewhere", 8, "bfloat16", "fp8", 32, 16000)
    assert (found.revision, found.device) == ("v2", "auto")


def test_what_sglang_is_told_of_the_model() -> None:
    words = (
        "--tp 8 --dtype half --kv-cache-dtype fp8_e5m2 --page-size 64 --context-length 32768"
        " --device cpu"
    )
    found = sglang(*words.split())
    assert found.request() == ModelRequest("M", 8, "half", "fp8_e5m2", 64, 32768)
    assert (found.revision, found.device) == (None, "cpu")
    assert sglang("--device", "cuda").device == "auto"


@pytest.mark.parametrize(
    ("text", "length"),
    [("4096", 4096), ("1k", 1000), ("1K", 1024), ("1.5k", 1500), ("2M", 2 << 20), ("-1", None),
     ("auto", None), ("None", None)],
)  # fmt: skip
def test_lengths_as_people_write_them(text: str, length: int | None) -> None:
    assert vllm("--max-model-len", text).request().max_model_len == length


@pytest.mark.parametrize("text", ["four", "4x", "0x10", "1e3", "٣"])
def test_a_number_that_is_none(text: str) -> None:
    with pytest.raises(UsageError, match=f"--tensor-parallel-size {text}: expected a whole"):
        vllm("-tp", text).request()


def test_options_go_before_a_bare_end_of_options() -> None:
    command = read("vllm", "serve", "--port", "80", "--", "M")
    assert command.with_words(("--x", "1")) == (
        "vllm", "serve", "--port", "80", "--x", "1", "--", "M",
    )  # fmt: skip
    assert vllm("-tp", "2").with_words(("--x", "1"))[-2:] == ("--x", "1")


def test_what_stands_behind_the_end_of_options_is_none() -> None:
    assert read("vllm", "serve", "--", "M", "--attention-backend", "X").explicit == ""


# the user's own word


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--attention-backend", "FLASHINFER"], "--attention-backend FLASHINFER"),
        (["--attention_backend=FLASHINFER"], "--attention-backend FLASHINFER"),
        (["--attention-back", "FLASHINFER"], "--attention-backend FLASHINFER"),
        (["-ac.backend", "X"], "--attention-config.backend X"),
        (["--attention-config.backend=X"], "--attention-config.backend X"),
        (["--attention_config.backend_per_kind.full_attention", "X"],
         "--attention-config.backend_per_kind.full_attention X"),
        (["-ac", '{"flash_attn_version": 2}'], '--attention-config {"flash_attn_version": 2}'),
        (["-ac", '{"backend_per_kind": {"full_attention": "X"}}'],
         '--attention-config {"backend_per_kind": {"full_attention": "X"}}'),
        (["-ac", "{flawed"], "--attention-config {flawed"),
        (["--attention-backend", "auto"], ""),
        (["--attention-backend", "AUTO"], ""),
        (["--attention-backend", "X", "--attention-backend", "auto"], ""),
        (["-ac.backend", "auto"], ""),
        (["-ac.use_trtllm_attention", "true"], ""),
        (["-ac", '{"backend": null, "use_trtllm_attention": true}'], ""),
        (["--mm-encoder-attn-backend", "X"], ""),
    ],
)  # fmt: skip
def test_vllm_s_ways_to_name_a_backend(words: list[str], said: str) -> None:
    assert vllm(*words).explicit == said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--attention-backend fa3", "--attention-backend fa3"),
        ("--prefill-attention-backend fa3", "--prefill-attention-backend fa3"),
        ("--decode-attention=fa3", "--decode-attention-backend fa3"),
        ("--enable-deterministic-inference", "--enable-deterministic-inference"),
        ("--speculative-draft-attention-backend fa3", ""),
        ("--mm-attention-backend fa3", ""),
    ],
)
def test_sglang_s_ways_to_name_a_backend(words: str, said: str) -> None:
    assert sglang(*words.split()).explicit == said


# who must agree, and what is not modelled


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--nnodes 2", "--nnodes 2"),
        ("-n2", "--nnodes 2"),
        ("-n 1", ""),
        ("--node-rank 1", "--node-rank 1"),
        ("-r 0", ""),
        ("--headless", "--headless"),
        ("--data-parallel-address 10.0.0.1", "--data-parallel-address 10.0.0.1"),
        ("-dpr 0", "--data-parallel-start-rank 0"),
        ("--data-parallel-rank=0", "--data-parallel-rank 0"),
        ("-dph", "--data-parallel-hybrid-lb"),
        ("--data-parallel-hybrid-lb --no-data-parallel-hybrid-lb", ""),
        ("--data-parallel-external-lb", "--data-parallel-external-lb"),
        ("--distributed-executor-backend ray", "--distributed-executor-backend ray"),
        ("--distributed-executor-backend mp", ""),
        ("--kv-transfer-config.kv_connector NixlConnector",
         "--kv-transfer-config.kv_connector NixlConnector"),
        ("-dp 8 -tp 2", ""),
    ],
)  # fmt: skip
def test_vllm_instances_that_must_agree(words: str, said: str) -> None:
    assert vllm(*words.split()).agreement == said


def test_sglang_instances_that_must_agree() -> None:
    said = {"--disaggregation-mode prefill", "--nnodes 2", "--node-rank 1", "--use-ray"}
    assert {sglang(*words.split()).agreement for words in said} == said
    for words in ("--disaggregation-mode null", "--nnodes 1", "--node-rank 0", "--dp-size 4"):
        assert sglang(*words.split()).agreement == ""


def test_what_a_config_json_does_not_say() -> None:
    overrides = vllm("--hf-overrides", '{"sliding_window": 8}')
    assert overrides.unmodelled == '--hf-overrides {"sliding_window": 8}'
    assert vllm("-dcp", "2").unmodelled == "--decode-context-parallel-size 2"
    assert vllm("-dcp", "1", "--hf-overrides", "{}").unmodelled == ""
    assert sglang("--enable-dp-attention").unmodelled == "--enable-dp-attention"
    assert sglang("--model-type", "diffusion").unmodelled == "--model-type diffusion"
    assert sglang("--model-type=llm").unmodelled == ""


# a file of options


def filed(*words: str) -> Command:
    options = ("--model", "F", "--tensor_parallel_size", "4", "--attention-backend", "X")
    return read_command(words, lambda _: options)


def test_options_of_a_config_file_come_before_the_command_s_own() -> None:
    found = filed("vllm", "serve", "--config", "f.yaml", "-tp", "2")
    assert found.request() == ModelRequest("F", 2)
    assert found.explicit == "--attention-backend X"
    assert filed("vllm", "serve", "M", "--config", "f.yaml").request() == ModelRequest("M", 4)
    assert found.with_words(("--x",))[-2:] == ("2", "--x")


def test_no_engine_reads_a_config_file_behind_an_equals_sign() -> None:
    assert filed("vllm", "serve", "M", "--config=f.yaml").request() == ModelRequest("M")


def test_the_words_of_a_config_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = (
        "import json\nYAMLError = ValueError\ndef safe_load(text):\n    return json.loads(text)\n"
    )
    (tmp_path / "yaml.py").write_text(reader)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "yaml", raising=False)
    file = tmp_path / "f.yaml"
    options = {"tensor-parallel-size": 4, "headless": True, "enable-lora": False,
               "served-model-name": ["a", "b"], "attention-config": {"backend": "X"}}  # fmt: skip
    file.write_text(json.dumps(options))
    assert config_words(file) == (
        "--tensor-parallel-size", "4", "--headless", "--no-enable-lora",
        "--served-model-name", "a", "b", "--attention-config", '{"backend": "X"}',
    )  # fmt: skip
    for text, why in (("[1]", "expected options"), ("{", "cannot be read")):
        file.write_text(text)
        with pytest.raises(UsageError, match=why):
            config_words(file)
    with pytest.raises(UsageError, match="cannot be read"):
        config_words(tmp_path / "gone.yaml")


# what is appended


def chosen(**options: object) -> Choice:
    return Choice(
        state="override", why="asked for", engine="vllm", profile="balanced", model="tiny",
        device=H100, source="override", candidate=candidate("swift"), engine_options=options,
    )  # fmt: skip


def taken(choice: Choice) -> Take:
    return Take(choice, choice.engine_options or {}, "key")


def test_an_option_that_says_the_same_is_not_said_twice() -> None:
    choice = chosen(attention_backend="X", block_size=16)
    assert appended(vllm("--block_size", "16"), taken(choice)).words == ("--attention-backend", "X")
    assert len(appended(vllm(), taken(choice)).words) == 4


@pytest.mark.parametrize(
    "words", [["--block-size", "32"], ["-ac", '{"use_trtllm_attention": true}'], ["--new-one=1"]]
)
def test_an_option_of_the_user_s_is_never_overruled(words: list[str]) -> None:
    choice = chosen(
        attention_backend="X", block_size=16, attention_config={"flash_attn_version": 2}, new_one=2
    )
    found = appended(vllm(*words), taken(choice))
    assert (found.words, found.is_warning) == ((), True)
    assert "is given, and swift:plain needs another value" in found.said


def test_what_is_kept_is_said_with_its_reason() -> None:
    found = appended(
        vllm(), Keep(chosen(attention_backend="X"), "swift:plain is quarantined", True)
    )
    assert (found.words, found.is_warning) == ((), True)
    assert "swift:plain is quarantined" in found.said


def test_what_the_user_s_options_stand_against_is_not_said_to_be_appended() -> None:
    watched = replace(chosen(attention_backend="X", block_size=16), is_observed=True)
    kept = Keep(watched, "AUTOTUNE_MODE=observe: would take swift:plain")
    assert "; it would append --attention-backend X" in appended(vllm(), kept).said
    said = appended(vllm("--block-size", "32"), kept).said
    assert said.endswith("AUTOTUNE_MODE=observe: would take swift:plain")


def test_a_choice_without_an_option_of_the_engine() -> None:
    question = Question(make_model(FULL), "vllm", "balanced")
    found = appended(vllm(), rule(question, chosen(), Circumstances()))
    assert found.words == ()
    assert "vllm has no option that loads swift:plain" in found.said
