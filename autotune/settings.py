"""The environment variables that this project reads, in one place. A bad value is an error.

`AUTOTUNE_CACHE` alone is read elsewhere, in `cache/location.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from autotune.errors import UsageError
from kernels_bench.patience import Patience

_UNITS_S = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Settings:
    """What a user set outside the command line; an option of the command line wins."""

    backend: str | None = None
    """AUTOTUNE_BACKEND: take this one, measured or not."""
    disabled: frozenset[str] = frozenset()
    """AUTOTUNE_DISABLE_BACKENDS: never take these; names separated by commas."""
    profile: str = "balanced"
    """AUTOTUNE_PROFILE"""
    budget: str | None = None
    """AUTOTUNE_BUDGET: "30s", "5m"; read where it is used, so that a bad one stops no start."""

    hang: str | None = None
    """AUTOTUNE_HANG: silence of the measuring process that counts as a hang; likewise read late."""
    compile_deadline: str | None = None
    """AUTOTUNE_COMPILE_DEADLINE: a candidate's time to its first results; likewise read late."""

    @property
    def budget_s(self) -> float | None:
        """Seconds; raises UsageError."""
        return None if self.budget is None else _duration("AUTOTUNE_BUDGET", self.budget)

    @property
    def patience(self) -> Patience:
        """Ours where the user set none; raises UsageError."""
        patience = Patience()
        if self.hang is not None:
            patience = replace(patience, hang_s=_duration("AUTOTUNE_HANG", self.hang))
        if self.compile_deadline is not None:
            seconds = _duration("AUTOTUNE_COMPILE_DEADLINE", self.compile_deadline)
            patience = replace(patience, compile_s=seconds)
        return patience


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Read the environment; an empty value counts as unset."""
    names = environ.get("AUTOTUNE_DISABLE_BACKENDS", "").split(",")
    return Settings(
        backend=environ.get("AUTOTUNE_BACKEND") or None,
        disabled=frozenset(name.strip() for name in names if name.strip()),
        profile=environ.get("AUTOTUNE_PROFILE") or "balanced",
        budget=environ.get("AUTOTUNE_BUDGET") or None,
        hang=environ.get("AUTOTUNE_HANG") or None,
        compile_deadline=environ.get("AUTOTUNE_COMPILE_DEADLINE") or None,
    )


def _duration(variable: str, text: str) -> float:
    try:
        return parse_duration(text)
    except UsageError as error:
        raise UsageError(f"{variable}: {error}") from error


def parse_duration(text: str) -> float:
    """Seconds of "30", "30s", "1.5m" or "1h"; raises UsageError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip().lower())
    if match is None or float(match[1]) == 0:
        raise UsageError(f"{text!r}: expected a time like 30s, 5m or 1h")
    return float(match[1]) * _UNITS_S[match[2]]
