"""The names that other code may import."""

from __future__ import annotations

import ast
from pathlib import Path

import autotune


def test_the_list_is_sorted_and_every_name_is_there() -> None:
    assert sorted(autotune.__all__) == autotune.__all__
    assert len(set(autotune.__all__)) == len(autotune.__all__)
    assert [name for name in autotune.__all__ if not hasattr(autotune, name)] == []


def test_what_is_imported_is_what_is_listed() -> None:
    tree = ast.parse(Path(autotune.__file__).read_text(encoding="utf-8"))
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module != "__future__"
        for alias in node.names
    }
    assert imported == set(autotune.__all__)


def test_a_documented_docstring_for_every_name() -> None:
    undocumented = [name for name in autotune.__all__ if not getattr(autotune, name).__doc__]
    assert undocumented == []
