"""Which file is the cache, and why that one. Looking makes nothing on the disk."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import CacheLocationError

if TYPE_CHECKING:
    from collections.abc import Mapping

_VARIABLE = "AUTOTUNE_CACHE"
_FILE_NAME = "autotune.db"


@dataclass(frozen=True)
class Location:
    """A path and what named it."""

    path: Path
    why: str
    """For people: "--cache", "AUTOTUNE_CACHE", or which default."""


def locate(explicit: Path | str | None, environ: Mapping[str, str]) -> Location:
    """Follow --cache, then AUTOTUNE_CACHE (empty is unset), then the user's cache folder."""
    if explicit is not None and str(explicit):
        return Location(expanded(Path(explicit)), "--cache")
    if named := environ.get(_VARIABLE):
        return Location(expanded(Path(named)), _VARIABLE)
    return _default(environ)


def _default(environ: Mapping[str, str]) -> Location:
    # Imported late: a start that names its cache does not pay for it.
    from platformdirs import user_cache_dir

    try:
        folder = Path(user_cache_dir("attn-autotune"))
    except RuntimeError:
        return _homeless(environ)
    # platformdirs 4.0 raises nothing and answers "~/.cache/...", which would become a folder
    # named "~" in the working directory.
    if not folder.is_absolute():
        return _homeless(environ)
    return Location(folder / _FILE_NAME, "the user's cache folder")


def _homeless(environ: Mapping[str, str]) -> Location:
    """For a container's arbitrary uid, without HOME and without an entry in passwd."""
    folder = Path(environ.get("TMPDIR") or "/tmp") / f"attn-autotune-{os.getuid()}"
    return Location(folder / _FILE_NAME, "the temporary folder, as this user has no home")


def expanded(path: Path) -> Path:
    """With the home folder for a ~; raises CacheLocationError."""
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise CacheLocationError(path, "no home folder is known for the ~ in it") from error
