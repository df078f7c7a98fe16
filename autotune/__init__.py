"""Chooses the attention backend of an LLM engine by measuring, and remembers the answer.

`choose` reads an answer, `warm` measures one, `load` gives its kernel. Importing this package
brings in no torch, and touches no GPU, disk, clock or log; each name is imported as it is asked
for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autotune._store import (
        CacheError,
        Layer,
        Layers,
        Location,
        TuningBusyError,
        find_layers,
        locate,
    )
    from autotune.api import Serving, Warmed, choose, model_of, warm
    from autotune.decision import Choice, Decision
    from autotune.errors import LockError, ModelError, NoBackendError, ProfileError, UsageError
    from autotune.keys import Question
    from autotune.models import ModelConfig, ModelRequest, load_model
    from autotune.profiles import Profile, find_profile
    from autotune.seats import Kernel, load, seat
    from autotune.settings import Settings, read_settings
    from autotune.today import Asked
    from kernels_bench.devices import find_device, find_devices
    from kernels_bench.errors import AutotuneError, DeviceError
    from kernels_bench.spec import Phase

__all__ = [
    "Asked",
    "AutotuneError",
    "CacheError",
    "Choice",
    "Decision",
    "DeviceError",
    "Kernel",
    "Layer",
    "Layers",
    "Location",
    "LockError",
    "ModelConfig",
    "ModelError",
    "ModelRequest",
    "NoBackendError",
    "Phase",
    "Profile",
    "ProfileError",
    "Question",
    "Serving",
    "Settings",
    "TuningBusyError",
    "UsageError",
    "Warmed",
    "choose",
    "find_device",
    "find_devices",
    "find_layers",
    "find_profile",
    "load",
    "load_model",
    "locate",
    "model_of",
    "read_settings",
    "seat",
    "warm",
]

_MODULES = {
    "Asked": "autotune.today",
    "AutotuneError": "kernels_bench.errors",
    "CacheError": "autotune._store",
    "Choice": "autotune.decision",
    "Decision": "autotune.decision",
    "DeviceError": "kernels_bench.errors",
    "Kernel": "autotune.seats",
    "Layer": "autotune._store",
    "Layers": "autotune._store",
    "Location": "autotune._store",
    "LockError": "autotune.errors",
    "ModelConfig": "autotune.models",
    "ModelError": "autotune.errors",
    "ModelRequest": "autotune.models",
    "NoBackendError": "autotune.errors",
    "Phase": "kernels_bench.spec",
    "Profile": "autotune.profiles",
    "ProfileError": "autotune.errors",
    "Question": "autotune.keys",
    "Serving": "autotune.api",
    "Settings": "autotune.settings",
    "TuningBusyError": "autotune._store",
    "UsageError": "autotune.errors",
    "Warmed": "autotune.api",
    "choose": "autotune.api",
    "find_device": "kernels_bench.devices",
    "find_devices": "kernels_bench.devices",
    "find_layers": "autotune._store",
    "find_profile": "autotune.profiles",
    "load": "autotune.seats",
    "load_model": "autotune.models",
    "locate": "autotune._store",
    "model_of": "autotune.api",
    "read_settings": "autotune.settings",
    "seat": "autotune.seats",
    "warm": "autotune.api",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
