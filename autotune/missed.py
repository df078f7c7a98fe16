"""What starts found no answer for: noted in the user's cache, and read back to be tuned."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from autotune import records
from autotune._store import Layers, MissRow, Store, StoredMiss, Which, read_layers, read_misses
from autotune.elsewhere import Elsewhere, device_line
from autotune.errors import ProfileError
from autotune.keys import Question, canonical, device_key
from autotune.models import ModelConfig
from autotune.profiles import Profile, find_profile
from autotune.stored_model import stored_model
from autotune.stored_profile import profile_of
from kernels_bench.devices import FoundDevice
from kernels_bench.spec import Device

_PATIENCE_S = 2.0
"""For another writer: a start does not wait for a note."""


@dataclass(frozen=True)
class Missed:
    """A question that starts asked in vain, and what it takes to tune for it."""

    row: MissRow
    device: Device
    model: ModelConfig | None
    """None where this version cannot ask the same."""
    profile: Profile | None
    """None where its weights are not known."""

    @property
    def text(self) -> str:
        """For people."""
        row = self.row
        return f"{row.model} for {row.engine}, {row.profile}, on {device_line(self.device)}"

    @property
    def hindrance(self) -> str:
        """Why nobody can tune for it, whatever the machine; empty where one can."""
        if self.model is None:
            return "its question is none of this version"
        if self.profile is None:
            return f"the weights of {self.row.profile} are not stored; name their file: --profile"
        return ""


def note_miss(
    question: Question, found: FoundDevice | Elsewhere, asked_for: str, layers: Layers
) -> None:
    """Note that a start found no answer; `asked_for` is the model as the user named it. Raises
    CacheError. A model that nobody can run is not noted.
    """
    model = question.model
    if model.unsupported:
        return
    origin = records.provenance()
    row = MissRow(
        device_key=device_key(found.device),
        question=question.text,
        model_fingerprint=model.fingerprint,
        model=model.name,
        engine=question.engine,
        profile=question.profile,
        tensor_parallel=model.tensor_parallel,
        options=canonical({"source": asked_for, **_options(model)}),
        times_seen=1,
        last_seen=origin.created_at,
        provenance=origin,
    )
    with Store.open(layers.user.path, _PATIENCE_S) as store:
        store.put_miss(row, records.device_row(found.device), records.model_row(model))


def _options(model: ModelConfig) -> Mapping[str, object]:
    """How it was to be served."""
    specs = model.specs
    return {
        "dtype": sorted({spec.dtype for spec in specs}),
        "kv_dtype": sorted({spec.kv_dtype or spec.dtype for spec in specs}),
        "page_size": sorted({spec.page_size for spec in specs if spec.page_size is not None}),
        "tensor_parallel": model.tensor_parallel,
        "max_model_len": model.max_model_len,
    }


def read_missed(layers: Layers, named: Profile | None = None) -> tuple[Missed, ...]:
    """What the user's file has noted, the last seen first; `named` is a profile whose file the user
    names now. Raises CacheError.
    """
    return tuple(
        Missed(
            row=stored.miss,
            device=records.device_of(stored.device),
            model=_model(stored),
            profile=_profile(stored.miss.profile, layers, named),
        )
        for stored in read_misses(layers.user.path)
    )


def _model(stored: StoredMiss) -> ModelConfig | None:
    row = stored.miss
    try:
        # The stored model may be of a start with other pages and another name: of what the
        # fingerprint leaves out the miss alone speaks.
        specs = json.dumps(json.loads(row.question)["model"]["specs"])
        described = replace(
            stored.model, name=row.model, tensor_parallel=row.tensor_parallel, specs=specs
        )
        model = stored_model(described, row.question)
        is_same = Question(model, row.engine, row.profile).text == row.question
    except (ValueError, TypeError, LookupError, RecursionError):
        return None
    return model if is_same else None


def _profile(key: str, layers: Layers, named: Profile | None) -> Profile | None:
    """A built-in one, or a user's own whose weights are at hand or stored with a decision."""
    found = [named, _built_in(key), *_stored(key, layers)]
    return next((each for each in found if each is not None and each.key == key), None)


def _built_in(key: str) -> Profile | None:
    try:
        return None if "#" in key else find_profile(key)
    except ProfileError:
        return None


def _stored(key: str, layers: Layers) -> list[Profile | None]:
    """A user's own has its weights in its key, and in its decisions."""
    if "#" not in key:
        return []
    decisions = map(records.decision_of, read_layers(layers, Which(profiles=(key,))).stored)
    return [profile_of(key, decision) for decision in decisions if decision is not None]
