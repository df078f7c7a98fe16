"""`docs/paged_engine.py`, run as a reader would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TypeAlias

import pytest
from fakes import write_plugin

import autotune

Done: TypeAlias = subprocess.CompletedProcess[str]
ENGINE = Path(autotune.__file__).parents[1] / "docs" / "paged_engine.py"


def run_engine(*options: str, **environ: str) -> Done:
    """Without the backend that compiles: a machine may lack a compiler."""
    return subprocess.run(
        [sys.executable, str(ENGINE), *options],
        capture_output=True,
        text=True,
        env={**os.environ, "AUTOTUNE_DISABLE_BACKENDS": "torch_flex,triton_unified", **environ},
        cwd="/",
    )


def test_it_runs_before_and_after_it_is_measured() -> None:
    before = run_engine()
    assert before.returncode == 0, before.stderr
    assert "decode   torch_sdpa:padded\n" in before.stdout
    assert "default: nothing is measured for paged-engine" in before.stdout
    warmed = run_engine("--warm")
    assert warmed.returncode == 0, warmed.stderr
    assert "measured, 0 wrong, 0 failed" in warmed.stdout
    after = run_engine()
    for done in (warmed, after):
        assert "exact: " in done.stdout
        assert "of 4 requests, at most 0." in done.stdout


@pytest.mark.parametrize("variant", ["padded", "per_request"])
def test_every_variant_is_right(variant: str) -> None:
    done = run_engine(AUTOTUNE_BACKEND=f"torch_sdpa:{variant}")
    assert (done.returncode, done.stderr.count("computes")) == (0, 0), done.stderr
    assert f"decode   torch_sdpa:{variant}" in done.stdout


def test_nobody_who_can_run_it_is_told() -> None:
    done = run_engine(AUTOTUNE_DISABLE_BACKENDS="torch_flex,torch_sdpa,triton_unified,triton_split")
    assert done.returncode == 1
    assert "no backend can run paged-engine" in done.stderr
    assert "Traceback" not in done.stderr


OTHER = """
from dataclasses import replace

from kernels_bench.backends.torch_sdpa import BACKEND as SDPA
from kernels_bench.spec import Pages, Variant

class Other:
    name = "other"
    supports = SDPA.supports

    def variants(self, device, spec, stack):
        return (Variant("padded", ("torch",), (Pages({size}, "{layout}"),)),)

    def prepare(self, variant, spec, batch):
        {mistake}
        return SDPA.prepare(variant, spec, batch)

BACKEND = Other()
"""


def run_other(folder: Path, mistake: str = "pass", size: int = 16, layout: str = "NHD") -> Done:
    """With a backend of another distribution."""
    write_plugin(folder, "other", OTHER.format(mistake=mistake, size=size, layout=layout))
    return run_engine(AUTOTUNE_BACKEND="other", PYTHONPATH=str(folder))


@pytest.mark.parametrize(("size", "layout"), [(16, "NHD"), (16, "HND"), (8, "HND"), (256, "NHD")])
def test_it_lays_the_cache_out_as_the_backend_wants_it(
    size: int, layout: str, tmp_path: Path
) -> None:
    done = run_other(tmp_path, size=size, layout=layout)
    assert done.returncode == 0, done.stderr
    assert "decode   other:padded" in done.stdout


@pytest.mark.parametrize(
    "mistake",
    [
        "batch.block_table = batch.block_table.flip(1)",
        "batch.block_table = batch.block_table.roll(1, 0)",
        "batch.softmax_scale *= 1.5",
        "spec = replace(spec, sliding_window=128)",
        "spec = replace(spec, causal=False)",
        "batch.output = batch.output.clone()",
    ],
    ids=["order of pages", "others' pages", "scale", "window", "future", "nothing written"],
)
def test_it_notices_a_backend_that_is_wrong(mistake: str, tmp_path: Path) -> None:
    done = run_other(tmp_path, mistake)
    assert done.returncode == 1
    assert "computes something else" in done.stderr
