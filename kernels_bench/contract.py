"""What a backend may answer. A plug-in's code was checked by nobody: what is not told here would
surface later, far from whoever wrote it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from kernels_bench.errors import one_line
from kernels_bench.spec import Pages, Phase, Reason, Support, Variant

_SHOWN_CHARS = 80


class ContractError(Exception):
    """A backend answered something else; the message says what was expected."""


def asked_text(error: BaseException) -> str:
    """Why a backend that was asked gave no answer, in one line."""
    return str(error) if isinstance(error, ContractError) else f"asked, it raised {one_line(error)}"


def checked_variants(answer: object) -> tuple[Variant, ...]:
    """What `variants` returned; raises ContractError."""
    if not isinstance(answer, tuple) or not all(isinstance(each, Variant) for each in answer):
        raise ContractError(f"variants returned {_shown(answer)}: expected a tuple of Variant")
    if not answer:
        raise ContractError("variants returned none: expected those that cannot run here as well")
    for variant in answer:
        _check_variant(variant)
    (name, count), *_ = Counter(variant.name for variant in answer).most_common(1)
    if count > 1:
        raise ContractError(f"variants returned {count} named {name!r}: expected distinct names")
    return answer


def checked_support(answer: object) -> Support:
    """What `supports` returned; raises ContractError."""
    if not isinstance(answer, Support):
        raise ContractError(
            f"supports returned {_shown(answer)}: expected Support(), or Support with every Reason"
        )
    reasons: object = answer.reasons
    if not isinstance(reasons, tuple) or not all(isinstance(each, Reason) for each in reasons):
        raise ContractError(
            f"supports gave the reasons {_shown(reasons)}: expected a tuple of Reason"
        )
    for reason in answer.reasons:
        if not _is_line(reason.field) or not _is_line(reason.text):
            raise ContractError(
                f"supports gave {_shown(reason)}: expected a field, and a line of text like"
                " 'head_dim 512: at most 256'"
            )
    return answer


def _check_variant(variant: Variant) -> None:
    name: object = variant.name
    if not isinstance(name, str) or not name or any(c.isspace() or c == ":" for c in name):
        raise _wrong(variant, "name", name, "a word without a colon")
    if not _is_tuple(variant.packages, str):
        raise _wrong(variant, "packages", variant.packages, "a tuple of names")
    if not _is_tuple(variant.pages, Pages) or not variant.pages:
        raise _wrong(variant, "pages", variant.pages, "a tuple of one Pages or more")
    phases: object = variant.graph_phases
    if not isinstance(phases, (set, frozenset)) or not all(isinstance(p, Phase) for p in phases):
        raise _wrong(variant, "graph_phases", phases, "a frozenset of Phase")
    options: object = variant.engine_options
    if not isinstance(options, Mapping) or not all(
        isinstance(each, Mapping) for each in options.values()
    ):
        raise _wrong(variant, "engine_options", options, "{engine: {option: value}}")


def _wrong(variant: Variant, field: str, value: object, expected: str) -> ContractError:
    text = f"variant {_shown(variant.name)} has {field} {_shown(value)}: expected {expected}"
    return ContractError(text)


def _shown(value: object) -> str:
    """In a few words, and on one line."""
    text = " ".join(repr(value).split())
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}..."


def _is_tuple(value: object, kind: type) -> bool:
    return isinstance(value, tuple) and all(isinstance(each, kind) for each in value)


def _is_line(text: object) -> bool:
    return isinstance(text, str) and len(text.splitlines()) == 1 and bool(text.strip())
