"""Answers as lines for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from autotune.decision import Choice, Decision, SplitDecision
from autotune.ranking import Crossover
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
        lines += assessment_lines(decision)
    lines.append(f"  why: {choice.why}")
    return lines


def assessment_lines(decision: Decision) -> list[str]:
    """How sure it is and what it leaves on the table; nothing of what an older schema stored."""
    split, assessment = decision.split, decision.assessment
    lines = [] if split is None else split_lines(split)
    if assessment is None:
        return lines
    best = "the best candidate of each workload"
    lines.append(f"  regret: {assessment.regret:.1%} more than {best}")
    if assessment.uncovered:
        share = sum(assessment.uncovered.values())
        texts = ", ".join(assessment.uncovered)
        lines.append(f"  not measured: {share:.0%} of the profile's weight ({texts})")
    lines += [f"  {crossover_text(each)}" for each in assessment.crossovers]
    return lines


def split_lines(split: SplitDecision) -> list[str]:
    """Who serves what, and what that is worth."""
    worth = f"{split.gain:.1%} (±{split.bound:.1%}) less than the single winner"
    lines = [f"  split: costs {worth}, regret {split.regret:.1%}"]
    for kind, phases in split.seats.items():
        served: dict[str, list[str]] = {}
        for phase, who in phases.items():
            served.setdefault(who.label, []).append(phase)
        lines += [f"    {kind} {', '.join(names)}: {label}" for label, names in served.items()]
    return lines


def crossover_text(crossover: Crossover) -> str:
    """Where one overtakes the other."""
    axis = "requests a decode" if crossover.axis == "batch" else "new tokens"
    return (
        f"crossover: {crossover.low.label} up to {crossover.last_low} {axis},"
        f" {crossover.high.label} from {crossover.first_high} on: {crossover.gain:.1%} less than"
        " the best alone"
    )


def age_text(moment: str, now: datetime) -> str:
    """How long ago a stored moment was, as people say it; the moment itself where it is unreadable
    or lies ahead, as on a host with another clock.
    """
    try:
        days = (now - datetime.fromisoformat(moment.replace("Z", "+00:00"))).total_seconds() / 86400
    except (ValueError, TypeError):
        return f"on {moment}"
    if days < 0:
        return f"on {moment[:10]}"
    if days < 1:
        return "today" if days * 24 >= 1 else "within the hour"
    return "a day ago" if days < 2 else f"{days:.0f} days ago"


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


def brief_text(outcome: Outcome) -> str:
    """For a cell of a table, or a line after the one that told all: that it failed, without why."""
    match outcome:
        case Rejected():
            return "cannot"
        case Failed(kind):
            return kind
        case _:
            return outcome_text(outcome)


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
