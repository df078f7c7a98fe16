"""The root of every error that this project raises, and the errors of measuring.

AutotuneError
├── WorkloadError      a workload's text does not parse
├── DeviceError        a device that is not here, or that cannot be read
├── NoRoomError        a workload that does not fit the device's free memory
└── WorkerError        the measuring process could not be started
The errors of deciding follow in `autotune/errors.py`.
"""

from __future__ import annotations


def one_line(error: BaseException) -> str:
    """Type and first line of what somebody else's code raised: a reason for people."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"


class AutotuneError(Exception):
    """A message says what happened, where, and what to do about it, in one or two lines."""


class WorkloadError(AutotuneError):
    """A workload's text does not follow the grammar."""


class DeviceError(AutotuneError):
    """The device asked for is not here, or cannot be read."""


class NoRoomError(AutotuneError):
    """A workload needs more memory than the device has free."""


class WorkerError(AutotuneError):
    """The measuring process could not be started or spoke nonsense."""
