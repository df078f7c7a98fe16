"""Answers that are none: a backend whose code nobody checked is told what was expected."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from fakes import CPU, FULL

from kernels_bench.backends import Broken, FoundBackends
from kernels_bench.backends.base import Launch
from kernels_bench.candidates import survey
from kernels_bench.spec import Pages, Phase, Reason, Support, Variant

PLAIN = Variant("plain")


@dataclass(frozen=True)
class Says:
    """A backend that answers with whatever it is told to."""

    offered: object = (PLAIN,)
    answered: object = Support()
    name: str = "says"

    def variants(self, *_: object) -> tuple[Variant, ...]:
        return self.offered  # type: ignore[return-value]

    def supports(self, *_: object) -> Support:
        return self.answered  # type: ignore[return-value]

    def prepare(self, *_: object) -> Launch:
        raise NotImplementedError


def message(backend: Says) -> str:
    """Why it is broken; the others go on."""
    right = Says(name="right")
    asked = survey(FoundBackends((backend, right)), CPU, {}, (FULL,), tuple(Phase))
    assert {answer.backend for answer in asked.answers} == {"right"}
    (broken,) = asked.broken
    assert broken == Broken("says", broken.message)
    assert "\n" not in broken.message
    return broken.message


@pytest.mark.parametrize(
    ("offered", "told"),
    [
        (None, "variants returned None: expected a tuple of Variant"),
        ([PLAIN], "variants returned [Variant(name='plain', packages=(), pages=("),
        (("plain",), "variants returned ('plain',): expected a tuple of Variant"),
        ((), "variants returned none: expected those that cannot run here as well"),
        ((PLAIN, PLAIN), "variants returned 2 named 'plain': expected distinct names"),
        ((Variant(""),), "variant '' has name '': expected a word without a colon"),
        ((Variant("a b"),), "variant 'a b' has name 'a b': expected a word without a colon"),
        ((Variant("a:b"),), "variant 'a:b' has name 'a:b': expected a word without a colon"),
        (
            (Variant("plain", "torch"),),  # type: ignore[arg-type]
            "variant 'plain' has packages 'torch': expected a tuple of names",
        ),
        (
            (Variant("plain", pages=()),),
            "variant 'plain' has pages (): expected a tuple of one Pages or more",
        ),
        (
            (Variant("plain", pages=Pages(16)),),  # type: ignore[arg-type]
            "variant 'plain' has pages Pages(size=16, layout='NHD'): expected a tuple of one Pages",
        ),
        (
            (Variant("plain", graph_phases=frozenset({"decode"})),),  # type: ignore[arg-type]
            "variant 'plain' has graph_phases frozenset({'decode'}): expected a frozenset of Phase",
        ),
        (
            (Variant("plain", engine_options={"vllm": "FAST"}),),  # type: ignore[dict-item]
            "variant 'plain' has engine_options {'vllm': 'FAST'}: expected {engine: {option: value",
        ),
    ],
)
def test_variants_that_are_none(offered: object, told: str) -> None:
    assert message(Says(offered=offered)).startswith(told)


@pytest.mark.parametrize(
    ("answered", "told"),
    [
        (True, "supports returned True: expected Support(), or Support with every Reason"),
        (None, "supports returned None: expected Support()"),
        (Support([Reason("arch", "arch x: old")]), "supports gave the reasons ["),  # type: ignore[arg-type]
        (Support(("too old",)), "supports gave the reasons ('too old',): expected a tuple of"),  # type: ignore[arg-type]
        (
            Support((Reason("arch", ""),)),
            "supports gave Reason(field='arch', text=''): expected a field, and a line of text",
        ),
        (Support((Reason("arch", "too\nold"),)), "supports gave Reason(field='arch', text='too"),
        (Support((Reason("", "too old"),)), "supports gave Reason(field='', text='too old'):"),
    ],
)
def test_support_that_is_none(answered: object, told: str) -> None:
    assert message(Says(answered=answered)).startswith(told)


def test_a_wish_to_leave_is_a_reason() -> None:
    class Leaves(Says):
        def supports(self, *_: object) -> Support:
            raise SystemExit("no GPU found")

    assert message(Leaves()) == "asked, it raised SystemExit: no GPU found"
