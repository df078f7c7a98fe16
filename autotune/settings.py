"""The environment variables that this project reads, in one place. A bad value is an error.

Those that name files are read in `cache/location.py` and `cache/layers.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias, TypeVar, get_args

from autotune.errors import UsageError
from kernels_bench.patience import Patience

Mode: TypeAlias = Literal["off", "observe", "read", "tune"]
Measured: TypeAlias = Literal["exact", "drifted", "borrowed"]
"""States of an answer that was measured, from the strictest to the most lenient."""
_Text = TypeVar("_Text", Mode, Measured)

# vLLM 0.33: envs.py. sglang 0.5.23: srt/environ.py, which --enable-deterministic-inference sets.
_INVARIANT = (
    ("vllm", "VLLM_BATCH_INVARIANT"),
    ("sglang", "SGLANG_ENABLE_DETERMINISTIC_INFERENCE"),
)
_UNITS_S = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True)
class RocmFlags:
    """What vLLM reads of AITER before it ranks its backends on ROCm, as it reads it where unset."""

    use_aiter: bool = False
    """VLLM_ROCM_USE_AITER"""
    use_aiter_mha: bool = True
    """VLLM_ROCM_USE_AITER_MHA, which says nothing without the former."""


@dataclass(frozen=True)
class Settings:
    """What a user set outside the command line; an option of the command line wins."""

    backend: str | None = None
    """AUTOTUNE_BACKEND: take this one, measured or not."""
    disabled: frozenset[str] = frozenset()
    """AUTOTUNE_DISABLE_BACKENDS: never take these; names separated by commas."""
    profile: str = "balanced"
    """AUTOTUNE_PROFILE: a name, or a file."""
    budget: str | None = None
    """AUTOTUNE_BUDGET: "30s", "5m"; read where it is used, so that a bad one stops no start."""

    hang: str | None = None
    """AUTOTUNE_HANG: silence of the measuring process that counts as a hang; likewise read late."""
    compile_deadline: str | None = None
    """AUTOTUNE_COMPILE_DEADLINE: a candidate's time to its first results; likewise read late."""
    mode: Mode = "read"
    """AUTOTUNE_MODE. off: measurements decide nothing; observe: they decide, and nobody acts on it;
    read: the cache decides; tune: as read, and an engine's first start measures."""
    accept: Measured = "borrowed"
    """AUTOTUNE_ACCEPT: how far from today a stored answer may be; what is further is not taken."""
    lock: str | None = None
    """AUTOTUNE_LOCK: a file of pinned decisions."""
    aliases: tuple[tuple[str, str], ...] = ()
    """AUTOTUNE_DEVICE_ALIASES: pairs of names of devices that may borrow from each other."""
    vllm_backend: str | None = None
    """VLLM_ATTENTION_BACKEND, which vLLM itself does not read any more."""
    invariant: tuple[tuple[str, str], ...] = ()
    """(engine, what the user set) where results must not depend on the batch."""
    force: bool = False
    """AUTOTUNE_FORCE: measurements decide there too."""
    rocm: RocmFlags = field(default_factory=RocmFlags)
    """What the engine would take by itself depends on these."""

    @property
    def unforced(self) -> Settings:
        """Without what stands between an answer and its measurements: override, lock and mode."""
        return replace(self, backend=None, vllm_backend=None, lock=None, mode="read")

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


def read_settings(environ: Mapping[str, str], profile: str | None = None) -> Settings:
    """Read the environment, with the caller's profile over it; an empty value counts as unset.
    Raises UsageError.
    """
    names = environ.get("AUTOTUNE_DISABLE_BACKENDS", "").split(",")
    return Settings(
        backend=environ.get("AUTOTUNE_BACKEND") or None,
        disabled=frozenset(name.strip() for name in names if name.strip()),
        profile=environ.get("AUTOTUNE_PROFILE") or "balanced" if profile is None else profile,
        mode=_one_of(environ, "AUTOTUNE_MODE", get_args(Mode), "read"),
        accept=_one_of(environ, "AUTOTUNE_ACCEPT", get_args(Measured), "borrowed"),
        lock=environ.get("AUTOTUNE_LOCK") or None,
        aliases=_aliases(environ.get("AUTOTUNE_DEVICE_ALIASES", "")),
        vllm_backend=environ.get("VLLM_ATTENTION_BACKEND") or None,
        invariant=tuple(
            (engine, f"{name}={environ[name]}")
            for engine, name in _INVARIANT
            if _is_true(environ.get(name, ""))
        ),
        force=_is_true(environ.get("AUTOTUNE_FORCE", "")),
        budget=environ.get("AUTOTUNE_BUDGET") or None,
        hang=environ.get("AUTOTUNE_HANG") or None,
        compile_deadline=environ.get("AUTOTUNE_COMPILE_DEADLINE") or None,
        rocm=_rocm_flags(environ),
    )


def _rocm_flags(environ: Mapping[str, str]) -> RocmFlags:
    """vLLM 0.24 to 0.32, envs.py: true and 1, in any case, and everything else is no; so is an
    empty value.
    """
    unset = RocmFlags()
    return RocmFlags(
        use_aiter=_is_vllm_true(environ, "VLLM_ROCM_USE_AITER", unset.use_aiter),
        use_aiter_mha=_is_vllm_true(environ, "VLLM_ROCM_USE_AITER_MHA", unset.use_aiter_mha),
    )


def _is_vllm_true(environ: Mapping[str, str], name: str, unset: bool) -> bool:
    return environ.get(name, str(unset)).lower() in ("true", "1")


def _one_of(environ: Mapping[str, str], name: str, known: tuple[_Text, ...], unset: _Text) -> _Text:
    text = environ.get(name, "").strip().lower()
    if not text:
        return unset
    for each in known:
        if each == text:
            return each
    raise UsageError(f"{name}={environ[name]}: expected one of {', '.join(known)}")


def _aliases(text: str) -> tuple[tuple[str, str], ...]:
    pairs = []
    for part in filter(None, map(str.strip, text.split(";"))):
        one, equals, other = (each.strip() for each in part.partition("="))
        if not (one and equals and other):
            raise UsageError(
                f"AUTOTUNE_DEVICE_ALIASES: {part!r}: expected NAME=NAME, joined by semicolons"
            )
        pairs.append((one, other))
    return tuple(pairs)


def _is_true(text: str) -> bool:
    return text.strip().lower() in ("1", "true", "yes", "on")


def _duration(variable: str, text: str) -> float:
    try:
        return parse_duration(text)
    except UsageError as error:
        raise UsageError(f"{variable}: {error}") from error


def parse_duration(text: str) -> float:
    """Seconds of "30", "30s", "1.5m", "1h" or "90d"; raises UsageError."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)\s*([smhd]?)", text.strip().lower())
    if match is None or float(match[1]) == 0:
        raise UsageError(f"{text!r}: expected a time like 30s, 5m or 1h")
    return float(match[1]) * _UNITS_S[match[2]]
