"""The environment variables that this project reads, in one place. A bad value is an error.

`AUTOTUNE_CACHE` alone is read elsewhere, in `cache/location.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from autotune.errors import UsageError

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

    @property
    def budget_s(self) -> float | None:
        """Seconds; raises UsageError."""
        if self.budget is None:
            return None
        try:
            return parse_duration(self.budget)
        except UsageError as error:
            raise UsageError(f"AUTOTUNE_BUDGET: {error}") from error


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Read the environment; an empty value counts as unset."""
    names = environ.get("AUTOTUNE_DISABLE_BACKENDS", "").split(",")
    return Settings(
        backend=environ.get("AUTOTUNE_BACKEND") or None,
        disabled=frozenset(name.strip() for name in names if name.strip()),
        profile=environ.get("AUTOTUNE_PROFILE") or "balanced",
        budget=environ.get("AUTOTUNE_BUDGET") or None,
    )


def parse_duration(text: str) -> float:
    """Seconds of "30", "30s", "1.5m" or "1h"; raises UsageError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip().lower())
    if match is None or float(match[1]) == 0:
        raise UsageError(f"{text!r}: expected a time like 30s, 5m or 1h")
    return float(match[1]) * _UNITS_S[match[2]]
