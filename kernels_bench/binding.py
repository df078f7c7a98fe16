"""Binds candidates to batches: here their own code is loaded and called for the first time."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from kernels_bench.backends import Broken, find_backend
from kernels_bench.incomplete import IncompleteError, incomplete_text

if TYPE_CHECKING:
    from kernels_bench.backends.base import Backend, Launch, PagedBatch
    from kernels_bench.candidates import Entrant
    from kernels_bench.spec import AttentionSpec


class GoneError(Exception):
    """A backend that answered the survey cannot be loaded any more."""


def prepared(entrant: Entrant, spec: AttentionSpec, batch: PagedBatch) -> Launch:
    """A candidate bound to a batch; raises what it raises, GoneError and IncompleteError."""
    backend = _backend(entrant.backend)
    try:
        return backend.prepare(entrant.variant, spec, batch)
    except (ImportError, OSError) as error:
        if told := incomplete_text(error, entrant.variant.packages):
            raise IncompleteError(told) from error
        raise


@lru_cache
def _backend(name: str) -> Backend:
    """Looked for once: a race binds a candidate to dozens of page sets."""
    backend = find_backend(name)
    if backend is None or isinstance(backend, Broken):
        message = "not found" if backend is None else backend.message
        raise GoneError(f"backend {name}: {message}")
    return backend
