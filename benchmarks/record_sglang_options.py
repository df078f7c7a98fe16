"""Records what a published SGLang takes on its command line, for tests to hold ours against.

    unzip sglang-0.5.23-*.whl -d sglang-wheel
    python benchmarks/record_sglang_options.py sglang-wheel > tests/published/sglang-0.5.23.json

Takes a folder that holds the package `sglang` and its dist-info. Reads the source; imports nothing.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FIELDS = "sglang/srt/arg_groups/fields"
_CHOICES = "sglang/srt/arg_groups/choices.py"
_SERVER_ARGS = "sglang/srt/server_args.py"
_SERVE = "sglang/cli/serve.py"
_WITH_CHOICES = (
    "--attention-backend", "--prefill-attention-backend", "--decode-attention-backend",
    "--dtype", "--kv-cache-dtype", "--disaggregation-mode",
)  # fmt: skip


@dataclass(frozen=True)
class Published:
    """One option."""

    names: tuple[str, ...]
    choices: tuple[str, ...] = ()


def main(root: Path) -> None:
    """Print the record."""
    options = [*_declared(root), *_registered(root)]
    record = {
        "package": "sglang",
        "version": _version(root),
        "read": [f"{_FIELDS}/*.py", _SERVER_ARGS, _CHOICES, _SERVE, "entry_points.txt"],
        "scripts": _scripts(root),
        "modules": [name for name in ("sglang.launch_server",) if _is_module(root, name)],
        "serve": sorted(_taken_out(root)),
        "options": sorted(" ".join(each.names) for each in options),
        "choices": {
            name: list(each.choices)
            for name in _WITH_CHOICES
            for each in options
            if name in each.names
        },
    }
    json.dump(record, sys.stdout, indent=1)
    print()


def _declared(root: Path) -> Iterator[Published]:
    """The fields of the classes whose option is made of their annotation."""
    lists = _lists(root / _CHOICES)
    for file in sorted((root / _FIELDS).glob("*.py")):
        for each in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(each, ast.ClassDef):
                for field in each.body:
                    yield from _option(field, lists)


def _option(field: ast.stmt, lists: dict[str, tuple[str, ...]]) -> Iterator[Published]:
    match field:
        case ast.AnnAssign(
            target=ast.Name(id=name),
            annotation=ast.Subscript(
                value=ast.Name(id="A"), slice=ast.Tuple(elts=[kind, *metadata])
            ),
        ):
            pass
        case _:
            return
    settings = {
        keyword.arg: keyword.value
        for each in metadata
        if isinstance(each, ast.Call) and ast.unparse(each.func) == "Arg"
        for keyword in each.keywords
    }
    if "no_cli" in settings:
        return
    own = _texts(settings.get("cli_name"), lists) or (f"--{name.replace('_', '-')}",)
    choices = _texts(settings.get("choices"), lists)
    if not choices and isinstance(kind, ast.Subscript) and ast.unparse(kind.value) == "Literal":
        choices = _texts(kind.slice, lists)
    yield Published((*own, *_texts(settings.get("aliases"), lists)), choices)


def _registered(root: Path) -> Iterator[Published]:
    """Those that are written out as calls of `add_argument`."""
    tree = ast.parse((root / _SERVER_ARGS).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "parser.add_argument":
            yield Published(tuple(str(ast.literal_eval(each)) for each in node.args))


def _taken_out(root: Path) -> set[str]:
    """What `sglang serve` compares words with before the parser sees them."""
    tree = ast.parse((root / _SERVE).read_text(encoding="utf-8"))
    compared = (
        part
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare) and ast.unparse(node.left) == "arg"
        for part in node.comparators
    )
    return {text for part in compared for text in _texts(part, {}) if text.startswith("--")}


def _lists(file: Path) -> dict[str, tuple[str, ...]]:
    """The lists of words at the top of a module."""
    found = {}
    for each in ast.parse(file.read_text(encoding="utf-8")).body:
        match each:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.List() as value):
                found[name] = _texts(value, {})
    return found


def _texts(value: ast.expr | None, lists: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The texts of a literal, or of a list that is known by name."""
    match value:
        case ast.Constant(value=str(text)):
            return (text,)
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            return tuple(text for part in parts for text in _texts(part, lists))
        case ast.Name(id=name):
            return lists.get(name, ())
        case _:
            return ()


def _scripts(root: Path) -> dict[str, str]:
    (file,) = root.glob("sglang-*.dist-info/entry_points.txt")
    lines = (line.partition("=") for line in file.read_text(encoding="utf-8").splitlines())
    return {name.strip(): place.strip() for name, equals, place in lines if equals}


def _version(root: Path) -> str:
    (folder,) = root.glob("sglang-*.dist-info")
    return folder.name.removeprefix("sglang-").removesuffix(".dist-info")


def _is_module(root: Path, name: str) -> bool:
    return (root / f"{name.replace('.', '/')}.py").is_file()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
