"""Imports run one way: autotune -> kernels_bench, autotune -> cache, and nothing else."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from setuptools import Distribution
from setuptools.config.pyprojecttoml import read_configuration

import autotune

ROOT = Path(autotune.__file__).parents[1]
PACKAGES = ("autotune", "cache", "kernels_bench")
HEAVY = {"torch", "numpy", "rich", "triton", "sqlite_utils"}
"""Slow to import, or not to be imported outside the measuring process."""


@dataclass(frozen=True)
class Import:
    file: str
    module: str
    """As written; a relative one starts with its dots."""
    at_import: bool
    """Runs when the module is imported: outside functions and TYPE_CHECKING."""

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]


def imports_of(file: Path) -> Iterator[Import]:
    name = str(file.relative_to(ROOT))
    tree = ast.parse(file.read_text(encoding="utf-8"))
    yield from _imports(tree, name, True)


def _imports(node: ast.AST, file: str, at_import: bool) -> Iterator[Import]:
    match node:
        case ast.Import(names=names):
            yield from (Import(file, alias.name, at_import) for alias in names)
        case ast.ImportFrom(module=None, level=level, names=names):
            yield from (Import(file, "." * level + alias.name, at_import) for alias in names)
        case ast.ImportFrom(module=str(module), level=level):
            yield Import(file, "." * level + module, at_import)
        case ast.Call(func=function, args=[ast.Constant(value=str(module)), *_]):
            # importlib.import_module("cache") is an import as well.
            if ast.unparse(function).rpartition(".")[2] in ("import_module", "__import__"):
                yield Import(file, module, at_import)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        at_import = False
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        for child in node.body:
            yield from _imports(child, file, False)
        for child in node.orelse:
            yield from _imports(child, file, at_import)
        return
    for child in ast.iter_child_nodes(node):
        yield from _imports(child, file, at_import)


IMPORTS = tuple(
    found
    for package in PACKAGES
    for file in sorted((ROOT / package).rglob("*.py"))
    for found in imports_of(file)
)


def imports_in(package: str) -> list[Import]:
    return [found for found in IMPORTS if found.file.startswith(f"{package}{os.sep}")]


def test_the_walk_sees_imports() -> None:
    assert len(IMPORTS) > 300
    assert Import("autotune/today.py", "kernels_bench.spec", True) in IMPORTS
    assert Import("cache/store.py", "sqlite_utils", False) in IMPORTS
    assert Import("cache/store.py", ".reader", True) in IMPORTS
    assert Import("autotune/table.py", "rich.table", False) in IMPORTS
    assert Import("cache/store.py", ".schema", False) in IMPORTS


def test_the_cache_imports_nothing_else_of_ours() -> None:
    assert [found for found in imports_in("cache") if found.top in PACKAGES] == []


def test_measuring_imports_neither_deciding_nor_remembering() -> None:
    wrong = [found for found in imports_in("kernels_bench") if found.top in ("autotune", "cache")]
    assert wrong == []


def test_one_door_leads_to_the_cache() -> None:
    through = {found.file for found in IMPORTS if found.top == "cache"}
    assert through == {"autotune/_store.py"}


def test_relative_imports_are_the_cache_s_alone() -> None:
    assert {Path(found.file).parts[0] for found in IMPORTS if not found.top} == {"cache"}
    absolute = {found.top for found in imports_in("cache") if found.top}
    assert absolute & set(PACKAGES) == set()


def test_importing_a_module_imports_nothing_heavy() -> None:
    heavy = [found for found in IMPORTS if found.at_import and found.top in HEAVY]
    # Migrations and kernels are decorated functions: their modules need the library, and are needed
    # late.
    late = ("cache/schema.py", "cache/migrations.py", "kernels_bench/triton_kernels/")
    assert [found for found in heavy if not found.file.startswith(late)] == []
    assert [found for found in IMPORTS if found.module == ".schema" and found.at_import] == []
    early = [found for found in imports_in("kernels_bench/backends") if found.at_import]
    assert [found for found in early if "triton_kernels" in found.module] == []


def modules_after(code: str, *arguments: str, environ: dict[str, str] | None = None) -> set[str]:
    """Top-level modules that a fresh process holds at its end; its output is thrown away."""
    script = (
        "import json, os, sys\n"
        "out = os.dup(1)\n"
        "os.dup2(os.open(os.devnull, os.O_WRONLY), 1)\n"
        f"try:\n    {code}\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "os.write(out, json.dumps(sorted(sys.modules)).encode())\n"
    )
    child = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(environ or {})},
        check=True,
    )
    names: list[str] = json.loads(child.stdout)
    return {name.partition(".")[0] for name in names}


RUN = "from autotune.__main__ import main; main()"


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        ("import autotune", ()),
        (RUN, ("choose", "--model", "llama-3.1-8b", "--device", "cpu")),
        (RUN, ("choose", "--model", "llama-3.1-8b", "--device", "cpu", "--json")),
        (RUN, ("cache", "ls")),
        (RUN, ("cache", "path")),
    ],
)
def test_reading_an_answer_brings_in_no_library(code: str, arguments: tuple[str, ...]) -> None:
    loaded = modules_after(code, *arguments)
    assert "autotune" in loaded
    assert loaded & HEAVY == set()


def test_the_search_sees_what_is_loaded() -> None:
    assert "rich" in modules_after(RUN, "models")


def test_the_packages_listed_are_the_folders_with_code() -> None:
    listed = read_configuration(ROOT / "pyproject.toml")["tool"]["setuptools"]["packages"]
    folders = {
        ".".join(file.parent.relative_to(ROOT).parts)
        for package in PACKAGES
        for file in (ROOT / package).rglob("__init__.py")
    }
    assert listed == sorted(folders)


def test_a_wheel_holds_three_top_level_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    distribution = Distribution()
    distribution.parse_config_files()
    names = {package.partition(".")[0] for package in distribution.packages or []}
    assert names == set(PACKAGES)
    assert not distribution.py_modules


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_says_that_it_is_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()
