"""Answers as lines for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from autotune.decision import Choice
from kernels_bench.spec import Device, Failed, Outcome, Rejected, Timed, Wrong


def choice_lines(choice: Choice) -> list[str]:
    """The answer, and the reason for it."""
    what = "the engine's own rule" if choice.backend is None else choice.backend
    if choice.candidate is not None:
        pages = choice.candidate.pages
        what = f"{choice.candidate.label}, pages of {pages.size} tokens ({pages.layout})"
    lines = [f"{choice.state}: {what}"]
    if choice.decision is not None and choice.decision.speedup_vs_default is not None:
        decision, speedup = choice.decision, choice.decision.speedup_vs_default
        lines.append(f"  {speedup_text(speedup, decision.default, decision.tie)}")
    lines.append(f"  why: {choice.why}")
    return lines


def speedup_text(speedup: float, default: str, is_tie: bool) -> str:
    """Over what would run if nothing were measured."""
    return f"{speedup:.2f}x the default {default}{', a tie' if is_tie else ''}"


def outcome_text(outcome: Outcome) -> str:
    """One outcome in a few words."""
    match outcome:
        case Timed(gpu_us=gpu_us, noise=noise):
            return f"{time_text(gpu_us)} ±{noise:.1%}"
        case Rejected(reasons):
            return "cannot: " + ", ".join(reason.text for reason in reasons)
        case Wrong(check, error, allowed):
            return f"wrong: {check} {error:.2g}, allowed {allowed:.2g}"
        case Failed(kind, message):
            return f"{kind}: {message}"


@dataclass(frozen=True)
class StartCost:
    """What the start of an engine pays for a candidate, whatever it serves: the most of what was
    seen on any workload.
    """

    compile_s: float
    """0 where nobody measured it."""
    workspace_bytes: int | None
    """None where nobody counted."""
    plan_waits: bool


def start_costs(outcomes: Iterable[tuple[str, Outcome]]) -> Mapping[str, StartCost]:
    """(candidate, outcome) to a candidate -> its cost, for those with a time."""
    timed: dict[str, list[Timed]] = {}
    for label, outcome in outcomes:
        if isinstance(outcome, Timed):
            timed.setdefault(label, []).append(outcome)
    return {label: _start_cost(times) for label, times in timed.items()}


def _start_cost(timed: Sequence[Timed]) -> StartCost:
    counted = [each.workspace_bytes for each in timed if each.workspace_bytes is not None]
    return StartCost(
        compile_s=max(each.compile_s for each in timed),
        workspace_bytes=max(counted, default=None),
        plan_waits=any(each.plan_waits for each in timed),
    )


def places_by_note(notes: Iterable[tuple[str, str]]) -> Mapping[str, Sequence[str]]:
    """(note, place) to a note -> all its places, each once, in the order in which they came."""
    found: dict[str, dict[str, None]] = {}
    for note, place in notes:
        found.setdefault(note, {})[place] = None
    return {note: list(places) for note, places in found.items()}


def seconds_text(seconds: float) -> str:
    """For what takes seconds or minutes; a plan or a kernel is told by `time_text`."""
    return f"{seconds:.2g} s" if seconds < 9.5 else f"{seconds:.0f} s"


def mebibytes_text(size_bytes: int) -> str:
    """Rounded; what rounds to nothing is not nothing."""
    return "< 1 MiB" if 0 < size_bytes < 2**19 else f"{size_bytes / 2**20:.0f} MiB"


def time_text(microseconds: float) -> str:
    """Three digits and a unit."""
    if microseconds < 1e3:
        return f"{microseconds:.3g} us"
    return f"{microseconds / 1e3:.3g} ms" if microseconds < 1e6 else f"{microseconds / 1e6:.3g} s"


def device_text(device: Device) -> str:
    """A device in a line."""
    unit = "cores" if device.kind == "cpu" else "multiprocessors"
    partition = f", {device.partition}" if device.partition else ""
    memory = f"{device.memory_bytes / 2**30:.0f} GiB"
    return f"{device.name} ({device.arch}, {device.multiprocessors} {unit}, {memory}{partition})"
