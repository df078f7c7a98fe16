"""Records the parameters of the published functions that backends call, for tests to bind to.

    python benchmarks/record_signatures.py vllm SITE_PACKAGES > tests/published/signatures-vllm-0.24.0.json
    python benchmarks/record_signatures.py amd-aiter amd_aiter-0.1.20.tar.gz 0.1.20 > ...

Takes a folder, a wheel or a source archive; the version where it is not told inside. Reads the
source; imports nothing. A signature is told as Python writes it, each default as "...".
"""  # noqa: E501

from __future__ import annotations

import ast
import json
import re
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from recorded_functions import PACKAGES, Function


class Source(Protocol):
    """Files of a package, by their path inside it."""

    def names(self) -> Iterable[str]:
        """Of all files."""

    def text(self, name: str) -> str:
        """Of one."""


class Folder:
    """Packages as they are installed."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def names(self) -> Iterable[str]:
        """Metadata and the folders of packages, one level deep, and what is asked for by `text`."""
        return [f"{each.parent.name}/{each.name}" for each in self._root.glob("*/*")]

    def text(self, name: str) -> str:
        """Empty where there is no such file."""
        file = self._root / name
        return file.read_text(encoding="utf-8") if file.is_file() else ""


class Archive:
    """A wheel, or a source archive, whose files lie in a folder of their own."""

    def __init__(self, files: dict[str, str]) -> None:
        self._files = files

    @classmethod
    def of_wheel(cls, path: Path) -> Archive:
        """Reads every Python file and the metadata."""
        with zipfile.ZipFile(path) as wheel:
            names = [name for name in wheel.namelist() if _is_read(name)]
            return cls({name: wheel.read(name).decode("utf-8", "replace") for name in names})

    @classmethod
    def of_tar(cls, path: Path) -> Archive:
        """The same, without the outer folder."""
        with tarfile.open(path) as archive:
            members = [each for each in archive if each.isfile() and _is_read(each.name)]
            return cls(
                {
                    each.name.partition("/")[2]: opened.read().decode("utf-8", "replace")
                    for each in members
                    if (opened := archive.extractfile(each)) is not None
                }
            )

    def names(self) -> Iterable[str]:
        """Of what was read."""
        return self._files

    def text(self, name: str) -> str:
        """Empty where there is no such file."""
        return self._files.get(name, "")


def main(name: str, path: Path, version: str | None) -> None:
    """Print the record."""
    source = _open(path)
    package = PACKAGES[name]
    record = {
        "package": name,
        "version": version or _version(source, name),
        "functions": dict(_recorded(source, package.functions, ":")),
        "operators": dict(_recorded(source, package.operators, "::")),
    }
    json.dump(record, sys.stdout, indent=1)
    print()


def _recorded(
    source: Source, functions: Iterable[Function], sign: str
) -> Iterator[tuple[str, str | None]]:
    """None for what this release does not have."""
    for function in functions:
        texts = (source.text(file) for file in function.files)
        found = [each for text in texts if (each := _signature(ast.parse(text), function.name))]
        yield f"{function.module}{sign}{function.name}", found[0] if found else None


def _signature(tree: ast.Module, name: str) -> str | None:
    """Of the last definition, which is the one behind those that only type checkers read."""
    owner, _, function = name.rpartition(".")
    body = tree.body
    if owner:
        classes = [each for each in body if isinstance(each, ast.ClassDef) and each.name == owner]
        body = classes[-1].body if classes else []
    found = [each for each in _functions(body) if each.name == function]
    return None if not found else f"({ast.unparse(_without_types(found[-1].args))})"


def _functions(body: Iterable[ast.stmt]) -> Iterator[ast.FunctionDef]:
    """Those of a module or class, also where a condition decides whether they exist."""
    for each in body:
        if isinstance(each, ast.FunctionDef):
            yield each
        elif isinstance(each, ast.If | ast.Try):
            yield from _functions([*each.body, *each.orelse])


def _without_types(arguments: ast.arguments) -> ast.arguments:
    """Names, kinds, and where there is a default."""
    default = ast.Constant(...)
    for each in ast.walk(arguments):
        if isinstance(each, ast.arg):
            each.annotation = None
    arguments.defaults = [default for _ in arguments.defaults]
    arguments.kw_defaults = [each and default for each in arguments.kw_defaults]
    return arguments


def _version(source: Source, name: str) -> str:
    """As the distribution's metadata has it, without the build."""
    own = re.compile(rf"{name.replace('-', '[-_]')}(_cpu)?-[^/]*\.dist-info/METADATA|PKG-INFO")
    (text,) = {source.text(each) for each in source.names() if own.fullmatch(each)}
    found = re.search(r"^Version: ([^+\s]+)", text, re.MULTILINE)
    if found is None:
        raise SystemExit(f"{name}: no version in its metadata; give it as the last argument")
    return found[1]


def _open(path: Path) -> Source:
    if path.is_dir():
        return Folder(path)
    return Archive.of_wheel(path) if path.suffix == ".whl" else Archive.of_tar(path)


def _is_read(name: str) -> bool:
    return name.endswith((".py", "/METADATA", "PKG-INFO"))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None)
