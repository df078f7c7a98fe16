"""Objects that entry points may name by mistake, and one that is as it should be."""

from __future__ import annotations

from dataclasses import dataclass

from kernels_bench.backends.base import Launch
from kernels_bench.spec import Phase, Support, Variant


@dataclass(frozen=True)
class Plain:
    name: str
    api: int = 1
    refuses_to_answer_for: Phase | None = None

    def variants(self, *_: object) -> tuple[Variant, ...]:
        return (Variant("plain"),)

    def supports(
        self, _variant: Variant, _device: object, _spec: object, phase: Phase, _stack: object
    ) -> Support:
        if phase is self.refuses_to_answer_for:
            raise KeyError("head_dim")
        return Support()

    def prepare(self, *_: object) -> Launch:
        raise NotImplementedError


NO_BACKEND = 3
OTHER_NAME = Plain("somebody_else")
OTHER_API = Plain("other_api", api=2)
TAKEN_NAME = Plain("torch_sdpa")
RAISES_WHEN_ASKED = Plain("raises_when_asked", refuses_to_answer_for=Phase.MIXED)
WORKS = Plain("works")
