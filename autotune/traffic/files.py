"""A file of a user's own traffic, whatever it holds: recognised by its content."""

from __future__ import annotations

from pathlib import Path

from autotune.errors import ProfileError
from autotune.profiles import Profile
from autotune.traffic.metrics_dump import read_metrics
from autotune.traffic.request_log import is_log, read_log
from autotune.traffic.weighed import weigh_requests
from autotune.traffic.weight_file import read_weights

LOADS = (16, 256)
"""Requests in flight where nobody says how many: a service at ease, and one that is full."""
_LARGEST_BYTES = 256 << 20
_KINDS = "expected lines of `workload weight`, a log of requests, or a dump of vLLM's /metrics"


def read_profile(path: Path) -> Profile:
    """Read a file; raises ProfileError that says what, where and what to do."""
    lines = _text(path).splitlines()
    filled = [line for line in lines if line.strip()]
    if not filled:
        raise ProfileError(f"profile {path}: the file is empty; {_KINDS}")
    if any(line.startswith(("# HELP ", "# TYPE ", "vllm:")) for line in filled[:50]):
        return _of_metrics(path, lines)
    if is_log(filled):
        return _of_log(path, lines)
    return Profile(path.stem, read_weights(lines, str(path)), is_own=True)


def _of_log(path: Path, lines: list[str]) -> Profile:
    log = read_log(lines, str(path))
    found = weigh_requests(log.requests, LOADS)
    notes = (*log.notes, *(f"{path}: {note}" for note in found.notes))
    return Profile(path.stem, found.weights, is_own=True, notes=notes)


def _of_metrics(path: Path, lines: list[str]) -> Profile:
    metrics = read_metrics("\n".join(lines) + "\n", str(path))
    found = weigh_requests(metrics.requests, (metrics.in_flight,))
    notes = tuple(f"{path}: {note}" for note in found.notes)
    return Profile(path.stem, found.weights, is_own=True, notes=notes)


def _text(path: Path) -> str:
    try:
        size = path.stat().st_size
        if size > _LARGEST_BYTES:
            limit = f"at most {_LARGEST_BYTES >> 20} MiB"
            raise ProfileError(f"profile {path}: {size >> 20} MiB, {limit}; give a part of it")
        content = path.read_bytes()
    except OSError as error:
        why = error.strerror or str(error)
        raise ProfileError(f"profile {path}: cannot be read ({why})") from error
    if b"\0" in content[:4096]:
        raise ProfileError(f"profile {path}: not a text; {_KINDS}")
    # A prompt in another encoding beside its length is no reason to refuse the length.
    return content.decode("utf-8-sig", errors="replace")
