"""Answers as lines for people."""

from __future__ import annotations

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
