"""Our Triton kernels compile for every architecture that we name, and fit its shared memory.

No device is needed. The compiler runs in processes of its own, with a cache of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from importlib.util import find_spec
from multiprocessing import get_context
from typing import Any, Literal

import pytest

from kernels_bench.backends._triton_tiles import Tile, least_shared_kib, num_stages, shared_kib
from kernels_bench.backends.triton_split import pairs_at
from kernels_bench.backends.triton_unified import tiles_at
from kernels_bench.spec import AttentionSpec
from kernels_bench.triton_kernels.operands import constants_of

pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")

ARCHES = (
    "sm_80", "sm_90", "sm_100", "sm_120",
    "gfx90a", "gfx942", "gfx950", "gfx1100", "gfx1201",
)  # fmt: skip
SHARED_KIB = {arch: shared_kib(arch) or 0 for arch in ARCHES}
PLAIN = AttentionSpec(32, 8, 128, "bfloat16", num_layers=1)
RICH = replace(PLAIN, num_q_heads=28, num_kv_heads=4, sliding_window=1024, logit_softcap=50.0)
WIDE = replace(PLAIN, head_dim=256)
RICH_WIDE = replace(RICH, head_dim=256)
WIDEST = replace(PLAIN, head_dim=512, num_q_heads=16)
SEGMENTS = 16
TYPES = {
    **dict.fromkeys(("query", "key_cache", "value_cache", "output"), "*bf16"),
    **dict.fromkeys(("block_table", "seq_lens", "query_start_loc", "tiles", "requests"), "*i32"),
    **dict.fromkeys(("partial_values", "partial_peaks", "partial_totals"), "*fp32"),
    "scale": "fp32",
}
"""Of parameters; strides and counts are "i32"."""


@dataclass(frozen=True)
class Case:
    kernel: Literal["unified", "prefill", "decode", "reduce"]
    tile: Tile
    spec: AttentionSpec
    segments: int = SEGMENTS


@dataclass(frozen=True)
class Built:
    shared_bytes: int
    ttir: str


def cases() -> Iterator[Case]:
    """Every tile of every kernel, each feature and each head_dim with every kernel."""
    for spec in (PLAIN, RICH_WIDE):
        yield from (Case("unified", tile, spec) for tile in tiles_at(spec))
    for first, second in ((PLAIN, RICH_WIDE), (RICH, WIDE)):
        yield from (
            Case("prefill", pairs_at(first)[0].prefill, first),
            Case("prefill", pairs_at(second)[1].prefill, second),
            Case("decode", pairs_at(first)[0].decode, first, segments=1),
            Case("decode", pairs_at(second)[1].decode, second),
        )
    yield Case("reduce", pairs_at(RICH_WIDE)[0].decode, RICH_WIDE)


@pytest.fixture(scope="module")
def compilers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessPoolExecutor]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TRITON_INTERPRET", raising=False)
        patch.setenv("TRITON_CACHE_DIR", str(tmp_path_factory.mktemp("triton")))
        with ProcessPoolExecutor(2, get_context("spawn")) as pool:
            yield pool


def build(arch: str, case: Case) -> Built:
    """In the child."""
    import triton
    from triton.compiler import ASTSource

    kernel = kernel_of(case)
    constants = constants_of(case.spec, 16, case.tile)
    known = {name.upper(): value for name, value in constants._asdict().items()}
    known["SEGMENTS"] = case.segments
    values = {name: known[name] for name in kernel.arg_names if name in known}
    signature = {
        name: "constexpr" if name in values else TYPES.get(name, "i32") for name in kernel.arg_names
    }
    if case.kernel == "decode" and case.segments == 1:
        unused = [name for name in kernel.arg_names if name.startswith("partial_")]
        signature.update(dict.fromkeys(unused, "constexpr"))
        values.update(dict.fromkeys(unused))
    # As at a launch: allocations start on 16 bytes, and our strides are multiples of 16.
    aligned = {
        (index,): [["tt.divisibility", 16]]
        for index, (name, kind) in enumerate(signature.items())
        if kind.startswith("*") or name.endswith("_stride")
    }
    options = {
        "num_warps": case.tile.warps,
        "num_stages": num_stages(case.tile, case.spec, SHARED_KIB[arch] << 10),
    }
    source = ASTSource(kernel, signature, values, aligned)
    built = triton.compile(source, target=target(arch), options=options)
    return Built(built.metadata.shared, built.asm["ttir"])


def kernel_of(case: Case) -> Any:
    from kernels_bench.triton_kernels.decode import decode_kernel
    from kernels_bench.triton_kernels.prefill import prefill_kernel
    from kernels_bench.triton_kernels.segments import reduce_kernel
    from kernels_bench.triton_kernels.unified import unified_kernel

    return {
        "unified": unified_kernel,
        "prefill": prefill_kernel,
        "decode": decode_kernel,
        "reduce": reduce_kernel,
    }[case.kernel]


def target(arch: str) -> Any:
    from triton.backends.compiler import GPUTarget

    if arch.startswith("sm_"):
        return GPUTarget("cuda", int(arch.removeprefix("sm_")), 32)
    return GPUTarget("hip", arch, 64 if arch.startswith("gfx9") else 32)


@pytest.mark.parametrize("arch", SHARED_KIB)
def test_every_kernel_compiles_and_fits(compilers: ProcessPoolExecutor, arch: str) -> None:
    asked = tuple(cases())
    built = compilers.map(build, [arch] * len(asked), asked)
    too_much = {
        case: result.shared_bytes
        for case, result in zip(asked, built, strict=True)
        if result.shared_bytes > SHARED_KIB[arch] << 10
    }
    assert too_much == {}


@pytest.mark.parametrize("arch", SHARED_KIB)
def test_the_widest_heads_take_what_the_refusals_count_with(
    compilers: ProcessPoolExecutor, arch: str
) -> None:
    asked = [Case("unified", tile, WIDEST) for tile in tiles_at(WIDEST)]
    fit = [c for c in asked if least_shared_kib(c.tile, WIDEST, arch) <= SHARED_KIB[arch]]
    assert [c.tile.rows for c in fit if c.tile.rows < 64] == [16]
    for case, built in zip(fit, compilers.map(build, [arch] * len(fit), fit), strict=True):
        assert built.shared_bytes <= SHARED_KIB[arch] << 10, case


def test_pages_are_reached_with_64_bits(compilers: ProcessPoolExecutor) -> None:
    """A pool of pages exceeds 2**31 elements, and page times stride must not wrap."""
    tile = tiles_at(PLAIN)[0]
    built = compilers.submit(build, "sm_90", Case("unified", tile, PLAIN)).result()
    products = re.findall(rf"arith.muli .*tensor<{tile.keys}x(i\d+)>", built.ttir)
    # Of keys and of values: a page and a slot.
    assert products.count("i64") >= 2
