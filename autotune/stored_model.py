"""A model as the cache remembers it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

from autotune._store import ModelRow
from autotune.models import ModelConfig
from kernels_bench.spec import AttentionSpec, Mla, Reason


def stored_model(row: ModelRow, question: str) -> ModelConfig:
    """The model that a question was asked about, its pinned page size and longest context included;
    raises ValueError where the row is damaged.
    """
    asked: object = json.loads(question)
    specs: object = json.loads(row.specs)
    if not isinstance(asked, dict) or not isinstance(specs, list):
        raise ValueError(f"model {row.name}: its layers cannot be read")
    maximum = asked.get("max_model_len")
    pinned = asked.get("page_size")
    return ModelConfig(
        name=row.name,
        model_type=row.model_type,
        specs=tuple(_spec(fields, pinned) for fields in specs),
        tensor_parallel=row.tensor_parallel,
        max_model_len=maximum if isinstance(maximum, int) else 0,
        unsupported=_unsupported(row.fingerprint),
    )


def _spec(fields: object, pinned: object) -> AttentionSpec:
    """A stored layer, without what a newer version may have added."""
    if not isinstance(fields, dict):
        raise ValueError(f"not a layer: {fields!r}")
    known = {field.name for field in dataclasses.fields(AttentionSpec)}
    values = {name: value for name, value in fields.items() if name in known}
    values.pop("page_size", None)  # of whoever stored the row first; the question has its own
    if isinstance(values.get("mla"), dict):
        values["mla"] = Mla(**values["mla"])
    match pinned:
        case [int(size)]:
            values["page_size"] = size
    try:
        return AttentionSpec(**values)
    except TypeError as error:
        raise ValueError(f"not a layer: {fields!r}") from error


def _unsupported(fingerprint: str) -> tuple[Reason, ...]:
    fields: Mapping[str, object] = json.loads(fingerprint)
    texts = fields.get("unsupported", [])
    return tuple(Reason("model", str(text)) for text in texts) if isinstance(texts, list) else ()
