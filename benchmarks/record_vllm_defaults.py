"""Records which attention backends a published vLLM tries, and in what order, on parts that are not
here, for tests to hold ours against.

    python benchmarks/record_vllm_defaults.py SITE_PACKAGES > defaults-vllm-0.32.0.json

Takes a folder that holds the package `vllm` and its dist-info. Runs its own functions, cut out of
its source, with stand-ins around them: the part, the library AITER, the environment, the
configuration, and backends that accept everything.
"""

from __future__ import annotations

import ast
import functools
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple, TypeAlias

from cut_source import Cut, defined, tree

_CUDA, _ROCM, _CPU = (f"vllm/platforms/{name}.py" for name in ("cuda", "rocm", "cpu"))
_AITER, _ENVS = "vllm/_aiter_ops.py", "vllm/envs.py"

CAPABILITIES = ("7.5", "8.0", "8.6", "8.9", "9.0", "10.0", "10.3", "11.0", "12.0", "12.1")
ARCHES = ("gfx90a", "gfx942", "gfx950", "gfx1250", "gfx1100", "gfx1200", "gfx1201")
_USE, _MHA = "VLLM_ROCM_USE_AITER", "VLLM_ROCM_USE_AITER_MHA"
_UNIFIED = "VLLM_ROCM_USE_AITER_UNIFIED_ATTENTION"
ENVIRONS: tuple[Mapping[str, str], ...] = (
    {}, {_USE: "1"}, {_USE: "1", _MHA: "0"}, {_UNIFIED: "1"}, {_USE: "1", _UNIFIED: "1"},
)  # fmt: skip
TEXTS = ("", "0", "1", "true", "True", "yes", "on", " 1")

Asked: TypeAlias = dict[str, object]


@dataclass(frozen=True)
class Backend:
    """A member of its enumeration, which here accepts every configuration."""

    name: str

    def get_class(self) -> Backend:
        """Its class, which is asked next."""
        return self

    def get_path(self) -> str:
        """What the platform answers with."""
        return self.name

    def validate_configuration(self, **_: object) -> list[str]:
        """No reasons."""
        return []

    def supported_kv_cache_layouts(self) -> None:
        """Any."""


class _Backends:
    def __getattr__(self, name: str) -> Backend:
        return Backend(name)


class Capability(NamedTuple):
    """Of a CUDA part, as far as the functions look; they keep what they said of it."""

    major: int
    minor: int


def main(root: Path) -> None:
    """Print the record."""
    head = {
        "package": "vllm",
        "version": _version(root),
        "ran": [
            f"{_CUDA}:CudaPlatformBase.get_valid_backends, _get_backend_priorities",
            f"{_ROCM}:RocmPlatform.get_valid_backends, _get_backend_priorities, _ON_*, on_*,"
            " get_cdna_version",
            f"{_AITER}:is_aiter_found_and_supported, if_aiter_supported, rocm_aiter_ops",
            f"{_ENVS}:environment_variables",
            f"{_CPU}:CpuPlatform.get_attn_backend_cls",
        ],
        "faked": ["the part", "AITER", "os.environ", "the configuration", "every backend's check"],
        "cpu": _cpu(root),
        "flags": {name: _read(root, name) for name in (_USE, _MHA)},
    }
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
    lines += [_rows("cuda", _cuda(root)), _rows("rocm", _rocm(root))]
    print("{", ",\n".join(lines), "}", sep="\n")


def _cuda(root: Path) -> Iterator[Asked]:
    """The order on each compute capability."""
    names = ("_get_backend_priorities", "_get_attn_backend_class", "_BackendCandidate")
    ask = Cut(root / _CUDA, names, "CudaPlatformBase", ("get_valid_backends",)).run(
        {"vllm.utils.torch_utils": SimpleNamespace(is_quantized_kv_cache=lambda _: False)},
        {"AttentionBackendEnum": _Backends(), "NamedTuple": NamedTuple},
    )
    for text, non_causal in product(CAPABILITIES, (False, True)):
        part = Capability(*map(int, text.split(".")))
        found, _ = ask["get_valid_backends"](None, part, _configuration(non_causal))
        order = [each.backend.name for each in found]
        yield {"capability": text, "non_causal": non_causal, "order": order}


def _rocm(root: Path) -> Iterator[Asked]:
    """The order on each architecture, with and without AITER, under its variables."""
    for arch, aiter, encoder, environ in product(ARCHES, (False, True), (False, True), ENVIRONS):
        order = _rocm_order(root, arch, aiter, encoder, environ)
        yield {
            "arch": arch,
            "aiter": aiter,
            "encoder_decoder": encoder,
            "environ": environ,
            "order": order,
        }


