"""The errors of deciding: what a user asked for and cannot be done.

AutotuneError            `kernels_bench/errors.py`
├── ProfileError         a traffic profile that is not known
├── UsageError           options or environment variables that make no sense
├── LockError            a lock file that cannot be read, or does not fit
├── NoBackendError       nobody can run the model here, with every reason
└── ModelError           a model that cannot be described
    ├── UnknownModelError    neither a preset nor a path
    ├── ConfigError          a config.json that is broken, or lacks a field
    └── ModelRequestError    a request that this model cannot meet: `--tp`, `--dtype`
"""

from __future__ import annotations

from kernels_bench.errors import AutotuneError


class ModelError(AutotuneError):
    """A model cannot be described."""


class UnknownModelError(ModelError):
    """The source is neither a preset nor a path."""


class ConfigError(ModelError):
    """A config.json is broken, or a field is missing or out of range."""


class ModelRequestError(ModelError):
    """The model is well, but what is asked of it is not possible."""


class ProfileError(AutotuneError):
    """A traffic profile is not known."""


class UsageError(AutotuneError):
    """An option or an environment variable makes no sense."""


class LockError(AutotuneError):
    """A lock file cannot be read, or does not fit this machine."""


class NoBackendError(AutotuneError):
    """Nobody can run the model on this device."""
