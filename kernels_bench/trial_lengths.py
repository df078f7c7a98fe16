"""The lengths of a trial's scenes: around the borders of pages, windows and chunks."""

from __future__ import annotations

from dataclasses import dataclass

from kernels_bench.spec import AttentionSpec, Phase
from kernels_bench.workload import Request

_WHOLE_PAGES = 256
"""The largest page that anybody asks for: a multiple fills its last page, whatever the size."""
_LONGEST = 1024
_USUAL = (513, 256, 17, 7)
"""One token in the last page of every size, none free in it, one in that of the smallest size, and
less than any page."""
_USUAL_PROMPTS = (256, 129, 17, 7)
"""Short, since their cost grows with the square."""
_SHORT_SPAN = 512
_SHORT_SPAN_OF_PROMPTS = 256
"""Windows and chunks up to here are passed twice over. A longer one is passed by one request, and
by no prompt: such prompts are among the workloads."""
_EXTENDED = (40, 33, 64, 17)
"""New tokens over cached ones, request by request."""
_VERIFIED = 4
_PROMPT_BESIDE_OTHERS = 70
_PADDED_ROWS = 2


@dataclass(frozen=True)
class TrialLengths:
    """Requests of the scenes. Their number and new tokens are the same in all but `padded`."""

    plain: tuple[Request, ...]
    replay: tuple[Request, ...]
    """Other cached tokens; for prompts, which have none, the same."""
    padded: tuple[Request, ...] | None
    """Fewer requests, in phases whose batches engines pad to the size of a graph."""


def trial_lengths(spec: AttentionSpec, phase: Phase, longest_tokens: int) -> TrialLengths:
    """No request is longer than `longest_tokens`, unless that is 0."""
    if phase is Phase.PREFILL:
        totals = _clamped(_prompts(spec), longest_tokens)
        prompts = tuple(Request(total, total) for total in totals)
        return TrialLengths(prompts, prompts, None)
    plain, replay, padded = (_requests(spec, phase, longest_tokens, turn) for turn in range(3))
    is_uniform = phase in (Phase.DECODE, Phase.VERIFY)
    return TrialLengths(plain, replay, padded[:-_PADDED_ROWS] if is_uniform else None)


def _requests(
    spec: AttentionSpec, phase: Phase, longest_tokens: int, turn: int
) -> tuple[Request, ...]:
    """Turn by turn every request takes the length of the one before it."""
    totals = _clamped(_totals(spec, turn), longest_tokens)
    turned = totals[-turn:] + totals[:-turn] if turn else totals
    requests = tuple(
        _over_cached(new, total, longest_tokens)
        for new, total in zip(_new_tokens(phase, len(totals)), turned, strict=True)
    )
    if phase is not Phase.MIXED:
        return requests
    (prompt,) = _clamped((_PROMPT_BESIDE_OTHERS,), longest_tokens)
    return (*requests, Request(prompt, prompt))


def _over_cached(new_tokens: int, total_tokens: int, longest_tokens: int) -> Request:
    """Of this total, or, where that leaves nothing cached, with so many cached tokens."""
    new_tokens = min(new_tokens, (longest_tokens or new_tokens + 1) - 1)
    if total_tokens > new_tokens:
        return Request(new_tokens, total_tokens)
    (total_tokens,) = _clamped((new_tokens + total_tokens,), longest_tokens)
    return Request(new_tokens, total_tokens)


def _new_tokens(phase: Phase, count: int) -> tuple[int, ...]:
    match phase:
        case Phase.EXTEND:
            return tuple(_EXTENDED[index % len(_EXTENDED)] for index in range(count))
        case Phase.VERIFY:
            return (_VERIFIED,) * count
        case Phase.MIXED:
            return (*(1,) * (count - 1), _EXTENDED[0])
        case _:
            return (1,) * count


def _totals(spec: AttentionSpec, turn: int) -> tuple[int, ...]:
    span = _span(spec)
    if span is None:
        return (_LONGEST, *_USUAL)
    if span > _SHORT_SPAN:
        return ((_whole_pages(span + 1), span + 1, span)[turn], *_USUAL)
    around = (max(1, span - 1), span, span + 1, 2 * span + 3)
    return (max(_LONGEST, _whole_pages(2 * span + 3)), *around, *_USUAL[-2:])


def _prompts(spec: AttentionSpec) -> tuple[int, ...]:
    span = _span(spec)
    if span is None or span > _SHORT_SPAN_OF_PROMPTS:
        return _USUAL_PROMPTS
    around = (max(2, span - 1), max(2, span), span + 1)  # one token would be a decode
    return (_whole_pages(2 * span + 3), *around, *_USUAL_PROMPTS[-2:])


def _span(spec: AttentionSpec) -> int | None:
    return spec.attention_chunk if spec.sliding_window is None else spec.sliding_window


def _whole_pages(tokens: int) -> int:
    return -(-tokens // _WHOLE_PAGES) * _WHOLE_PAGES


def _clamped(totals: tuple[int, ...], longest_tokens: int) -> tuple[int, ...]:
    return tuple(min(total, longest_tokens or total) for total in totals)
