"""Backends as users name them: who is meant, who is known, and who of them can run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property

from autotune.elsewhere import stack_under
from autotune.today import Asked, first_able
from kernels_bench.backends import Broken, find_backend, is_known, known_names, own_names
from kernels_bench.backends.base import Backend
from kernels_bench.candidates import ask_variants
from kernels_bench.spec import Phase, Stack

_HANG_S = 20.0
"""A plug-in that is silent for longer is not asked: an engine's start waits for it."""
_LIKE = 0.6
"""difflib's own bound: a letter or two are wrong."""


class Known:
    """Asked no more than is needed: where the name is right, nobody but its owner is loaded."""

    def __init__(self, asked: Asked, stack: Stack) -> None:
        self._asked, self._stack = asked, stack

    def ours(self, text: str) -> str:
        """Our name, with its variant, for what may be the engine's: vLLM says TRITON_ATTN."""
        plain = text.strip()
        name, colon, variant = plain.partition(":")
        if is_known(name.lower()):
            return f"{name.lower()}{colon}{variant}"
        for backend in self._backends():
            if plain.upper() in self._engine_words(backend):
                return backend.name
        return plain

    @cached_property
    def text(self) -> str:
        """All of them, those that can run first."""
        names = known_names()
        asked = (*own_names(), *self._answering_plugins)
        can = [name for name in asked if first_able(self._asked, name, self._stack)]
        where = f"(cannot run {self._asked.where})"
        return ", ".join([*can, *(f"{name} {where}" for name in names if name not in can)])

    def _backends(self) -> Iterator[Backend]:
        """Ours first: the plug-ins are loaded where none of ours was meant."""
        for name in own_names():
            yield from _loaded(name)
        for name in self._answering_plugins:
            yield from _loaded(name)

    @cached_property
    def _answering_plugins(self) -> tuple[str, ...]:
        """Those that come through an import and the questions unharmed. A child process finds out,
        as one that crashes would take an engine's start along.
        """
        if len(known_names()) == len(own_names()):
            return ()
        # Imported late: a start with a name that is right needs no child.
        from kernels_bench.bench import Bench
        from kernels_bench.errors import WorkerError
        from kernels_bench.messages import AskAll
        from kernels_bench.patience import Patience

        specs = self._asked.question.model.specs
        request = AskAll(self._asked.found.device, dict(self._stack), specs, tuple(Phase))
        try:
            with Bench(Patience(hang_s=_HANG_S)) as bench:
                survey = bench.survey(request)
        except WorkerError:
            return ()
        spared = {*own_names(), *(each.name for each in survey.broken)}
        return tuple(name for name in survey.asked if name not in spared)

    def _engine_words(self, backend: Backend) -> set[str]:
        asked = self._asked
        device, specs = asked.found.device, asked.question.model.specs
        try:
            variants = [ask_variants(backend, device, spec, self._stack) for spec in specs]
        except Exception:  # a plug-in's code: the check that follows tells what it raises
            return set()
        options = (
            each.engine_options.get(asked.question.engine, {}) for some in variants for each in some
        )
        return {value for each in options for value in each.values() if isinstance(value, str)}


def misspelt_text(asked: Asked) -> str:
    """Which disabled names disable nobody, in one line; empty where there are none. A typing error
    must not bring back what somebody meant to be rid of.
    """
    missing = unknown(asked.settings.disabled)
    if not missing:
        return ""
    known = Known(asked, stack_under(asked.found)).text
    return f"AUTOTUNE_DISABLE_BACKENDS: {unknown_text(missing)}; known: {known}"


def unknown(names: Iterable[str]) -> list[str]:
    """Those that nobody has, sorted. Loads nobody."""
    return sorted(name for name in names if not is_known(name))


def unknown_text(names: Iterable[str]) -> str:
    """What is wrong with names that nobody has, and who may have been meant."""
    return f"no such backend is installed: {', '.join(map(_with_nearest, names))}"


def _with_nearest(name: str) -> str:
    import difflib  # late: a start with names that are right needs it not

    near = difflib.get_close_matches(name.lower(), known_names(), n=1, cutoff=_LIKE)
    return f"{name} (nearest: {near[0]})" if near else name


def _loaded(name: str) -> Iterator[Backend]:
    found = find_backend(name)
    if found is not None and not isinstance(found, Broken):
        yield found
