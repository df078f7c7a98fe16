"""Records what a published vLLM takes on its command line, for tests to hold ours against.

    python benchmarks/record_vllm_options.py SITE_PACKAGES > tests/published/vllm-0.32.0.json

Takes a folder that holds the package `vllm` and its dist-info. Reads the source; imports nothing.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

_ENGINE = "vllm/engine/arg_utils.py"
_BACKENDS = "vllm/v1/attention/backends/registry.py"
_CONFIG = "vllm/config/attention.py"
_KINDS = "vllm/v1/kv_cache_interface.py"
_PLATFORMS = "vllm/platforms"
_WRAPPED = (
    (_ENGINE, "EngineArgs", "create_engine_config"),
    (f"{_PLATFORMS}/cuda.py", "CudaPlatformBase", "get_attn_backend_cls"),
    (f"{_PLATFORMS}/rocm.py", "RocmPlatform", "get_attn_backend_cls"),
    (f"{_PLATFORMS}/cpu.py", "CpuPlatform", "get_attn_backend_cls"),
    ("vllm/v1/engine/async_llm.py", "AsyncLLM", "__init__"),
    ("vllm/v1/engine/llm_engine.py", "LLMEngine", "__init__"),
    ("vllm/config/vllm.py", "VllmConfig", "__str__"),
    (_CONFIG, "AttentionConfig", "validate_backend_before"),
)
"""What the plug-in wraps or calls: file, class, function."""
_MODULES = ("vllm.entrypoints.openai.api_server", "vllm.entrypoints.cli.main")


def main(root: Path) -> None:
    """Print the record."""
    server = _server_file(root)
    options = {*_registered(root / _ENGINE), *_registered(server), *_frontend(server)}
    record = {
        "package": "vllm",
        "version": _version(root),
        "read": [_ENGINE, str(server.relative_to(root)), _CONFIG, _BACKENDS, _KINDS],
        "modules": [name for name in _MODULES if _is_program(root, name)],
        "subcommands": sorted(_subcommands(root)),
        "options": sorted(options),
        "attention_config": _fields(root / _CONFIG, "AttentionConfig"),
        "attention_backends": _members(root / _BACKENDS, "AttentionBackendEnum"),
        "kv_cache_kinds": _values(root / _KINDS, "KVCacheSpecKind"),
        "functions": {
            f"{file}:{owner}.{name}": _parameters(root / file, owner, name)
            for file, owner, name in _WRAPPED
        },
    }
    json.dump(record, sys.stdout, indent=1)
    print()


def _server_file(root: Path) -> Path:
    """It moved from entrypoints/openai to entrypoints/launchers on the way."""
    (file,) = (root / "vllm" / "entrypoints").glob("*/cli_args.py")
    return file


def _registered(file: Path) -> Iterator[str]:
    """The names of each option that is written out as a call of `add_argument`."""
    for node in ast.walk(_tree(file)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".add_argument"):
            names = [each.value for each in node.args if isinstance(each, ast.Constant)]
            if names and all(str(name).startswith("-") for name in names):
                yield " ".join(map(str, names))


def _frontend(file: Path) -> Iterator[str]:
    """Those of the server, made of the fields of its classes."""
    for each in _tree(file).body:
        if isinstance(each, ast.ClassDef) and each.name.endswith("FrontendArgs"):
            yield from (f"--{name.replace('_', '-')}" for name in _fields(file, each.name))


def _fields(file: Path, name: str) -> list[str]:
    """The annotated names of a class."""
    return [
        each.target.id
        for each in _class(file, name).body
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
    ]


def _parameters(file: Path, owner: str, name: str) -> list[str] | None:
    """Of a method, in order; None where the class has none of that name."""
    for each in _class(file, owner).body:
        if isinstance(each, ast.FunctionDef) and each.name == name:
            return [argument.arg for argument in each.args.args]
    return None


def _members(file: Path, name: str) -> list[str]:
    """The names of an enum's members."""
    return [member for member, _ in _assigned(file, name)]


def _values(file: Path, name: str) -> list[str]:
    """Their values."""
    return [value for _, value in _assigned(file, name)]


def _assigned(file: Path, name: str) -> Iterator[tuple[str, str]]:
    for each in _class(file, name).body:
        match each:
            case ast.Assign(targets=[ast.Name(id=member)], value=value):
                yield member, str(value.value) if isinstance(value, ast.Constant) else ""


def _class(file: Path, name: str) -> ast.ClassDef:
    found = ast.ClassDef(name, [], [], [], [])
    for each in _tree(file).body:
        if isinstance(each, ast.ClassDef) and each.name == name:
            found = each
    return found


def _subcommands(root: Path) -> Iterator[str]:
    """The `name` of each class of the command line."""
    for file in (root / "vllm" / "entrypoints" / "cli").rglob("*.py"):
        for each in _tree(file).body:
            if isinstance(each, ast.ClassDef):
                yield from (name for name in _named(each))


def _named(subcommand: ast.ClassDef) -> Iterator[str]:
    for each in subcommand.body:
        match each:
            case ast.Assign(targets=[ast.Name(id="name")], value=ast.Constant(value=str(name))):
                yield name


def _is_program(root: Path, name: str) -> bool:
    file = root / f"{name.replace('.', '/')}.py"
    return file.is_file() and '__name__ == "__main__"' in file.read_text(encoding="utf-8")


def _version(root: Path) -> str:
    """Of the package itself: the distribution for CPUs has a name of its own."""
    folders = [each.name for each in root.glob("vllm*.dist-info")]
    (found,) = (m[1] for each in folders if (m := re.fullmatch(r"vllm\w*-(.+)\.dist-info", each)))
    return found.partition("+")[0]


def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
