"""AITER's unified kernel as published: it compiles for AMD's GPUs as it would be launched there,
fits their shared memory, and is right under Triton's interpreter, called by our adapter.

Read from the wheel that `make test-published` downloads; no device is needed. AITER's own packages
ask for a GPU when they are imported, so that its files are loaded without them.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from fake_kernels import make_batch
from rocm_trials import MI300

from kernels_bench.backends.aiter_unified import BACKEND
from kernels_bench.gate import check, make_truth
from kernels_bench.spec import AttentionSpec, Pages

pytestmark = pytest.mark.published

WHEELS = Path(sys.prefix) / "published"
SHARED_KIB = {"gfx942": 64, "gfx950": 160}
PACKAGES = (
    "aiter",
    "aiter.ops",
    "aiter.ops.triton",
    "aiter.ops.triton._triton_kernels",
    "aiter.ops.triton.utils",
    "aiter.ops.triton.utils._triton",
)
KERNELS = ("kernel_unified_attention_2d", "kernel_unified_attention_3d", "reduce_segments")
OPTIONS = ("num_warps", "num_stages", "waves_per_eu")
MI300_UNITS = 304
SPEC = AttentionSpec(32, 8, 128, "bfloat16", num_layers=1)
RICH = replace(SPEC, sliding_window=1024, logit_softcap=50.0, has_sinks=True, has_alibi=True)


@dataclass(frozen=True)
class Case:
    """A launch of so many requests."""

    spec: AttentionSpec
    requests: int
    new_tokens: int
    page_size: int = 64
    max_seq_len: int = 4096


@dataclass(frozen=True)
class Built:
    kernel: str
    shared_bytes: int


@dataclass
class Recorder:
    """Stands for a kernel; knows what it was launched with."""

    kernel: Any
    launches: list[tuple[Any, dict[str, Any]]] = field(default_factory=list)

    def __getitem__(self, grid: object) -> Callable[..., None]:
        return lambda **arguments: self.launches.append((self.kernel, arguments))


@pytest.fixture(scope="module")
def compilers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessPoolExecutor]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TRITON_INTERPRET", raising=False)
        patch.setenv("TRITON_CACHE_DIR", str(tmp_path_factory.mktemp("triton")))
        with ProcessPoolExecutor(2, get_context("spawn")) as pool:
            yield pool


@pytest.fixture(scope="module")
def interpreter() -> Iterator[ProcessPoolExecutor]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            yield pool


def load(arch: str) -> ModuleType:
    """AITER's launcher, as on such a device."""
    (wheel,) = WHEELS.glob("amd_aiter-*.whl")
    for name in PACKAGES:
        package = ModuleType(name)
        package.__path__ = [f"{wheel}/{name.replace('.', '/')}"]
        sys.modules[name] = package
    arch_info = ModuleType(f"{PACKAGES[-1]}.arch_info")
    vars(arch_info)["get_arch"] = lambda: arch
    sys.modules[arch_info.__name__] = arch_info
    vars(sys.modules[PACKAGES[-1]])["arch_info"] = arch_info
    launcher = import_module("aiter.ops.triton.unified_attention")
    vars(launcher)["get_num_sms"] = lambda: MI300_UNITS
    return launcher


def build(arch: str, case: Case) -> list[Built]:
    """In the child: every kernel of one call."""
    launcher = load(arch)
    launches: list[tuple[Any, dict[str, Any]]] = []
    for name in KERNELS:
        published = getattr(launcher, name)
        kernel = published.kernel if isinstance(published, Recorder) else published
        vars(launcher)[name] = Recorder(kernel, launches)
    launcher.unified_attention(**arguments_of(case))
    return [compiled(arch, kernel, arguments) for kernel, arguments in launches]


