"""Records which attention backend a published SGLang takes on parts that are not here, for tests to
hold ours against.

    python benchmarks/record_sglang_defaults.py SITE_PACKAGES > defaults-sglang-0.5.23.json

Takes a folder that holds the package `sglang` and its dist-info. Runs its own rules, cut out of its
source, in the order in which it runs them itself, with stand-ins around them: the part, CUDA 13,
flashinfer, which is there, and the model. No speculation, and nothing that a user set.
"""

from __future__ import annotations

import functools
import json
import re
import sys
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

from cut_source import Cut

_GROUPS = "sglang/srt/arg_groups"
_COMMON, _DEFAULT = "sglang/srt/utils/common.py", f"{_GROUPS}/model_override_base.py"
_AFTER, _CPU = f"{_GROUPS}/overrides.py", f"{_GROUPS}/platform_hook.py"
_LLAMA4, _CHOICES = f"{_GROUPS}/model_overrides/llama4.py", f"{_GROUPS}/choices.py"
_RULES = (
    "_deterministic_attention_backend", "_attention_backend_default",
    "_attention_backend_fa3_fp8_fallback", "_attention_backend_platform_fallbacks",
)  # fmt: skip
_PROBES = {
    "is_sm90": "is_sm90_supported",
    "is_sm100": "is_sm100_supported",
    "is_sm120": "is_sm120_supported",
    "is_hopper_with_cuda_12_3": "is_hopper_with_cuda_12_3",
}
"""Of `runtime_context.py`, `_PLATFORM_PROBES`: what the rules ask, and who answers."""

PARTS = (
    "sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_103", "sm_110", "sm_120", "sm_121",
    "gfx90a", "gfx942", "gfx950", "gfx1100", "gfx1201",
    "x86_64+avx512+amx", "x86_64+avx2", "aarch64+sve2",
)  # fmt: skip
MODELS: Mapping[str, Mapping[str, object]] = {
    "plain": {},
    "sinks": {"has_attention_sinks": True},
    "asymmetric": {"has_asymmetric_kv": True},
    "llama4": {"is_llama4": True},
    "fp8_e5m2": {"kv_cache_dtype": "fp8_e5m2"},
    "fp8_e4m3": {"kv_cache_dtype": "fp8_e4m3"},
    "deterministic": {"enable_deterministic_inference": True},
}
_Row: TypeAlias = dict[str, str]


def main(root: Path) -> None:
    """Print the record."""
    head = {
        "package": "sglang",
        "version": _version(root),
        "ran": [
            f"{_CPU}:handle_cpu_backends",
            f"{_LLAMA4}:_llama4_overrides",
            f"{_AFTER}:{', '.join(_RULES)}",
            f"{_DEFAULT}:get_default_attn_backend",
            f"{_COMMON}:_check_cuda_device_version, {', '.join(_PROBES.values())}",
        ],
        "faked": ["the part", "CUDA 13.0", "flashinfer: there", "the model", "the user's options"],
    }
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
    rows = ",\n".join(f"  {json.dumps(row)}" for row in _rows(root))
    print("{", ",\n".join([*lines, f' "taken": [\n{rows}\n ]']), "}", sep="\n")


def _rows(root: Path) -> Iterator[_Row]:
    """A part, a model, and who is taken; on a CPU a deterministic run is refused."""
    for part, (model, said) in product(PARTS, MODELS.items()):
        try:
            yield {"part": part, "model": model, "backend": _taken(root, part, said)}
        except ValueError:
            yield {"part": part, "model": model, "backend": "refused"}


def _taken(root: Path, part: str, model: Mapping[str, object]) -> str:
    """Rule after rule, each of which sees what those before it decided."""
    is_cpu = not part.startswith(("sm_", "gfx"))
    view = _Arguments(device="cpu" if is_cpu else "cuda", attention_backend=None, **dict(model))
    platform = _platform(root, part)
    rules = _rules(root, view, platform, part)
    rules["handle_cpu_backends"](view)
    if model.get("is_llama4"):
        vars(view).update(rules["_llama4_overrides"](view, None))
    for name in _RULES:
        vars(view).update(rules[name](view))
    return str(view.attention_backend)


class _Arguments(SimpleNamespace):
    """An argument that nobody set is None, or no."""

    def __getattr__(self, name: str) -> None:
        return None


def _platform(root: Path, part: str) -> SimpleNamespace:
    """The part, as SGLang's own probes tell it from its compute capability."""
    sm = int(part.removeprefix("sm_")) if part.startswith("sm_") else 0
    probes = _cut(root / _COMMON, ("_check_cuda_device_version", *_PROBES.values())).run(
        {},
        {
            "is_cuda": lambda: sm > 0,
            "get_device_sm": lambda: sm,
            "torch": SimpleNamespace(version=SimpleNamespace(cuda="13.0")),
            "lru_cache": functools.lru_cache,
            "partial": functools.partial,
        },
    )
    return SimpleNamespace(
        **{name: probes[probe]() for name, probe in _PROBES.items()},
        is_hip=part.startswith("gfx"),
        has_amx="amx" in part,
        has_flashinfer=sm > 0,
    )


def _rules(root: Path, view: _Arguments, platform: object, part: str) -> dict[str, Any]:
    """All of them, and what they call of each other."""

    def declared(_: object, __: str, **fields: object) -> None:
        vars(view).update(fields)

    around: dict[str, Any] = {
        "resolving_view": lambda _: view,
        "resolved_view": lambda _: view,
        "get_platform": lambda: platform,
        "current_platform": SimpleNamespace(is_out_of_tree=lambda: False),
        "model_config_of": lambda _: view,
        "use_mla_backend": lambda _: False,
        "is_mps": lambda: False,
        "is_host_cpu_arm64": lambda: part.startswith("aarch64"),
        "declare_resolution": declared,
        "register_post_process": lambda rule: rule,
        "_register_for": lambda *_: lambda rule: rule,
        "_deterministic_is_deepseek_model": lambda _: False,
        "logger": SimpleNamespace(info=_said, warning=_said),
        "Dict": dict,
        "Any": object,
    }
    view.hf_config = SimpleNamespace(architectures=[])
    choices = _cut(root / _CHOICES, ("DETERMINISTIC_ATTENTION_BACKEND_CHOICES",)).run({}, {})
    modules = {"sglang.srt.server_args": SimpleNamespace(**choices)}
    for file, names in (
        (_COMMON, ("is_no_spec_infer_or_topk_one",)),
        (_DEFAULT, ("get_default_attn_backend",)),
        (_CPU, ("handle_cpu_backends",)),
        (_LLAMA4, ("_llama4_overrides",)),
        (_AFTER, _RULES),
    ):
        around |= _cut(root / file, names).run(modules, around)
    return around


@functools.cache
def _cut(file: Path, names: tuple[str, ...]) -> Cut:
    """Parsed once for all parts."""
    return Cut(file, names)


def _said(*_: object) -> None:
    """To nobody."""


def _version(root: Path) -> str:
    (found,) = (
        re.fullmatch(r"sglang-(.+)\.dist-info", each.name) for each in root.glob("sglang-*")
    )
    return "" if found is None else found[1]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
