"""Two GPUs of one host, a real vLLM on them, and another process that writes the same cache: does
everybody load the same, and is it tuned for once?

python benchmarks/engine_ranks.py --model llama-3.1-8b --folder EMPTY_FOLDER > ranks.jsonl

Three cases, a line of JSON a start: an engine of two ranks that tunes first (AUTOTUNE_MODE=tune, an
empty cache), the same again, which reads; two engines of one rank that are started together and
both want to tune. The cache is written from the first moment on, with decisions for other profiles
than the one that is asked for.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from engine_models import MODELS, write_model

from autotune.engine_loads import Load
from autotune.engine_messages import EngineJob, EngineRun
from autotune.engine_process import Deadlines, EngineProcess
from kernels_bench.processes import search_path

PROFILE = "decode-heavy"
LOAD = Load(64, 64, 32)
TESTS = Path(__file__).parents[1] / "tests"
ARGUMENTS: Mapping[str, object] = {
    # Whose backend is loaded is decided before anything is compiled or captured.
    "enforce_eager": True,
    "max_model_len": 16384,
    "disable_custom_all_reduce": True,
    "compilation_config": {"pass_config": {"fuse_allreduce_rms": False}},
}
_DEADLINES = Deadlines(400.0, 200.0)
_STEP = re.compile(r"\[(\d+)/\d+\] ")


@dataclass(frozen=True)
class Start:
    """One engine of a case."""

    case: str
    cache: Path
    log: Path
    ranks: int
    environ: Mapping[str, str]


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--model", choices=list(MODELS), required=True)
    asked.add_argument("--folder", type=Path, required=True)
    asked.add_argument("--layers", type=int)
    asked.add_argument("--arguments", default="{}", help="of vllm.LLM, as JSON")
    asked.add_argument("--device", default="auto")
    asked.add_argument("--writes", nargs=2, default=["vllm_triton:unified", "flash_attn:fa3@vllm"])
    given = asked.parse_args()
    arguments = {**ARGUMENTS, **json.loads(given.arguments)}
    given.folder.mkdir(parents=True, exist_ok=True)

    def start(case: str, cache: str, ranks: int, **environ: str) -> Start:
        log = given.folder / f"{case.replace(' ', '-')}.log"
        return Start(case, given.folder / cache, log, ranks, {"AUTOTUNE_MODE": "tune", **environ})

    with tempfile.TemporaryDirectory() as folder:
        model = write_model(given.model, Path(folder), given.layers)
        with writer(given.folder / "ranks.db", given):
            # The second is started like the first: nothing is left for it to tune.
            for case in ("two ranks, empty cache", "two ranks again"):
                report(run_together([start(case, "ranks.db", 2)], model, arguments))
        with writer(given.folder / "pair.db", given):
            pair = [
                start(f"one of two engines, GPU {n}", "pair.db", 1, CUDA_VISIBLE_DEVICES=str(n))
                for n in (0, 1)
            ]
            report(run_together(pair, model, arguments))


@contextmanager
def writer(cache: Path, given: argparse.Namespace) -> Iterator[None]:
    """Somebody who writes into the cache, a decision after the other."""
    said = cache.with_suffix(".writer.log")
    words = [sys.executable, str(TESTS / "writer.py"), str(cache), "llama-3.1-8b"]
    with said.open("w") as log:
        process = subprocess.Popen(
            [*words, *given.writes, given.device],
            stdout=log,
            stderr=log,
            env={**os.environ, "PYTHONPATH": search_path()},
        )
        try:
            yield
            if process.poll() is not None:
                raise SystemExit(f"the writer gave up: {said.read_text()}")
        finally:
            process.kill()
            process.wait()
    lines = said.read_text().splitlines()
    print(json.dumps({"cache": cache.name, "written": int(lines[-1]) if lines else 0}), flush=True)


def run_together(
    starts: Sequence[Start], model: Path, arguments: Mapping[str, object]
) -> list[dict[str, object]]:
    """All at once; what each loaded, and what it did for that."""

    def run(start: Start) -> dict[str, object]:
        job = EngineJob(
            str(model),
            {**arguments, "tensor_parallel_size": start.ranks},
            (LOAD,),
            repeats=2,
            is_scored=False,
        )
        environ = {**os.environ, **start.environ}
        environ |= {"AUTOTUNE_CACHE": str(start.cache.resolve()), "AUTOTUNE_PROFILE": PROFILE}
        with EngineProcess(job, environ, start.log) as process:
            return told(start, process.run(_DEADLINES, time.monotonic() + 600.0))

    with ThreadPoolExecutor(len(starts)) as pool:
        return [*pool.map(run, starts)]


def told(start: Start, run: EngineRun) -> dict[str, object]:
    lines = start.log.read_text(errors="replace").splitlines()
    payloads = [line[line.index("{") :] for line in lines if '"event": "engine_start"' in line]
    payload = json.loads(payloads[0]) if payloads else {}
    started = run.started
    return {
        "case": start.case,
        "loaded": [] if started is None else started.backends,
        # A plus stands between the hashes of ranks that differ.
        "config_hash": "" if started is None else started.config_hash,
        "start_s": None if started is None else round(started.start_s, 1),
        "decisions": len(payloads),
        **{key: payload.get(key) for key in ("state", "backend", "applied", "took_ms", "why")},
        "tunings": sum("AUTOTUNE_MODE=tune: tuning for" in line for line in lines),
        "measured_workloads": sum(_STEP.search(line) is not None for line in lines),
        "waited_for_tuner": sum("--no-wait goes on" in line for line in lines),
        "stored_decisions": stored(start.cache),
        "repeats_s": [round(sample.wall_s, 3) for sample in run.samples],
        "failure": run.failure,
    }


def stored(cache: Path) -> int:
    """Decisions for the profile that is asked for: one a tuning, whoever else writes."""
    with closing(sqlite3.connect(f"file:{cache}?mode=ro", uri=True)) as file:
        question = "select count(*) from decisions where profile = ?"
        return int(file.execute(question, (PROFILE,)).fetchone()[0])


def report(rows: Sequence[dict[str, object]]) -> None:
    for row in rows:
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
