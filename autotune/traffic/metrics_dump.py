"""What vLLM says of its own traffic: a dump of `/metrics`, in Prometheus' text format.

Names as in vLLM 0.33, v1/metrics/loggers.py; older ones had the same from 0.6 on.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import pairwise

from autotune.errors import ProfileError
from autotune.traffic.lengths import Lengths

_PROMPTS = "vllm:request_prompt_tokens"
_OUTPUTS = "vllm:request_generation_tokens"
_STEPS = "vllm:iteration_tokens_total"
_GENERATED = "vllm:generation_tokens_total"
_SIZE = 2000
"""Requests that stand for all."""
_STRIDE = 997
"""Prime: how prompts and answers are paired, since histograms do not say who belonged together."""

_Histogram = Mapping[float, float]
"""Upper edge of a bucket -> how many were at most that."""


@dataclass(frozen=True)
class Metrics:
    """Requests like those that were served, and how many were in flight."""

    requests: tuple[Lengths, ...]
    in_flight: int
    """Decodes a step, on average."""


def read_metrics(text: str, source: str) -> Metrics:
    """Sum up all series, of several engines and models; raises ProfileError."""
    found = _read(text, source)
    wanted = (_PROMPTS, _OUTPUTS, _STEPS)
    missing = [name for name in wanted if not _count(found.histograms.get(name, {}))]
    if missing:
        raise ProfileError(
            f"profile {source}: nothing is counted in {', '.join(missing)}; dump /metrics of a vLLM"
            " that has served its traffic"
        )
    prompts, outputs = (_lengths(found.histograms[name]) for name in (_PROMPTS, _OUTPUTS))
    requests = tuple(Lengths(prompts[i], outputs[i * _STRIDE % _SIZE]) for i in range(_SIZE))
    counted = _count(found.histograms[_OUTPUTS]) * sum(outputs) / _SIZE
    per_step = (found.generated or counted) / _count(found.histograms[_STEPS])
    return Metrics(requests, max(1, round(per_step)))


@dataclass(frozen=True)
class _Found:
    """What the dump holds of what is wanted."""

    histograms: Mapping[str, _Histogram]
    generated: float
    """Tokens, by their own counter; 0 where there is none."""


def _read(text: str, source: str) -> _Found:
    # Imported late: a start that brings no such file does not need it.
    from prometheus_client.parser import text_string_to_metric_families

    series: dict[str, dict[str, dict[float, float]]] = {}
    generated = 0.0
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                name = sample.name.removesuffix("_bucket")
                if sample.name == _GENERATED:
                    generated += _number(sample.value)
                elif name in (_PROMPTS, _OUTPUTS, _STEPS) and name != sample.name:
                    labels = {key: text for key, text in sample.labels.items() if key != "le"}
                    own = series.setdefault(name, {}).setdefault(str(sorted(labels.items())), {})
                    own[float(sample.labels["le"])] = _number(sample.value)
        histograms = {name: _sum(own.values()) for name, own in series.items()}
    except (ValueError, KeyError) as error:
        what = " ".join(str(error).split())
        raise ProfileError(f"profile {source}: not what vLLM's /metrics says ({what})") from error
    return _Found(histograms, generated)


def _number(value: float) -> float:
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{value} is no count")
    return value


def _sum(series: Collection[_Histogram]) -> _Histogram:
    """Series may have other edges: each counts at an edge what it has up to there."""
    edges = sorted({edge for each in series for edge in each})
    total = {edge: sum(_up_to(each, edge) for each in series) for edge in edges}
    if any(total[low] > total[high] for low, high in pairwise(edges)):
        raise ValueError("its buckets fall")
    return total


def _up_to(histogram: _Histogram, edge: float) -> float:
    return max((count for own, count in histogram.items() if own <= edge), default=0.0)


def _count(histogram: _Histogram) -> float:
    return max(histogram.values(), default=0.0)


def _lengths(histogram: _Histogram) -> list[int]:
    """So many lengths that spread as the histogram does, evenly inside a bucket on a log scale;
    above the last finite edge, that edge.
    """
    edges, total = sorted(histogram), _count(histogram)
    lengths: list[int] = []
    for i in range(_SIZE):
        wanted = (i + 0.5) / _SIZE * total
        index = next(n for n, edge in enumerate(edges) if histogram[edge] >= wanted)
        low = edges[index - 1] if index else 1.0
        high = edges[index] if math.isfinite(edges[index]) else low
        below = histogram[edges[index - 1]] if index else 0.0
        share = (wanted - below) / (histogram[edges[index]] - below)
        lengths.append(max(1, round(max(1.0, low) ** (1 - share) * max(1.0, high) ** share)))
    return lengths
