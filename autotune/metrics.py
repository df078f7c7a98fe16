"""A start as an info metric for Prometheus."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Gauge

METRIC = "attn_autotune_choice_info"
MEASURED = "attn_autotune_measured_timestamp_seconds"
_LABELS = (
    "engine", "model", "backend", "variant", "state", "applied", "default", "margin", "measured_at",
)  # fmt: skip


def publish(payload: Mapping[str, object], registry: CollectorRegistry | None = None) -> bool:
    """Set the metrics where this process exports any; whether it does."""
    if "prometheus_client" not in sys.modules:
        return False
    from prometheus_client import REGISTRY

    info, measured = _gauges(REGISTRY if registry is None else registry)
    info.clear()
    info.labels(*(_label(payload, name) for name in _LABELS)).set(1)
    moment = payload["measured_at"]
    measured.set(0 if moment is None else moment_of(str(moment)).timestamp())
    return True


@functools.cache
def _gauges(registry: CollectorRegistry) -> tuple[Gauge, Gauge]:
    """One pair a registry, which takes a name once; of several API servers' values the newest
    stands, as with vLLM's own info metrics.
    """
    from prometheus_client import Gauge

    what = "The attention backend of this engine, as measurements chose it. Always 1."
    info = Gauge(METRIC, what, _LABELS, registry=registry, multiprocess_mode="mostrecent")
    what = "When the attention backend's decision was measured; 0 where none was."
    measured = Gauge(MEASURED, what, registry=registry, multiprocess_mode="mostrecent")
    return info, measured


def _label(payload: Mapping[str, object], name: str) -> str:
    value = payload["speedup_vs_default"] if name == "margin" else payload[name]
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case float():
            return f"{value - 1:+.1%}" if name == "margin" else str(value)
        case _:
            return str(value)


def moment_of(text: str) -> datetime:
    """Of a stored row; the epoch where it cannot be read."""
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return datetime.fromtimestamp(0, timezone.utc)
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
