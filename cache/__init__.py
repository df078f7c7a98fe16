"""Remembers: rows and files. Imports no torch and nothing else of ours; relative imports only."""

from __future__ import annotations

from .errors import (
    CacheBusyError,
    CacheCorruptError,
    CacheError,
    CacheLocationError,
    CacheMissingError,
    CacheNewerError,
    CacheUnreadableError,
    CacheUnwritableError,
)
from .location import Location, locate
from .reader import decision_measurements, find_decisions, list_decisions, show_decision
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
    "CacheBusyError",
    "CacheCorruptError",
    "CacheError",
    "CacheLocationError",
    "CacheMissingError",
    "CacheNewerError",
    "CacheUnreadableError",
    "CacheUnwritableError",
    "DecisionRow",
    "DeviceRow",
    "Location",
    "MeasurementRow",
    "ModelRow",
    "Provenance",
    "Store",
    "StoredDecision",
    "decision_measurements",
    "find_decisions",
    "list_decisions",
    "locate",
    "show_decision",
]
