"""Chooses the attention backend of an LLM engine by measuring, and remembers the answer.

Reading an answer needs these names; measuring one is `autotune.tuner`, the command `autotune warm`.
Importing this package brings in no torch, and touches no GPU, disk, clock or log; each name is
imported as it is asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autotune._store import CacheError, Layer, Layers, Location, find_layers, locate
    from autotune.chooser import choose
    from autotune.decision import Choice, Decision
    from autotune.errors import LockError, ModelError, NoBackendError, ProfileError, UsageError
    from autotune.keys import Question
    from autotune.models import ModelConfig, ModelRequest, load_model
    from autotune.profiles import Profile, find_profile
    from autotune.settings import Settings, read_settings
    from autotune.today import Asked
    from kernels_bench.devices import find_device, find_devices
    from kernels_bench.errors import AutotuneError, DeviceError

__all__ = [
    "Asked",
    "AutotuneError",
    "CacheError",
    "Choice",
    "Decision",
    "DeviceError",
    "Layer",
    "Layers",
    "Location",
    "LockError",
    "ModelConfig",
    "ModelError",
    "ModelRequest",
    "NoBackendError",
    "Profile",
    "ProfileError",
    "Question",
    "Settings",
    "UsageError",
    "choose",
    "find_device",
    "find_devices",
    "find_layers",
    "find_profile",
    "load_model",
    "locate",
    "read_settings",
]

_MODULES = {
    "Asked": "autotune.today",
    "AutotuneError": "kernels_bench.errors",
    "CacheError": "autotune._store",
    "Choice": "autotune.decision",
    "Decision": "autotune.decision",
    "DeviceError": "kernels_bench.errors",
    "Layer": "autotune._store",
    "Layers": "autotune._store",
    "Location": "autotune._store",
    "LockError": "autotune.errors",
    "ModelConfig": "autotune.models",
    "ModelError": "autotune.errors",
    "ModelRequest": "autotune.models",
    "NoBackendError": "autotune.errors",
    "Profile": "autotune.profiles",
    "ProfileError": "autotune.errors",
    "Question": "autotune.keys",
    "Settings": "autotune.settings",
    "UsageError": "autotune.errors",
    "choose": "autotune.chooser",
    "find_device": "kernels_bench.devices",
    "find_devices": "kernels_bench.devices",
    "find_layers": "autotune._store",
    "find_profile": "autotune.profiles",
    "load_model": "autotune.models",
    "locate": "autotune._store",
    "read_settings": "autotune.settings",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
