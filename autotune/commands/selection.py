"""Which of the stored decisions a command is about, as a user says it."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import click

from autotune import records
from autotune._store import (
    CacheError,
    DeviceRow,
    Layers,
    Sort,
    StoredDecision,
    Which,
    count_decisions,
    list_devices,
    read_decisions,
    require_promised,
    show_decision,
)
from autotune.elsewhere import device_keys_of
from autotune.errors import UsageError


@dataclass(frozen=True)
class Selection:
    """Those that have one of the values of every field; an empty field takes all."""

    models: tuple[str, ...] = ()
    device: str | None = None
    engines: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    backends: tuple[str, ...] = ()


@dataclass(frozen=True)
class Page:
    """Of each file, in its order."""

    sort: Sort = "measured"
    reverse: bool = False
    limit: int | None = None
    offset: int = 0


@dataclass(frozen=True)
class Found:
    """What the layers hold of it."""

    layers: Layers
    stored: tuple[StoredDecision, ...]
    """Layer by layer."""
    total: int
    """On all pages."""
    left: int
    """On the pages after this one."""
    devices: tuple[DeviceRow, ...]
    """All that the layers know."""

    def layer_of(self, stored: StoredDecision) -> str:
        """Where it is."""
        return self.layers.label_of(stored.file)

    def name_of(self, stored: StoredDecision) -> str:
        """What `show` takes: "12", "fleet:3"."""
        layer = self.layer_of(stored)
        return str(stored.id) if layer == "user" else f"{layer}:{stored.id}"


@dataclass(frozen=True)
class DecisionName:
    """An id and the layer that it belongs to."""

    layer: str
    id: int

    def __str__(self) -> str:
        return f"{self.layer}:{self.id}"


class DecisionNameType(click.ParamType[DecisionName]):
    """12, or fleet:12."""

    name = "ID"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> DecisionName:
        """The user's file where none is named."""
        if isinstance(value, DecisionName):
            return value
        match = re.fullmatch(r"(?:(\w+):)?(\d{1,18})", str(value))
        if match is None:
            self.fail(f"{value!r}: expected a number, or a layer and a number: 12, fleet:3")
        return DecisionName(match[1] or "user", int(match[2]))


Command = Callable[..., Any]


def selection_options(command: Command) -> Command:
    """--model, --device, --engine, --profile, --backend, as a `selection`."""

    @click.option(
        "--model", "models", multiple=True, metavar="NAME", help="For these models alone."
    )
    @click.option(
        "--device", metavar="auto|cpu|cuda:N|NAME",
        help="For this device alone, or those whose line has these words: h100.",
    )  # fmt: skip
    @click.option(
        "--engine", "engines", multiple=True, metavar="E", help="For these engines alone."
    )
    @click.option(
        "--profile", "profiles", multiple=True, metavar="P", help="For these profiles alone."
    )
    @click.option(
        "--backend", "backends", multiple=True, metavar="B", help="Won by these backends alone."
    )
    @functools.wraps(command)
    def bundled(
        models: tuple[str, ...],
        device: str | None,
        engines: tuple[str, ...],
        profiles: tuple[str, ...],
        backends: tuple[str, ...],
        **others: Any,
    ) -> Any:
        selection = Selection(models, device, engines, profiles, backends)
        return command(selection=selection, **others)

    return bundled


def find(layers: Layers, selection: Selection, page: Page | None = None) -> Found:
    """Look in every layer. A file that cannot be read raises where it is the user's, or where there
    is no other; elsewhere it is told and left out.
    """
    stored: list[StoredDecision] = []
    devices: list[DeviceRow] = []
    total = left = 0
    for layer in layers.files:
        try:
            require_promised(layer)
            is_ours = layer.is_written
            known = list_devices(layer.path, is_ours=is_ours)
            which = _which(selection, known, page or Page())
            if which is not None:
                found = read_decisions(layer.path, which, is_ours=is_ours)
                stored += found.rows
                count = count_decisions(layer.path, which, is_ours=is_ours) - len(found.damaged)
                total += count
                left += max(0, count - which.offset - len(found.rows))
                _warn(f"cache {layer.path}: {each}; left out" for each in found.damaged)
        except CacheError as error:
            if layer.name == "user":
                raise
            _warn([str(error)])
            continue
        devices += known
    return Found(layers, tuple(stored), total, left, tuple(devices))


def stored_decision(layers: Layers, name: DecisionName) -> StoredDecision:
    """The one of that name; raises UsageError for an unknown layer, CacheMissingError."""
    for layer in layers.files:
        if layer.label == name.layer:
            return show_decision(layer.path, name.id, is_ours=layer.is_written)
    known = ", ".join(each.label for each in layers.files)
    raise UsageError(f"{name}: no such layer; there are: {known}")


def _which(selection: Selection, known: tuple[DeviceRow, ...], page: Page) -> Which | None:
    """None where nothing can fit."""
    keys: tuple[str, ...] = ()
    if selection.device is not None:
        keys = device_keys_of(selection.device, map(records.device_of, known))
        if not keys:
            return None
    return Which(
        device_keys=keys,
        models=selection.models,
        engines=selection.engines,
        profiles=selection.profiles,
        backends=selection.backends,
        sort=page.sort,
        reverse=page.reverse,
        limit=page.limit,
        offset=page.offset,
    )


def _warn(lines: Iterator[str] | list[str]) -> None:
    for line in lines:
        click.echo(f"autotune: warning: {line}", err=True)
