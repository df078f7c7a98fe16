"""The files that are read one after the other, and which of them is written.

The user's file, those of a site or a fleet, and what an image or a package brought. Finding them
opens none.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from .errors import CacheLocationError
from .location import expanded, locate

LayerName: TypeAlias = Literal["user", "fleet", "bundle"]
_NAMES: tuple[LayerName, ...] = get_args(LayerName)

FLEET_VARIABLE = "AUTOTUNE_FLEET_CACHE"
ORDER_VARIABLE = "AUTOTUNE_CACHE_ORDER"


@dataclass(frozen=True)
class Layer:
    """One file among those that are read."""

    name: LayerName
    path: Path
    why: str
    """What named it, for people."""
    number: int = 1
    """Among the layers of its name."""

    @property
    def label(self) -> str:
        """ "user", "fleet", "fleet2": unique among the layers."""
        return self.name if self.number == 1 else f"{self.name}{self.number}"

    @property
    def is_written(self) -> bool:
        """Whether anything is stored there; nothing else is touched, and nothing beside it."""
        return self.name == "user"

    @property
    def is_promised(self) -> bool:
        """Whether somebody said that it is there; a user's own file is made by the first tuning."""
        return self.name == "fleet"


@dataclass(frozen=True)
class Layers:
    """In the order in which they answer; one of them is the user's, and it alone is written."""

    files: tuple[Layer, ...]

    @classmethod
    def alone(cls, path: Path) -> Layers:
        """One file and nothing beside it."""
        return cls((Layer("user", path, "named by the caller"),))

    @property
    def user(self) -> Layer:
        """The one that is written."""
        return next(each for each in self.files if each.name == "user")

    @property
    def text(self) -> str:
        """Their files, for people."""
        return ", ".join(str(each.path) for each in self.files)

    def label_of(self, path: Path) -> str:
        """Of the layer with this file."""
        return next(each.label for each in self.files if each.path == path)


def find_layers(explicit: Path | str | None, environ: Mapping[str, str]) -> Layers:
    """Follow the environment; `explicit` is the user's file where the command line names one.

    Raises CacheLocationError.
    """
    own = locate(explicit, environ)
    found: dict[LayerName, tuple[Layer, ...]] = {
        "user": (Layer("user", own.path, own.why),),
        "fleet": tuple(_fleet(environ)),
        "bundle": tuple(_bundles(Path(sys.prefix) / "share" / "attn-autotune")),
    }
    seen = {own.path}
    files = []
    for name in _order(environ.get(ORDER_VARIABLE, ""), own.path):
        for each in found[name]:
            if name == "user" or each.path not in seen:
                files.append(each)
                seen.add(each.path)
    return Layers(tuple(files))


def _order(text: str, own: Path) -> tuple[LayerName, ...]:
    """Those that are named come first; the others follow as they always stand."""
    named: list[LayerName] = []
    for word in filter(None, map(str.strip, text.split(","))):
        known = [name for name in _NAMES if name == word and name not in named]
        if not known:
            what = f"{ORDER_VARIABLE} names {word!r}"
            remedy = f"name some of {', '.join(_NAMES)} once, with commas between: fleet,user"
            raise CacheLocationError(own, what, remedy)
        named += known
    return (*named, *(name for name in _NAMES if name not in named))


def _fleet(environ: Mapping[str, str]) -> list[Layer]:
    paths = filter(None, environ.get(FLEET_VARIABLE, "").split(os.pathsep))
    return [
        Layer("fleet", expanded(Path(path)), FLEET_VARIABLE, number)
        for number, path in enumerate(dict.fromkeys(paths), 1)
    ]


def _bundles(folder: Path) -> list[Layer]:
    """What images and wheels put there: a wheel's data files land under its environment."""
    try:
        names = sorted(each.name for each in os.scandir(folder) if each.name.endswith(".db"))
    except OSError:
        return []
    return [
        Layer("bundle", folder / name, f"in {folder}", number)
        for number, name in enumerate(names, 1)
    ]
