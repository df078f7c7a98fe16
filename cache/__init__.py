"""Remembers: rows and files. Imports no torch and nothing else of ours; relative imports only.

What a start needs to read is imported with the package, the rest when it is asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from .errors import (
    CacheBusyError,
    CacheCorruptError,
    CacheError,
    CacheForeignError,
    CacheLocationError,
    CacheMissingError,
    CacheNewerError,
    CacheUnfinishedError,
    CacheUnreadableError,
    CacheUnwritableError,
)
from .layered import LayeredReading, read_layers, require_promised
from .layers import Layer, Layers, find_layers
from .location import Location, locate
from .query import SORTS, Sort, Which
from .reader import (
    count_decisions,
    decision_measurements,
    find_decisions,
    group_evidence,
    list_decisions,
    list_devices,
    read_decisions,
    read_measurements,
    show_decision,
)
from .rows import (
    ConfirmationRow,
    DecisionRow,
    DeviceRow,
    EvidenceGroup,
    MeasurementRow,
    MissRow,
    ModelRow,
    Provenance,
    StoredDecision,
    StoredMiss,
)

if TYPE_CHECKING:
    from .absorb import Fate
    from .confirmations import read_confirmations
    from .conflicts import POLICIES, Prefer, moment
    from .doctor import Finding, examine
    from .exchange import Absorbed, Merged, Policy, export_cache, import_rows, merge_files
    from .misses import read_misses
    from .salvage import Salvaged, salvage_file
    from .sources import Selected
    from .store import Removed, Store
    from .tuning import (
        Holder,
        LockPatience,
        TuningBusyError,
        TuningSubject,
        hold_tuning_lock,
        tuners,
    )

__all__ = [
    "POLICIES",
    "SORTS",
    "Absorbed",
    "CacheBusyError",
    "CacheCorruptError",
    "CacheError",
    "CacheForeignError",
    "CacheLocationError",
    "CacheMissingError",
    "CacheNewerError",
    "CacheUnfinishedError",
    "CacheUnreadableError",
    "CacheUnwritableError",
    "ConfirmationRow",
    "DecisionRow",
    "DeviceRow",
    "EvidenceGroup",
    "Fate",
    "Finding",
    "Holder",
    "Layer",
    "LayeredReading",
    "Layers",
    "Location",
    "LockPatience",
    "MeasurementRow",
    "Merged",
    "MissRow",
    "ModelRow",
    "Policy",
    "Prefer",
    "Provenance",
    "Removed",
    "Salvaged",
    "Selected",
    "Sort",
    "Store",
    "StoredDecision",
    "StoredMiss",
    "TuningBusyError",
    "TuningSubject",
    "Which",
    "count_decisions",
    "decision_measurements",
    "examine",
    "export_cache",
    "find_decisions",
    "find_layers",
    "group_evidence",
    "hold_tuning_lock",
    "import_rows",
    "list_decisions",
    "list_devices",
    "locate",
    "merge_files",
    "moment",
    "read_confirmations",
    "read_decisions",
    "read_layers",
    "read_measurements",
    "read_misses",
    "require_promised",
    "salvage_file",
    "show_decision",
    "tuners",
]

_LATE = {
    "POLICIES": "conflicts",
    "Absorbed": "exchange",
    "Fate": "absorb",
    "Finding": "doctor",
    "Holder": "tuning",
    "LockPatience": "tuning",
    "Merged": "exchange",
    "Policy": "exchange",
    "Prefer": "conflicts",
    "Removed": "store",
    "Salvaged": "salvage",
    "Selected": "sources",
    "Store": "store",
    "TuningBusyError": "tuning",
    "TuningSubject": "tuning",
    "examine": "doctor",
    "export_cache": "exchange",
    "hold_tuning_lock": "tuning",
    "import_rows": "exchange",
    "merge_files": "exchange",
    "moment": "conflicts",
    "read_confirmations": "confirmations",
    "read_misses": "misses",
    "salvage_file": "salvage",
    "tuners": "tuning",
}
"""Name -> the module that has it."""


def __getattr__(name: str) -> object:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_LATE[name]}", __name__), name)