def arguments_of(case: Case) -> dict[str, Any]:
    """As `aiter_unified` gives them; nothing is allocated."""
    spec = case.spec

    def empty(*shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
        return torch.empty(shape, dtype=dtype, device="meta")

    query = empty(case.requests * case.new_tokens, spec.num_q_heads, spec.head_dim)
    cache = empty(99, case.page_size, spec.num_kv_heads, spec.head_dim)
    one, by_head = empty(dtype=torch.float32), empty(spec.num_q_heads, dtype=torch.float32)
    columns = case.max_seq_len // case.page_size
    return {
        "q": query,
        "k": cache,
        "v": cache,
        "out": query,
        "cu_seqlens_q": empty(case.requests + 1, dtype=torch.int32),
        "max_seqlen_q": case.new_tokens,
        "seqused_k": empty(case.requests, dtype=torch.int32),
        "max_seqlen_k": case.max_seq_len,
        "softmax_scale": spec.scale,
        "causal": True,
        "window_size": (-1, -1) if spec.sliding_window is None else (spec.sliding_window - 1, 0),
        "block_table": empty(case.requests, columns, dtype=torch.int32),
        "softcap": spec.logit_softcap or 0.0,
        "q_descale": None,
        "k_descale": one,
        "v_descale": one,
        "alibi_slopes": by_head if spec.has_alibi else None,
        "sinks": by_head if spec.has_sinks else None,
    }


def compiled(arch: str, kernel: Any, arguments: dict[str, Any]) -> Built:
    """As a launch would compile it: strides and pointers are multiples of 16."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    signature: dict[str, str] = {}
    values: dict[str, Any] = {}
    aligned = {}
    for place, parameter in enumerate(kernel.params):
        value = arguments.get(parameter.name, parameter.default)
        kind = "constexpr" if parameter.is_constexpr else kind_of(parameter, value)
        signature[parameter.name] = kind
        if kind == "constexpr":
            values[parameter.name] = value
        elif kind.startswith("*") or (isinstance(value, int) and value % 16 == 0):
            aligned[(place,)] = [["tt.divisibility", 16]]
    options = {name: arguments[name] for name in OPTIONS if name in arguments}
    source = ASTSource(kernel, signature, values, aligned)
    built = triton.compile(source, target=GPUTarget("hip", arch, 64), options=options)
    return Built(kernel.fn.__name__, built.metadata.shared)


def kind_of(parameter: Any, value: object) -> str:
    match value:
        case torch.Tensor(dtype=dtype):
            names = {torch.bfloat16: "*bf16", torch.float32: "*fp32", torch.int32: "*i32"}
            return names[dtype]
        case None:
            return "constexpr"
        case float():
            return "fp32"
        case _:
            return str(parameter.annotation_type or "i32")


@pytest.mark.parametrize("arch", SHARED_KIB)
@pytest.mark.parametrize(
    ("case", "kernels"),
    [
        (Case(SPEC, 8, 1), KERNELS[1:]),
        (Case(replace(SPEC, head_dim=256), 8, 1, 16), KERNELS[1:]),
        (Case(SPEC, 4, 512), KERNELS[:1]),
        (Case(RICH, 8, 1), KERNELS[:1]),
        (Case(replace(RICH, head_dim=256), 8, 1), KERNELS[:1]),
        (Case(replace(RICH, num_q_heads=28, num_kv_heads=4), 4, 512, 32), KERNELS[:1]),
    ],
    ids=["split", "split, wide", "prompt", "window", "window, wide", "window, prompt"],
)
def test_every_kernel_compiles_and_fits(
    compilers: ProcessPoolExecutor, case: Case, kernels: tuple[str, ...], arch: str
) -> None:
    built = compilers.submit(build, arch, case).result()
    assert tuple(each.kernel for each in built) == kernels
    assert max(each.shared_bytes for each in built) <= SHARED_KIB[arch] << 10


@pytest.mark.parametrize(
    "case", [Case(RICH, 8, 1, 128), Case(replace(SPEC, head_dim=512), 4, 512)], ids=str
)
def test_what_is_refused_does_not_fit(compilers: ProcessPoolExecutor, case: Case) -> None:
    (built,) = compilers.submit(build, "gfx942", case).result()
    assert built.shared_bytes > SHARED_KIB["gfx942"] << 10


def test_padded_heads_do_not_compile_where_contexts_are_split(
    compilers: ProcessPoolExecutor,
) -> None:
    split = compilers.submit(build_error, "gfx942", Case(replace(SPEC, head_dim=80), 8, 1))
    assert "offs_d is not defined" in split.result()
    window = Case(replace(RICH, head_dim=80), 8, 1)
    assert compilers.submit(build_error, "gfx942", window).result() == ""


def build_error(arch: str, case: Case) -> str:
    """In the child: an error of the compiler's own does not travel."""
    from triton.compiler.errors import CompilationError

    try:
        build(arch, case)
    except CompilationError as error:
        return str(error)
    return ""


def interpret(spec: AttentionSpec, text: str, page_size: int) -> str | None:
    """In the child: the check that failed. On random numbers it warns of what it then discards."""
    load("gfx950")
    contents, batch = make_batch(spec, text, Pages(page_size))
    (variant,) = BACKEND.variants(MI300, spec, {})
    batch.max_seq_len = 1024  # contexts are split above 512
    launch = BACKEND.prepare(variant, spec, batch)
    launch.plan()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        launch.run()
    wrong = check(make_truth(spec, contents), batch.output)
    return None if wrong is None else wrong.check


@pytest.mark.parametrize("text", ["2q1s90v50_q1s16", "q20_2q5v9", "2q4s50", "q1s40_q33_q20s64"])
@pytest.mark.parametrize(
    "features",
    [
        {},
        {"has_sinks": True, "sliding_window": 24},
        {"logit_softcap": 5.0, "softmax_scale": 0.3},
        {"has_alibi": True},
        {"num_q_heads": 7, "num_kv_heads": 1},
    ],
    ids=str,
)
def test_the_published_kernel_is_right_as_it_is_called(
    interpreter: ProcessPoolExecutor, features: dict[str, Any], text: str
) -> None:
    """In float16: the interpreter's bfloat16 products are wrong."""
    spec = replace(AttentionSpec(4, 2, 32, "float16", num_layers=1), **features)
    assert interpreter.submit(interpret, spec, text, 16).result() is None
