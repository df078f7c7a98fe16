"""Some definitions of a published module, run without the rest of it and without importing it."""

from __future__ import annotations

import ast
import builtins
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any


class Cut:
    """Top-level definitions by name, and members of one class: as functions of their own, or where
    they call each other by its name, inside it.
    """

    def __init__(
        self,
        file: Path,
        names: Iterable[str] = (),
        owner: str = "",
        members: Iterable[str] = (),
        *,
        inside: bool = False,
    ) -> None:
        body = _named(tree(file).body, names)
        for each in tree(file).body:
            if isinstance(each, ast.ClassDef) and each.name == owner:
                cut = _named(each.body, members)
                body += [ast.ClassDef(owner, [], [], cut, [])] if inside else map(_bare, cut)
        module = ast.fix_missing_locations(ast.Module(body, []))
        # Annotations name what is not there.
        flags = annotations.compiler_flag
        self._code = compile(module, str(file), "exec", flags, dont_inherit=True)

    def run(self, modules: Mapping[str, object], around: Mapping[str, object]) -> dict[str, Any]:
        """Define them amid these names; what they import is looked up in `modules`."""

        def imported(name: str, *_: object) -> object:
            return modules[name]

        names = {"cache": functools.cache, "functools": functools, **around, "__name__": "cut"}
        names["__builtins__"] = {**vars(builtins), "__import__": imported}
        exec(self._code, names)
        return names


def defined(file: Path) -> Iterator[str]:
    """The names of a module's own definitions."""
    return (name for node in tree(file).body if (name := _name(node)) is not None)


def tree(file: Path) -> ast.Module:
    """Its source, parsed."""
    return ast.parse(file.read_text(encoding="utf-8"))


def _named(body: Sequence[ast.stmt], names: Iterable[str]) -> list[ast.stmt]:
    """In the order of the source."""
    wanted = frozenset(names)
    return [each for each in body if _name(each) in wanted]


def _name(node: ast.stmt) -> str | None:
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return name
        case ast.Assign(targets=[*_, ast.Name(id=name)]):
            return name
    return None


def _bare(node: ast.stmt) -> ast.stmt:
    """A class method becomes a function of `cls`."""
    if isinstance(node, ast.FunctionDef):
        node.decorator_list = []
    return node