def _rocm_order(
    root: Path, arch: str, aiter: bool, encoder: bool, environ: Mapping[str, str]
) -> list[str]:
    modules: dict[str, object] = {}
    around = {"_GCN_ARCH": arch, "AttentionBackendEnum": _Backends()}
    platform = _rocm_cut(root).run(modules, around)
    modules["vllm.platforms.rocm"] = SimpleNamespace(**platform)
    modules["vllm.config"] = SimpleNamespace(
        get_current_vllm_config_or_none=lambda: _run_of("encoder_decoder" if encoder else "decoder")
    )
    flags = {name: _variable(root, name, environ) for name in (_USE, _MHA)}
    around = {
        "current_platform": SimpleNamespace(is_rocm=lambda: True),
        "IS_AITER_FOUND": aiter,
        "envs": SimpleNamespace(**flags),
    }
    modules["vllm._aiter_ops"] = SimpleNamespace(**_aiter_cut(root).run(modules, around))
    found, _ = platform["get_valid_backends"](None, None, _configuration(False))
    return [backend.name for backend, _ in found]


def _run_of(attn_type: str) -> SimpleNamespace:
    """A model of this type."""
    return SimpleNamespace(model_config=SimpleNamespace(attn_type=attn_type), cache_config=None)


def _cpu(root: Path) -> str:
    """The one backend there."""
    cut = Cut(root / _CPU, owner="CpuPlatform", members=("get_attn_backend_cls",))
    ask = cut.run({}, {"AttentionBackendEnum": _Backends()})
    return str(ask["get_attn_backend_cls"](None, None, _configuration(False)))


def _configuration(non_causal: bool) -> SimpleNamespace:
    """A layer with nothing special but this."""
    return SimpleNamespace(
        use_mla=False,
        use_sparse=False,
        use_kv_connector=False,
        use_non_causal=non_causal,
        use_mm_prefix=False,
        head_size=128,
        kv_cache_dtype="auto",
        _asdict=dict,
    )


def _read(root: Path, name: str) -> dict[str, bool]:
    """What each text of a variable says, and what it says where it is not set."""
    said = {text: _variable(root, name, {name: text}) for text in TEXTS}
    return {"unset": _variable(root, name, {}), **said}


def _variable(root: Path, name: str, environ: Mapping[str, str]) -> bool:
    value = _variables(root)[name]
    code = compile(ast.Expression(value), _ENVS, "eval")
    return bool(eval(code, {"os": SimpleNamespace(getenv=environ.get)})())


@functools.cache
def _variables(root: Path) -> dict[str, ast.expr]:
    """The expression behind each name of `environment_variables`."""
    for node in tree(root / _ENVS).body:
        match node:
            case ast.AnnAssign(
                target=ast.Name(id="environment_variables"), value=ast.Dict() as all
            ):
                return {
                    str(key.value): value
                    for key, value in zip(all.keys, all.values, strict=True)
                    if isinstance(key, ast.Constant)
                }
    raise SystemExit(f"{root / _ENVS}: no environment_variables")


@functools.cache
def _rocm_cut(root: Path) -> Cut:
    """The architecture's names come in later releases; those that there are."""
    known = [*defined(root / _ROCM)]
    on = [name for name in known if re.match(r"_ON_|on_", name)]
    helpers = ("_get_backend_priorities", "_get_invalid_reasons", "_uses_turboquant")
    rest = [name for name in (*helpers, "get_cdna_version") if name in known]
    return Cut(root / _ROCM, (*on, *rest), "RocmPlatform", ("get_valid_backends",))


@functools.cache
def _aiter_cut(root: Path) -> Cut:
    names = ("is_aiter_found_and_supported", "if_aiter_supported")
    own = ("_AITER_ENABLED", "_MHA_ENABLED", "is_mha_enabled", "is_rdna_aiter_enabled")
    return Cut(root / _AITER, names, "rocm_aiter_ops", own, inside=True)


def _rows(name: str, rows: Iterable[Asked]) -> str:
    """One a line."""
    inner = ",\n".join(f"  {json.dumps(row)}" for row in rows)
    return f" {json.dumps(name)}: [\n{inner}\n ]"


def _version(root: Path) -> str:
    """Of the package itself: the distribution for CPUs has a name of its own."""
    folders = [each.name for each in root.glob("vllm*.dist-info")]
    (found,) = (m[1] for each in folders if (m := re.fullmatch(r"vllm\w*-(.+)\.dist-info", each)))
    return found.partition("+")[0]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
