"""Our choice as fields of vLLM's attention config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from autotune.elsewhere import stack_under
from autotune.in_vllm.messages import Option
from autotune.start import Take
from autotune.today import Asked, variant_today
from kernels_bench.errors import AutotuneError
from kernels_bench.spec import Variant


class OptionError(AutotuneError):
    """An option that the plug-in cannot set."""


def options_of(asked: Asked, ruling: Take) -> tuple[Option, ...]:
    """The winner, and who else is better than vLLM's default, in order; raises OptionError."""
    winner = _option(ruling.choice.label, ruling.options)
    return (winner, *_runners_up(asked, ruling))


def _runners_up(asked: Asked, ruling: Take) -> Iterator[Option]:
    decision = ruling.choice.decision
    if decision is None:
        return
    stack = stack_under(asked.found, decision.versions)
    for candidate in decision.successors:
        if candidate.label == decision.default:
            return
        variant = variant_today(asked, candidate, stack)
        if isinstance(variant, Variant) and candidate != ruling.choice.candidate:
            yield _option(candidate.label, variant.engine_options[asked.question.engine])


def _option(label: str, engine_options: Mapping[str, object]) -> Option:
    """From the names of vLLM's arguments."""
    rest: dict[str, object] = {}
    match engine_options:
        case {"attention_backend": str(backend), "attention_config": Mapping() as given, **more}:
            rest = dict(given)
        case {"attention_backend": str(backend), **more}:
            pass
        case _:
            raise OptionError(f"{label}: expected attention_backend in {dict(engine_options)}")
    version, per_kind = rest.pop("flash_attn_version", None), rest.pop("backend_per_kind", {})
    if unknown := [*more, *rest]:
        raise OptionError(f"{label}: cannot set {', '.join(map(str, unknown))}")
    if not isinstance(version, int | None) or not isinstance(per_kind, Mapping):
        raise OptionError(f"{label}: cannot set {dict(engine_options)}")
    return Option(label, backend, version, {str(k): str(v) for k, v in per_kind.items()})
