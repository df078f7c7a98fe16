"""A start under watch: its mark is left before the engine is built, and cleared once it serves."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from autotune.in_vllm import NAME
from autotune.in_vllm.fields import put
from autotune.in_vllm.served import VllmConfig
from autotune.marks import Mark, MarkError, leave_mark
from autotune.metrics import publish
from kernels_bench.errors import one_line

_log = logging.getLogger(NAME)


@dataclass(frozen=True)
class Start:
    """What was decided for a config of this process."""

    mark_key: str
    """Empty: it leaves no mark."""
    what: str
    folders: tuple[str, ...]
    payload: Mapping[str, object]
    dead: tuple[str, ...]
    """Marks for whose sake this start runs with vLLM's default."""


_starts: dict[int, Start] = {}
"""By the identity of the config: vLLM's configs cannot be hashed."""


def remember(config: VllmConfig, start: Start) -> None:
    """Until the config is gone."""
    _starts[id(config)] = start
    weakref.finalize(config, _starts.pop, id(config), None)


@contextmanager
def watched(config: VllmConfig) -> Iterator[None]:
    """Around the making of an engine. Raises only what that raises."""
    start = _starts.get(id(config))
    if start is None:
        yield
        return
    mark = _left(start, config)
    try:
        yield
    except Exception as error:
        _died(start, mark, one_line(error))
        raise
    except BaseException as error:
        if isinstance(error, SystemExit) and error.code not in (None, 0):
            _died(start, mark, f"exit status {error.code}")
        elif mark is not None:
            mark.clear()  # its user stopped it: that says nothing about the backend
        raise
    if mark is not None:
        mark.clear()
    with suppress(Exception):  # a registry that has the name from elsewhere: the engine serves
        publish(start.payload)


def _left(start: Start, config: VllmConfig) -> Mark | None:
    if not start.mark_key:
        return None
    try:
        return leave_mark(start.mark_key, start.what, tuple(map(Path, start.folders)))
    except MarkError as error:
        put(config.attention_config, None)
        _log.warning("attn-autotune: vLLM's own choice stays: %s", error)
        return None


def _died(start: Start, mark: Mark | None, why: str) -> None:
    if mark is not None:
        mark.bury(why)
        _log.warning(
            "attn-autotune: this start died with %s; the next takes vLLM's default", start.what
        )
    elif start.dead:
        # Without the decision it dies all the same: that was not what killed it.
        for file in start.dead:
            with suppress(OSError):
                Path(file).unlink(missing_ok=True)
        _log.warning(
            "attn-autotune: vLLM's default died too, so the quarantine of %s is lifted", start.what
        )
