"""The one door to the top-level package `cache`.

Its name is a common one: beside a user's script there may lie a `cache.py` or a `cache/` that
Python finds first. Then ours is loaded by its place, under a name that nobody else has.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

    from cache import POLICIES as POLICIES
    from cache import SORTS as SORTS
    from cache import Absorbed as Absorbed
    from cache import CacheBusyError as CacheBusyError
    from cache import CacheCorruptError as CacheCorruptError
    from cache import CacheError as CacheError
    from cache import CacheForeignError as CacheForeignError
    from cache import CacheLocationError as CacheLocationError
    from cache import CacheMissingError as CacheMissingError
    from cache import CacheNewerError as CacheNewerError
    from cache import CacheUnfinishedError as CacheUnfinishedError
    from cache import CacheUnreadableError as CacheUnreadableError
    from cache import CacheUnwritableError as CacheUnwritableError
    from cache import ConfirmationRow as ConfirmationRow
    from cache import DecisionRow as DecisionRow
    from cache import DeviceRow as DeviceRow
    from cache import EvidenceGroup as EvidenceGroup
    from cache import Fate as Fate
    from cache import Finding as Finding
    from cache import Holder as Holder
    from cache import Layer as Layer
    from cache import LayeredReading as LayeredReading
    from cache import Layers as Layers
    from cache import Location as Location
    from cache import LockPatience as LockPatience
    from cache import MeasurementRow as MeasurementRow
    from cache import Merged as Merged
    from cache import MissRow as MissRow
    from cache import ModelRow as ModelRow
    from cache import Policy as Policy
    from cache import Prefer as Prefer
    from cache import Provenance as Provenance
    from cache import Removed as Removed
    from cache import Salvaged as Salvaged
    from cache import Selected as Selected
    from cache import Sort as Sort
    from cache import Store as Store
    from cache import StoredDecision as StoredDecision
    from cache import StoredMiss as StoredMiss
    from cache import TuningBusyError as TuningBusyError
    from cache import TuningSubject as TuningSubject
    from cache import Which as Which
    from cache import count_decisions as count_decisions
    from cache import decision_measurements as decision_measurements
    from cache import examine as examine
    from cache import export_cache as export_cache
    from cache import find_decisions as find_decisions
    from cache import find_layers as find_layers
    from cache import group_evidence as group_evidence
    from cache import hold_tuning_lock as hold_tuning_lock
    from cache import import_rows as import_rows
    from cache import list_decisions as list_decisions
    from cache import list_devices as list_devices
    from cache import locate as locate
    from cache import merge_files as merge_files
    from cache import moment as moment
    from cache import read_confirmations as read_confirmations
    from cache import read_decisions as read_decisions
    from cache import read_layers as read_layers
    from cache import read_measurements as read_measurements
    from cache import read_misses as read_misses
    from cache import require_promised as require_promised
    from cache import salvage_file as salvage_file
    from cache import show_decision as show_decision
    from cache import tuners as tuners

_ALIAS = "autotune._cache"


def _is_ours(init: Path) -> bool:
    """Whether `import cache` would give, or has given, the package at this place.

    Looking for a top-level name runs nothing of a stranger's.
    """
    try:
        spec = importlib.util.find_spec("cache")
    except ValueError:  # already in sys.modules, put there by hand and without a spec
        return False
    return spec is not None and spec.origin is not None and Path(spec.origin).resolve() == init


def _load_by_place(init: Path) -> ModuleType:
    """The package at this place under our own name, so that its relative imports work."""
    spec = importlib.util.spec_from_file_location(
        _ALIAS, init, submodule_search_locations=[str(init.parent)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{init}: cannot be imported; reinstall attn-autotune", name="cache")
    package = importlib.util.module_from_spec(spec)
    sys.modules[_ALIAS] = package
    try:
        spec.loader.exec_module(package)
    except BaseException:
        del sys.modules[_ALIAS]
        raise
    return package


def _load() -> ModuleType:
    init = Path(__file__).resolve().parents[1] / "cache" / "__init__.py"
    return importlib.import_module("cache") if _is_ours(init) else _load_by_place(init)


if not TYPE_CHECKING:
    _package = _load()
    if not hasattr(_package, "Store"):
        # The distribution named `cache` on the package index installs its files over ours.
        what = "another distribution overwrote it; reinstall attn-autotune"
        raise ImportError(f"{_package.__file__}: {what}")

    def __getattr__(name: str) -> object:
        """The names that type checkers read above; a test holds the two lists together."""
        return getattr(_package, name)
