"""The names that other code may import."""

from __future__ import annotations

import ast
from pathlib import Path

import autotune
import cache


def test_the_list_is_sorted_and_every_name_is_there() -> None:
    assert sorted(autotune.__all__) == autotune.__all__
    assert len(set(autotune.__all__)) == len(autotune.__all__)
    assert [name for name in autotune.__all__ if not hasattr(autotune, name)] == []


def test_what_is_imported_is_what_is_listed() -> None:
    tree = ast.parse(Path(autotune.__file__).read_text(encoding="utf-8"))
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module not in ("__future__", "typing")
        for alias in node.names
    }
    assert imported == set(autotune.__all__)


def test_what_type_checkers_see_is_what_is_imported() -> None:
    for package in (autotune, cache):
        tree = ast.parse(Path(package.__file__).read_text(encoding="utf-8"))
        seen = {
            alias.name: "." * node.level + (node.module or "")
            for block in ast.walk(tree)
            if isinstance(block, ast.If)
            for node in ast.walk(block)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        late = autotune._MODULES if package is autotune else cache._LATE
        assert {name: module.lstrip(".") for name, module in seen.items()} == late


def test_a_documented_docstring_for_every_name() -> None:
    undocumented = [name for name in autotune.__all__ if not getattr(autotune, name).__doc__]
    assert undocumented == []
