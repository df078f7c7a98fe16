"""Launches that several backends share."""

from __future__ import annotations

from collections.abc import Callable


class Unplanned:
    """One call over a batch that the kernel itself reads on the device."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call

    def plan(self) -> None:
        """Nothing: lengths and pages are read when the kernel runs."""

    def run(self) -> None:
        """The call, which writes the output."""
        self._call()
