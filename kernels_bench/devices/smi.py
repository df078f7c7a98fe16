"""The part of AMD's SMI library that is used here, as the module `amdsmi` offers it (7.0.2)."""

# ruff: noqa: D102 - amdsmi documents its own functions
from __future__ import annotations

import importlib
import io
import os
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Handle: TypeAlias = Any
"""amdsmi's opaque reference to a GPU, or to a partition of one."""


class Amdsmi(Protocol):
    """Functions keep amdsmi's names, so that the module itself is one of these."""

    AmdSmiException: type[Exception]
    AmdSmiMemoryType: Any

    def amdsmi_init(self) -> None: ...
    def amdsmi_shut_down(self) -> None: ...
    def amdsmi_get_processor_handles(self) -> Sequence[Handle]: ...
    def amdsmi_get_gpu_enumeration_info(self, handle: Handle) -> dict[str, Any]: ...
    def amdsmi_get_gpu_asic_info(self, handle: Handle) -> dict[str, Any]: ...
    def amdsmi_get_gpu_memory_total(self, handle: Handle, mem_type: Any) -> int: ...
    def amdsmi_get_gpu_cache_info(self, handle: Handle) -> dict[str, list[dict[str, Any]]]: ...
    def amdsmi_get_gpu_compute_partition(self, handle: Handle) -> str: ...
    def amdsmi_get_gpu_memory_partition(self, handle: Handle) -> str: ...
    def amdsmi_get_power_cap_info(self, handle: Handle) -> dict[str, Any]: ...
    def amdsmi_get_gpu_driver_info(self, handle: Handle) -> dict[str, str]: ...
    def amdsmi_get_rocm_version(self) -> tuple[bool, str]: ...
    def amdsmi_get_gpu_metrics_info(self, handle: Handle) -> dict[str, Any]: ...
    def amdsmi_get_gpu_process_list(self, handle: Handle) -> Sequence[dict[str, Any]]: ...


def load_amdsmi() -> Amdsmi:
    """The module `amdsmi`, not yet initialised.

    Raises ImportError where it is not installed, or where its C library is not: there its import
    prints to stdout and raises KeyError.
    """
    try:
        module = importlib.import_module("amdsmi")
    except (KeyError, OSError, AttributeError) as error:
        raise ImportError(f"amdsmi finds no ROCm library: {error}") from error
    return cast("Amdsmi", module)


def message_of(error: Exception) -> str:
    """In one line: amdsmi's messages have line breaks and tabs."""
    return " ".join(str(error).split())


@contextmanager
def silence() -> Iterator[None]:
    """Swallows what amdsmi prints, and what its C library writes to descriptors 1 and 2.

    A line on stdout would spoil the output of a program that prints JSON.
    """
    saved = {}
    for descriptor in (1, 2):
        with suppress(OSError):  # closed, as in a daemon
            saved[descriptor] = os.dup(descriptor)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for descriptor in saved:
            os.dup2(nowhere, descriptor)
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    finally:
        for descriptor, copy in saved.items():
            os.dup2(copy, descriptor)
            os.close(copy)
        os.close(nowhere)
