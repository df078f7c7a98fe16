"""AMD's GPUs as tests name them, and the trial of a candidate whose kernels are fakes."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import torch

from kernels_bench.backends.base import Backend
from kernels_bench.spec import AttentionSpec, Device, Pages, Phase, Variant
from kernels_bench.trial import Trial, run_trial

H100 = Device("cuda", "NVIDIA H100 80GB HBM3", "sm_90", 132, 80 << 30, 50 << 20)
MI300 = Device("rocm", "AMD Instinct MI300X", "gfx942", 304, 192 << 30, 256 << 20)
MI355 = replace(MI300, name="AMD Instinct MI355X", arch="gfx950")
GFX90A = replace(MI300, name="AMD Instinct MI250X", arch="gfx90a")
GFX1100 = replace(MI300, name="AMD Radeon RX 7900 XTX", arch="gfx1100")


@lru_cache(maxsize=64)
def _trial(spec: AttentionSpec, phase: Phase) -> Trial:
    return Trial(spec, phase, torch.device("cpu"), 0)


def trial_verdict(
    backend: Backend, variant: Variant, spec: AttentionSpec, phase: Phase, pages: Pages
) -> str | None:
    """The check that failed, of every scene that an examination shows; None where all passed.
    Padded rows come where an engine replays a graph.
    """
    is_replayed = phase in (Phase.DECODE, Phase.VERIFY)
    stage = _trial(spec, phase).bind(pages, 0, with_padding=is_replayed)
    stage.show(stage.scenes[0])
    launch = backend.prepare(variant, spec, stage.batch)
    wrong = run_trial(stage, launch, launch.run)
    return None if wrong is None else wrong.check
