"""Fake modules of packages that are not here: each function takes what the published one takes.

    published("vllm-0.24.0").install(monkeypatch, "vllm.v1.attention.ops.x", unified_attention=fake)

A call is bound to the recorded signature first, so that a name or a place that the package does not
know raises TypeError, as there; then the fake gets every argument under its recorded name.
"""

from __future__ import annotations

import ast
import inspect
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from inspect import Parameter
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    import pytest

FOLDER = Path(__file__).parent / "published"


@dataclass(frozen=True)
class Published:
    """A release, and the signatures that were recorded of it."""

    package: str
    version: str
    functions: Mapping[str, str | None]
    operators: Mapping[str, str | None]

    def function(self, name: str, fake: Callable[..., Any]) -> Callable[..., Any]:
        """The fake behind the signature of "module:function" or "module:Class.method"."""
        return _bound(signature_of(name, self.functions[name]), fake)

    def module(self, name: str, **fakes: Callable[..., Any]) -> ModuleType:
        """A module with these functions; "Class.method" makes the class a plain namespace."""
        module = ModuleType(name)
        for path, fake in fakes.items():
            owner, _, function = path.rpartition(".")
            if owner and not hasattr(module, owner):
                setattr(module, owner, SimpleNamespace())
            holder = getattr(module, owner) if owner else module
            setattr(holder, function, self.function(f"{name}:{path}", fake))
        return module

    def class_like(self, name: str, fake: type) -> type:
        """The fake class, each method of "module:Class" that was recorded behind its signature."""
        methods = {
            key.removeprefix(f"{name}."): self.function(key, getattr(fake, key.rpartition(".")[2]))
            for key in self.functions
            if key.startswith(f"{name}.")
        }
        return type(fake.__name__, (fake,), methods)

    def install(
        self, monkeypatch: pytest.MonkeyPatch, name: str, **fakes: Callable[..., Any]
    ) -> None:
        """Put a module where an import finds it."""
        monkeypatch.setitem(sys.modules, name, self.module(name, **fakes))

    def install_operators(
        self, monkeypatch: pytest.MonkeyPatch, name: str, **fakes: Callable[..., Any]
    ) -> None:
        """Put operators where `torch.ops` finds them."""
        operators = {
            each: _bound(signature_of(each, self.operators[f"{name}::{each}"]), fake)
            for each, fake in fakes.items()
        }
        monkeypatch.setattr(torch.ops, name, SimpleNamespace(**operators), raising=False)


@cache
def published(release: str) -> Published:
    """What was recorded of "vllm-0.24.0"."""
    record = json.loads((FOLDER / f"signatures-{release}.json").read_text(encoding="utf-8"))
    return Published(**record)


def signature_of(name: str, text: str | None) -> inspect.Signature:
    """Parameters as recorded: names, kinds, and where there is a default."""
    assert text is not None, f"{name}: this release has none"
    (definition,) = ast.parse(f"def recorded{text}: ...").body
    assert isinstance(definition, ast.FunctionDef)
    taken = definition.args
    by_place = [*taken.posonlyargs, *taken.args]
    required = len(by_place) - len(taken.defaults)
    parameters = [
        _parameter(
            each.arg,
            Parameter.POSITIONAL_ONLY
            if place < len(taken.posonlyargs)
            else Parameter.POSITIONAL_OR_KEYWORD,
            place >= required,
        )
        for place, each in enumerate(by_place)
    ]
    if taken.vararg is not None:
        parameters.append(_parameter(taken.vararg.arg, Parameter.VAR_POSITIONAL, False))
    parameters += [
        _parameter(each.arg, Parameter.KEYWORD_ONLY, default is not None)
        for each, default in zip(taken.kwonlyargs, taken.kw_defaults, strict=True)
    ]
    if taken.kwarg is not None:
        parameters.append(_parameter(taken.kwarg.arg, Parameter.VAR_KEYWORD, False))
    return inspect.Signature(parameters)


def _parameter(name: str, kind: Any, has_default: bool) -> Parameter:
    return Parameter(name, kind, default=... if has_default else Parameter.empty)


def _bound(signature: inspect.Signature, fake: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        named: dict[str, Any] = {}
        for name, value in bound.arguments.items():
            match signature.parameters[name].kind:
                case Parameter.VAR_POSITIONAL:
                    raise TypeError(f"{value}: the fake is called by names")
                case Parameter.VAR_KEYWORD:
                    named.update(value)
                case _:
                    named[name] = value
        return fake(**named)

    return call
