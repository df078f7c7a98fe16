"""The one decision of a vLLM start: in process 0, before anything of the engine runs."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from autotune.in_vllm import NAME
from autotune.in_vllm.asking import Answerer, NoAnswerError, taken
from autotune.in_vllm.fields import put, unknown_to
from autotune.in_vllm.handing import handed_over
from autotune.in_vllm.messages import Option, Reply, Told
from autotune.in_vllm.patches import watch_engines
from autotune.in_vllm.served import EngineArgs, VllmConfig, outside_of, own_choice, request_of
from autotune.in_vllm.stamp import Stamp, put_stamp
from autotune.in_vllm.starts import Start, remember

_log = logging.getLogger(NAME)


@dataclass(frozen=True)
class Call:
    """How vLLM was asked for its config."""

    usage: str
    """The name of its UsageContext."""
    headless: bool


def make_config(args: EngineArgs, make: Callable[[], VllmConfig], call: Call) -> VllmConfig:
    """The config that `make` makes, with our choice in it or as it is. Raises what that raises."""
    handed = handed_over()
    started = time.monotonic()
    answerer = _answerer() if handed is None else None
    before_s = time.monotonic() - started
    try:
        config = make()
        _decide(handed or answerer, args, config, call, time.monotonic() - before_s)
    finally:
        if answerer is not None:
            answerer.close()
    return config


def _answerer() -> Answerer | None:
    try:
        return taken()
    except (OSError, ValueError) as error:
        _log.warning("attn-autotune: vLLM's own choice stays: cannot be asked: %s", error)
        return None


def _decide(
    source: Answerer | Reply | None,
    args: EngineArgs,
    config: VllmConfig,
    call: Call,
    began: float,
) -> None:
    """Set the backend in the config, or leave it, and say which and why. Raises nothing."""
    try:
        reply = _reply(source, args, config, call)
        if reply is None:
            return
        took_ms = (time.monotonic() - began) * 1e3
        stamp, refusals = _fitting(config, reply, call)
        _remember(config, reply, stamp)  # before anything is set, so that nothing goes unwatched
        if stamp is not None:
            put(config.attention_config, stamp.taken)
            put_stamp(config.attention_config, stamp)
        _tell(reply, stamp, refusals, took_ms)
    except NoAnswerError as error:
        _log.warning("attn-autotune: vLLM's own choice stays: %s", error)
    except Exception as error:  # whatever it is, vLLM has to start
        name = type(error).__name__
        _log.warning("attn-autotune: vLLM's own choice stays: %s: %s", name, error)


def _reply(
    source: Answerer | Reply | None, args: EngineArgs, config: VllmConfig, call: Call
) -> Reply | None:
    """None where there is nothing to decide; raises NoAnswerError."""
    why = own_choice(args, config)
    match source:
        case None:
            return None
        case Reply(options=(first, *_)) if _is_set(first, config):
            return source  # by `autotune exec`: what looks like the user's choice is ours
        case Answerer():
            why = why or outside_of(config)
            if not why:
                return source.ask(request_of(config, headless=call.headless), _pass_on)
    _log.info("attn-autotune: leaves the attention backend alone: %s", why)
    return None


def _is_set(option: Option, config: VllmConfig) -> bool:
    return option.backend == getattr(config.attention_config.backend, "name", "")


def _pass_on(told: Told) -> None:
    _log.log(told.level, "attn-autotune: %s", told.text)


def _fitting(config: VllmConfig, reply: Reply, call: Call) -> tuple[Stamp | None, tuple[str, ...]]:
    """The options that this vLLM has by name, and why not the others: what else speaks against
    one vLLM itself checks, where it loads the backend.
    """
    known, refusals = list[Option](), list[str]()
    for option in reply.options:
        if why := unknown_to(config.attention_config, option):
            refusals.append(f"{option.label} cannot be taken: {why}")
        else:
            known.append(option)
    # Also where nothing is taken: whether the default serves is of interest, and its metric.
    unwatched = watch_engines(is_offline=call.usage == "LLM_CLASS")
    if known and unwatched:
        return None, (*refusals, f"no start can be watched: {unwatched}")
    return (Stamp(known[0], tuple(known[1:])) if known else None), tuple(refusals)


def _remember(config: VllmConfig, reply: Reply, stamp: Stamp | None) -> None:
    if reply.payload is None:
        return
    remember(
        config,
        Start(
            mark_key="" if stamp is None else reply.mark_key,
            what=reply.what,
            folders=reply.folders,
            payload=_payload(reply, stamp),
            dead=reply.dead,
        ),
    )


def _tell(reply: Reply, stamp: Stamp | None, refusals: tuple[str, ...], took_ms: float) -> None:
    for warning in (*reply.warnings, *refusals):
        _log.warning("attn-autotune: %s", warning)
    if stamp is not None:
        _log.info("attention_config set by attn-autotune: %s (%s)", stamp.taken.text, reply.why)
    elif not reply.options:
        level = logging.WARNING if reply.is_warning and not reply.warnings else logging.INFO
        _log.log(level, "attn-autotune: vLLM's own choice stays: %s", reply.why)
    if reply.payload is not None:
        line = {**_payload(reply, stamp), "took_ms": round(took_ms, 1)}
        _log.info("attn-autotune: %s", json.dumps(line))


def _payload(reply: Reply, stamp: Stamp | None) -> Mapping[str, object]:
    """With what became of it in this vLLM."""
    applied = {
        "applied": stamp is not None,
        "taken": None if stamp is None else stamp.taken.label,
    }
    return {**(reply.payload or {}), **applied}
