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
    from autotune.api import choose, model_of
    from autotune.decision import Choice, Decision
    from autotune.errors import LockError, ModelError, NoBackendError, ProfileError, UsageError
    from autotune.keys import Question
    from autotune.models import ModelConfig, ModelRequest, kinds, load_model
    from autotune.paged import LayerTensors, PagedStep, make_step, phase_of
    from autotune.profiles import Profile, find_profile
    from autotune.run import Progress
    from autotune.seats import Kernel, Kernels, load, seat
    from autotune.settings import Settings, read_settings
    from autotune.today import Asked
    from autotune.tuner import Report
    from autotune.warming import Warmed, warm
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
    "Kernels",
    "Layer",
    "LayerTensors",
    "Layers",
    "Location",
    "LockError",
    "ModelConfig",
    "ModelError",
    "ModelRequest",
    "NoBackendError",
    "PagedStep",
    "Phase",
    "Profile",
    "ProfileError",
    "Progress",
    "Question",
    "Report",
    "Settings",
    "TuningBusyError",
    "UsageError",
    "Warmed",
    "choose",
    "find_device",
    "find_devices",
    "find_layers",
    "find_profile",
    "kinds",
    "load",
    "load_model",
    "locate",
    "make_step",
    "model_of",
    "phase_of",
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
    "Kernels": "autotune.seats",
    "Layer": "autotune._store",
    "LayerTensors": "autotune.paged",
    "Layers": "autotune._store",
    "Location": "autotune._store",
    "LockError": "autotune.errors",
    "ModelConfig": "autotune.models",
    "ModelError": "autotune.errors",
    "ModelRequest": "autotune.models",
    "NoBackendError": "autotune.errors",
    "PagedStep": "autotune.paged",
    "Phase": "kernels_bench.spec",
    "Profile": "autotune.profiles",
    "ProfileError": "autotune.errors",
    "Progress": "autotune.run",
    "Question": "autotune.keys",
    "Report": "autotune.tuner",
    "Settings": "autotune.settings",
    "TuningBusyError": "autotune._store",
    "UsageError": "autotune.errors",
    "Warmed": "autotune.warming",
    "choose": "autotune.api",
    "find_device": "kernels_bench.devices",
    "find_devices": "kernels_bench.devices",
    "find_layers": "autotune._store",
    "find_profile": "autotune.profiles",
    "kinds": "autotune.models",
    "load": "autotune.seats",
    "load_model": "autotune.models",
    "locate": "autotune._store",
    "make_step": "autotune.paged",
    "model_of": "autotune.api",
    "phase_of": "autotune.paged",
    "read_settings": "autotune.settings",
    "seat": "autotune.seats",
    "warm": "autotune.warming",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
