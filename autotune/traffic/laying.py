"""From the shapes of batches to workloads, and how much each weighs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from math import fsum

from autotune.traffic.batch import Batch
from autotune.traffic.roofline import attention_us
from autotune.traffic.shapes import (
    Shape,
    distance,
    is_near,
    shape_of,
    shape_of_workload,
    workload_like,
)
from kernels_bench.grid import GPU_FULL

MOST_CUSTOM = 8
LEAST_CUSTOM_SHARE = 0.01
"""A workload of somebody's own is worth measuring from this share of all weight on."""

_MINOR = 0.1
"""Of a batch's time: less is not felt."""


def weigh_shapes(batches: Iterable[Batch]) -> dict[Shape, float]:
    """Shape -> its share of all attention time."""
    times_us: dict[Shape, float] = {}
    for batch in batches:
        shape = shape_of(_ruling_part(batch))
        times_us[shape] = times_us.get(shape, 0.0) + attention_us(batch)
    total_us = fsum(times_us.values())
    return {shape: time_us / total_us for shape, time_us in times_us.items()}


def _ruling_part(batch: Batch) -> Batch:
    """What takes no time of its own does not rule: a few decodes beside a long prompt, and a short
    prompt beside many decodes; the latter only where no standard workload is like the whole, as
    engines run a batch with any prompt in it otherwise than decodes.
    """
    if not batch.chunks or not batch.decodes:
        return batch
    prompts, decodes = replace(batch, decodes=0, decode_tokens=0.0), replace(batch, chunks=())
    prompts_us, decodes_us = attention_us(prompts), attention_us(decodes)
    if decodes_us < _MINOR * prompts_us:
        return prompts
    if prompts_us < _MINOR * decodes_us and not _standard_near(shape_of(batch)):
        return decodes
    return batch


@cache
def _standard_near(shape: Shape) -> tuple[str, ...]:
    return tuple(text for text in GPU_FULL if is_near(shape, _shape(text)))


def average(scenarios: Iterable[Mapping[Shape, float]]) -> dict[Shape, float]:
    """Each scenario counts as much as the others."""
    each = list(scenarios)
    shares: dict[Shape, float] = {}
    for scenario in each:
        for shape, share in scenario.items():
            shares[shape] = shares.get(shape, 0.0) + share / len(each)
    return shares


def lay_on_standard(shapes: Mapping[Shape, float]) -> dict[str, float]:
    """Workload -> weight: every shape goes to the nearest standard workload of its phase."""
    weights = dict.fromkeys(GPU_FULL, 0.0)
    for shape, weight in shapes.items():
        weights[_nearest(shape, GPU_FULL)] += weight
    return {text: weight for text, weight in weights.items() if weight}


def lay_on_own(shapes: Mapping[Shape, float]) -> dict[str, float]:
    """Workload -> weight: what is not near a standard workload becomes one of its own, and the
    lightest of those join their nearest neighbours until few are left.
    """
    weights: dict[str, float] = {}
    for shape, weight in shapes.items():
        near = _standard_near(shape)
        text = _nearest(shape, near) if near else workload_like(shape)
        weights[text] = weights.get(text, 0.0) + weight
    least = LEAST_CUSTOM_SHARE * fsum(weights.values())
    custom = {text for text in weights if text not in GPU_FULL}
    while custom:
        lightest = min(custom, key=lambda text: (weights[text], text))
        if len(custom) <= MOST_CUSTOM and weights[lightest] >= least:
            break
        custom.remove(lightest)
        heir = _nearest(_shape(lightest), (*GPU_FULL, *sorted(custom)))
        weights[heir] = weights.get(heir, 0.0) + weights.pop(lightest)
    return dict(sorted(weights.items(), key=lambda item: (-item[1], item[0])))


def _nearest(shape: Shape, texts: Iterable[str]) -> str:
    alike = (text for text in texts if _shape(text).phase is shape.phase)
    return min(alike, key=lambda text: distance(shape, _shape(text)))


@cache
def _shape(text: str) -> Shape:
    return shape_of_workload(text)
