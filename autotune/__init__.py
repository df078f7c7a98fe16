"""Chooses the attention backend of an LLM engine by measuring, and remembers the answer.

Reading an answer needs these names; measuring one is `autotune.tuner`, the command `autotune warm`.
Importing this package brings in no torch, and touches no GPU, disk, clock or log.
"""

from __future__ import annotations

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
