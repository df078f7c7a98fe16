"""A model's config.json in the local cache of the Hugging Face hub. Opens no network.

Folders and variables of huggingface_hub 2.4, constants.py and file_download.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from autotune.models.config import ModelRequest

_ID = re.compile(r"[\w.-]{1,96}(/[\w.-]{1,96})?", re.ASCII)
_REVISION = re.compile(r"[\w.-]+(/[\w.-]+)*", re.ASCII)
_COMMIT = re.compile(r"[\w.-]{1,128}", re.ASCII)


def find_config(model_id: str, revision: str | None, environ: Mapping[str, str]) -> Path | None:
    """The config.json of "org/name" at a branch, tag or commit, "main" unless one is named; None
    where the cache has none, or where it lies outside of the cache.
    """
    revision = revision or "main"
    root = _root(environ)
    if root is None or not (_is_plain(model_id, _ID) and _is_plain(revision, _REVISION)):
        return None
    folder = root / "--".join(("models", *model_id.split("/")))
    try:
        commit = _commit(folder, revision)
        file = folder / "snapshots" / commit / "config.json"
        # The cache links from a snapshot to its blobs, so the file itself may be a link.
        is_inside = file.resolve().is_relative_to(root.resolve())
        return file if is_inside and file.is_file() else None
    except (OSError, RuntimeError, ValueError):  # unreadable; links in a circle; bytes for a text
        return None


def at_hand(
    request: ModelRequest, revision: str | None, environ: Mapping[str, str]
) -> tuple[ModelRequest, str]:
    """The request with a hub id's file in the place of the id, and the id for people: the file's
    own name is a digest. As given, with no name, where it is a path or the cache has none.
    """
    file = None
    if not Path(request.source).exists():
        file = find_config(request.source, revision, environ)
    return (request, "") if file is None else (replace(request, source=str(file)), request.source)


def _commit(folder: Path, revision: str) -> str:
    """What a reference points to; a revision that is none is itself the snapshot's name."""
    reference = folder / "refs" / revision
    if not reference.is_file() or not reference.resolve().is_relative_to(folder.resolve()):
        return revision
    with reference.open(encoding="ascii") as file:
        commit = file.read(256).strip()
    if not _is_plain(commit, _COMMIT):
        raise ValueError(f"{reference}: no name of a snapshot")
    return commit


def _is_plain(text: str, form: re.Pattern[str]) -> bool:
    """Of this form, and no part of it leads out of the folder."""
    parts = text.split("/")
    return form.fullmatch(text) is not None and not {".", ".."} & set(parts)


def _root(environ: Mapping[str, str]) -> Path | None:
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if folder := environ.get(name):
            return _expanded(folder, environ)
    if folder := environ.get("HF_HOME"):
        return _expanded(folder, environ) / "hub"
    home = environ.get("HOME")
    caches = environ.get("XDG_CACHE_HOME") or (f"{home}/.cache" if home else None)
    return None if caches is None else _expanded(caches, environ) / "huggingface" / "hub"


def _expanded(folder: str, environ: Mapping[str, str]) -> Path:
    home = environ.get("HOME")
    if home and (folder == "~" or folder.startswith("~/")):
        return Path(home + folder[1:])
    return Path(folder)
