"""A model as attention sees it, and the texts that identify it in the cache."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

from kernels_bench.spec import AttentionSpec, Reason


@dataclass(frozen=True)
class ModelRequest:
    """Which model, and how it will be served."""

    source: str
    """A preset's name, its hub id, a folder, or the path of a config.json."""
    tensor_parallel: int = 1
    dtype: str | None = None
    """None or "auto": what the config says."""
    kv_dtype: str | None = None
    """None or "auto": the model's dtype."""
    page_size: int | None = None
    """Tokens a page, only where the user pins one."""
    max_model_len: int | None = None
    """None: the longest that the model was made for."""


@dataclass(frozen=True)
class ModelConfig:
    """The kinds of attention layers of one model, heads per rank."""

    name: str
    """An alias for people; no part of the identity."""
    model_type: str
    specs: tuple[AttentionSpec, ...]
    """One for each distinct kind of layer, in order of first appearance."""
    tensor_parallel: int
    max_model_len: int
    unsupported: tuple[Reason, ...] = ()
    """What no `AttentionSpec` expresses: with one of these, no backend may run the model."""

    @property
    def fingerprint(self) -> str:
        """Canonical text of the attention fields alone, which fine-tunes share.

        The reasons belong to it: a model with one must never meet the rows of a model without.
        """
        identity: dict[str, object] = {"specs": [_fields(spec) for spec in self.specs]}
        if self.unsupported:
            identity["unsupported"] = sorted(reason.text for reason in self.unsupported)
        return _canonical(identity)


def batch_invariant(config: ModelConfig) -> ModelConfig:
    """The model, served so that a result does not depend on what else is in the batch."""
    specs = tuple(dataclasses.replace(spec, batch_invariant=True) for spec in config.specs)
    return dataclasses.replace(config, specs=specs)


def spec_key(spec: AttentionSpec) -> str:
    """Canonical text of one layer: what a measurement of it depends on."""
    fields = _fields(spec)
    # One layer costs the same however many there are.
    del fields["num_layers"]
    return _canonical(fields)


def kinds(config: ModelConfig) -> tuple[str, ...]:
    """Names for `config.specs`, in the same order, each used once: "full", "window", "full2"."""
    seen: dict[str, int] = {}
    names = []
    for spec in config.specs:
        count = seen[spec.kind] = seen.get(spec.kind, 0) + 1
        names.append(spec.kind if count == 1 else f"{spec.kind}{count}")
    return tuple(names)


def _fields(spec: AttentionSpec) -> dict[str, object]:
    # A field at its default is left out, so that a capability added later orphans no stored row.
    # A pinned page size is the user's wish, no part of the model.
    given = {
        field.name: getattr(spec, field.name)
        for field in dataclasses.fields(spec)
        if field.name != "page_size" and getattr(spec, field.name) != field.default
    }
    if spec.mla is not None:
        given["mla"] = dataclasses.asdict(spec.mla)
    return given


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
