"""What process 0 of vLLM and our process beside it say to each other: a line of JSON a message.

Of vLLM's process nothing but this module, and what works on its configs, is asked for: what knows
devices, models and caches is imported in the other process, while vLLM makes its config.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True)
class Option:
    """One backend as vLLM's config names it."""

    label: str
    """Ours, "flash_attn:fa2@vllm"."""
    backend: str
    """Of AttentionBackendEnum."""
    flash_attn_version: int | None = None
    per_kind: Mapping[str, str] = field(default_factory=dict)
    """KVCacheSpecKind -> AttentionBackendEnum."""

    @property
    def text(self) -> str:
        """As people would give it to vLLM."""
        parts = [f"backend={self.backend}"]
        if self.flash_attn_version is not None:
            parts.append(f"flash_attn_version={self.flash_attn_version}")
        parts += [f"backend_per_kind.{kind}={name}" for kind, name in self.per_kind.items()]
        return ", ".join(parts)


@dataclass(frozen=True)
class Request:
    """What vLLM is about to run, as its config says."""

    source: str
    """A folder or a hub id."""
    revision: str | None
    config: Mapping[str, object] | None
    """The model's config where no file has it as vLLM runs it."""
    tensor_parallel: int
    dtype: str
    kv_dtype: str | None
    page_size: int | None
    max_model_len: int
    heads: tuple[int, int, int]
    """Query heads and kv heads per rank, and their size."""
    device: str
    """vLLM's device type, "cuda" or "cpu"."""
    agreement: str
    """Why every instance must load the same; empty where this one is alone."""
    is_front_end: bool
    """One of several API servers, whose engines another process starts."""
    environ: Mapping[str, str]
    """Our settings and vLLM's, as they are now: a script may have set some since it imported it."""


@dataclass(frozen=True)
class Told:
    """A line for the log, before the reply."""

    level: int
    text: str


@dataclass(frozen=True)
class Wait:
    """From now on a silence of so many seconds is none: something is tuned or compiled."""

    most_s: float


@dataclass(frozen=True)
class Reply:
    """What process 0 has to do."""

    options: tuple[Option, ...] = ()
    """The winner, and who is next, should this vLLM not have it; none: its own choice stays."""
    why: str = ""
    is_warning: bool = False
    warnings: tuple[str, ...] = ()
    what: str = ""
    """The backend, the model and the device."""
    payload: Mapping[str, object] | None = None
    """As `outside.start_payload`; None where nothing could be decided."""
    mark_key: str = ""
    """Empty: the start leaves no mark."""
    folders: tuple[str, ...] = ()
    """For marks."""
    dead: tuple[str, ...] = ()
    """Files of marks that quarantine the decision."""


Message: TypeAlias = Told | Wait | Reply


def is_setting(name: str) -> bool:
    """Whether an environment variable belongs into a request."""
    return name.startswith(("AUTOTUNE_", "VLLM_"))


def line_of(message: Request | Message) -> str:
    """With its end."""
    fields = {"is": type(message).__name__, **dataclasses.asdict(message)}
    return json.dumps(fields) + "\n"


def read_request(line: str) -> Request:
    """Raises ValueError, KeyError or TypeError for anything else."""
    fields = json.loads(line)
    del fields["is"]
    query, kv, size = fields.pop("heads")
    return Request(heads=(query, kv, size), **fields)


def read_message(line: str) -> Message:
    """Raises ValueError, KeyError or TypeError for anything else."""
    fields = json.loads(line)
    match fields.pop("is"):
        case "Told":
            return Told(**fields)
        case "Wait":
            return Wait(**fields)
    options = tuple(Option(**each) for each in fields.pop("options"))
    for name in ("warnings", "folders", "dead"):
        fields[name] = tuple(fields[name])
    return Reply(options=options, **fields)
