"""Puts our functions around those of vLLM. Each is wrapped once a process, however often asked."""

from __future__ import annotations

import functools
import importlib
import logging
import multiprocessing
import sys
from collections.abc import Callable, Iterator
from typing import Any

from autotune.in_vllm import NAME, known
from autotune.in_vllm.asking import prepare
from autotune.in_vllm.handing import handed_over
from autotune.in_vllm.known import PatchPoint, refuse_function, refuse_version

_log = logging.getLogger(NAME)
_OURS = "_attn_autotune"

# What follows the parameters that a patch point names is vLLM's, and passed on as it comes.
Wrapper = Callable[..., Any]


def install() -> None:
    """Wrap all that this process needs, or nothing, where this vLLM is not one that we know."""
    import vllm

    is_first = multiprocessing.parent_process() is None
    if why := refuse_version(vllm.__version__) or _refuse_points():
        if is_first:
            _log.warning("attn-autotune: does nothing: %s", why)
        return
    for point, make in _here():
        _wrap(point, make)
    if is_first and known.CONFIG.module in sys.modules and handed_over() is None:
        prepare()


def watch_engines(*, is_offline: bool) -> str:
    """Wrap the classes of engines; why that cannot be done, or nothing.

    The module of a class that this process will use is imported next anyway; the other's is not.
    """
    points = [known.SYNC_ENGINE] if is_offline else [known.ASYNC_ENGINE, known.SYNC_ENGINE]
    for point in points:
        if point is known.ASYNC_ENGINE or point.module in sys.modules:
            if why := refuse_function(point, _function(point)):
                return why
            _wrap(point, _watching)
    return ""


def _refuse_points() -> str:
    refusals = (refuse_function(point, _function(point)) for point, _ in _here())
    return next(filter(None, refusals), "")


def _here() -> Iterator[tuple[PatchPoint, Callable[[Callable[..., Any]], Wrapper]]]:
    yield known.SELECT, _selecting
    yield known.DUMP, _naming_us
    if known.CONFIG.module in sys.modules:  # elsewhere no config is made
        yield known.CONFIG, _deciding


def _owner(point: PatchPoint) -> type:
    owner = getattr(importlib.import_module(point.module), point.owner)
    return owner if isinstance(owner, type) else type(owner)


def _function(point: PatchPoint) -> Callable[..., Any]:
    bound = getattr(_owner(point), point.function)
    function: Callable[..., Any] = getattr(bound, "__func__", bound)
    return function


def _wrap(point: PatchPoint, make: Callable[[Callable[..., Any]], Wrapper]) -> None:
    owner, original = _owner(point), _function(point)
    if hasattr(original, _OURS):
        return
    wrapper = functools.wraps(original)(make(original))
    setattr(wrapper, _OURS, True)
    is_classmethod = getattr(getattr(owner, point.function), "__self__", None) is owner
    setattr(owner, point.function, classmethod(wrapper) if is_classmethod else wrapper)


def _deciding(original: Callable[..., Any]) -> Wrapper:
    def create_engine_config(self: Any, *args: Any, **kwargs: Any) -> Any:
        from autotune.in_vllm.deciding import Call, make_config

        usage = _named(0, "usage_context", args, kwargs)
        headless = _named(1, "headless", args, kwargs) is True
        call = Call(getattr(usage, "name", ""), headless)
        return make_config(self, lambda: original(self, *args, **kwargs), call)

    return create_engine_config


def _selecting(original: Callable[..., Any]) -> Wrapper:
    def get_attn_backend_cls(cls: type, selected_backend: Any, *args: Any, **kwargs: Any) -> Any:
        from autotune.in_vllm.selecting import select

        return select(lambda backend: original(cls, backend, *args, **kwargs), selected_backend)

    return get_attn_backend_cls


def _watching(original: Callable[..., Any]) -> Wrapper:
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        from autotune.in_vllm.starts import watched

        with watched(_named(0, "vllm_config", args, kwargs)):
            original(self, *args, **kwargs)

    return __init__


def _naming_us(original: Callable[..., Any]) -> Wrapper:
    def __str__(self: Any) -> str:
        from autotune.in_vllm.stamp import stamp_of

        text: str = original(self)
        stamp = stamp_of(getattr(self, "attention_config", None))
        if stamp is None:
            return text
        return f"{text}, attention_config=({stamp.taken.text}; set by attn-autotune)"

    return __str__


def _named(place: int, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return kwargs[name] if name in kwargs else args[place] if len(args) > place else None
