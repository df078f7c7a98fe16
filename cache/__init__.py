"""Remembers: rows and files. Imports no torch and nothing else of ours; relative imports only."""

from __future__ import annotations

from .errors import (
    CacheBusyError,
    CacheCorruptError,
    CacheError,
    CacheForeignError,
    CacheLocationError,
    CacheMissingError,
    CacheNewerError,
    CacheUnreadableError,
    CacheUnwritableError,
)
from .layered import LayeredReading, read_layers
from .layers import Layer, Layers, find_layers
from .location import Location, locate
from .query import SORTS, Sort, Which
from .reader import (
    count_decisions,
    decision_measurements,
    find_decisions,
    list_decisions,
    list_devices,
    read_decisions,
    read_measurements,
    show_decision,
)
from .rows import (
    DecisionRow,
    DeviceRow,
    MeasurementRow,
    ModelRow,
    Provenance,
    StoredDecision,
)
from .store import Store

__all__ = [
    "SORTS",
    "CacheBusyError",
    "CacheCorruptError",
    "CacheError",
    "CacheForeignError",
    "CacheLocationError",
    "CacheMissingError",
    "CacheNewerError",
    "CacheUnreadableError",
    "CacheUnwritableError",
    "DecisionRow",
    "DeviceRow",
    "Layer",
    "LayeredReading",
    "Layers",
    "Location",
    "MeasurementRow",
    "ModelRow",
    "Provenance",
    "Sort",
    "Store",
    "StoredDecision",
    "Which",
    "count_decisions",
    "decision_measurements",
    "find_decisions",
    "find_layers",
    "list_decisions",
    "list_devices",
    "locate",
    "read_decisions",
    "read_layers",
    "read_measurements",
    "show_decision",
]
