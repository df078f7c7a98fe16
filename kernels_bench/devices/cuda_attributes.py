"""Asks the CUDA driver, in a child process, what NVML does not tell: L2 size and CUDA's own order.

A child, because `cuInit` in the caller would outlive the question: a process that has initialised
the driver cannot fork workers that use CUDA. `cuInit` creates no context and takes no GPU memory.
The child runs this file by its path and in isolation, so it needs nothing but Python.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import uuid
from dataclasses import asdict, dataclass

_MULTIPROCESSOR_COUNT = 16  # CUdevice_attribute in cuda.h
_L2_CACHE_SIZE = 38
_TIMEOUT_S = 60
"""`cuInit` takes seconds on a host with eight GPUs and no persistence daemon."""


@dataclass(frozen=True)
class CudaAttributes:
    """One device as the CUDA driver lists it."""

    uuid: str
    """Without NVML's "GPU-" or "MIG-" in front."""
    multiprocessors: int
    l2_bytes: int


class CudaQuestionError(Exception):
    """The CUDA driver gave no answer; the message is its reason."""


def ask_cuda(visible_devices: str | None) -> tuple[CudaAttributes, ...]:
    """Every device that CUDA lists under this CUDA_VISIBLE_DEVICES, in CUDA's order."""
    environ = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    if visible_devices is not None:
        environ["CUDA_VISIBLE_DEVICES"] = visible_devices
    command = [sys.executable, "-I", __file__]
    try:
        child = subprocess.run(
            command, env=environ, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CudaQuestionError(f"the CUDA driver was not reached: {error}") from error
    if child.returncode != 0:
        last_line = child.stderr.strip().rpartition("\n")[2]
        raise CudaQuestionError(last_line or f"the child ended with {child.returncode}")
    return tuple(CudaAttributes(**fields) for fields in json.loads(child.stdout))


def _list_devices() -> list[CudaAttributes]:
    """Runs in the child."""
    cuda = ctypes.CDLL("libcuda.so.1")

    def call(function: str, *arguments: object) -> None:
        status = getattr(cuda, function)(*arguments)
        if status != 0:
            raise CudaQuestionError(f"{function} returned CUDA error {status}")

    def attribute(code: int, device: ctypes.c_int) -> int:
        value = ctypes.c_int()
        call("cuDeviceGetAttribute", ctypes.byref(value), code, device)
        return value.value

    call("cuInit", 0)
    count = ctypes.c_int()
    call("cuDeviceGetCount", ctypes.byref(count))
    devices = []
    for ordinal in range(count.value):
        device = ctypes.c_int()
        call("cuDeviceGet", ctypes.byref(device), ordinal)
        raw_uuid = ctypes.create_string_buffer(16)
        call("cuDeviceGetUuid_v2", raw_uuid, device)
        devices.append(
            CudaAttributes(
                uuid=str(uuid.UUID(bytes=raw_uuid.raw)),
                multiprocessors=attribute(_MULTIPROCESSOR_COUNT, device),
                l2_bytes=attribute(_L2_CACHE_SIZE, device),
            )
        )
    return devices


if __name__ == "__main__":
    try:
        json.dump([asdict(device) for device in _list_devices()], sys.stdout)
    except (OSError, CudaQuestionError) as error:
        sys.exit(str(error))
