"""Packages that are listed as installed and do not load: who is named, and what there is to do."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import cast

import pytest
from bench_tasks import SPEC
from fake_kernels import make_batch
from fakes import write_distribution

from kernels_bench import binding
from kernels_bench.binding import prepared
from kernels_bench.candidates import Entrant
from kernels_bench.failures import failure
from kernels_bench.spec import Failed, Pages, Variant


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages; the metadata of `fast-attn` 2.8.3 are in it, and no module."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    write_distribution(folder, "fast_attn", "2.8.3")
    monkeypatch.syspath_prepend(str(folder))
    for name in [each for each in sys.modules if each.partition(".")[0] == "fast_attn"]:
        monkeypatch.delitem(sys.modules, name)
    return folder


def write_module(site: Path, text: str, name: str = "__init__") -> None:
    (site / "fast_attn").mkdir(exist_ok=True)
    (site / "fast_attn" / f"{name}.py").write_text(text)


@dataclass(frozen=True)
class Imports:
    """A backend that binds by importing its package."""

    module: str

    def prepare(self, *_: object) -> object:
        return import_module(self.module)


def bind(monkeypatch: pytest.MonkeyPatch, module: str, *packages: str) -> Failed:
    """The outcome of a candidate whose `prepare` imports this module."""
    binding._backend.cache_clear()
    monkeypatch.setattr(binding, "find_backend", lambda _: cast("object", Imports(module)))
    _, batch = make_batch(SPEC, "3q1s40", Pages(16))
    who = Entrant("imports", Variant("plain", packages), Pages(16))
    try:
        prepared(who, SPEC, batch)
    except Exception as error:
        return failure(error)
    finally:
        binding._backend.cache_clear()
    raise AssertionError(f"{module} was imported")


LIBRARY = "libcudart.so.13: cannot open shared object file: No such file or directory"
SYMBOL = "/x/fast_attn/_C.abi3.so: undefined symbol: _ZN3c104cuda9SetDeviceEi"
OWN_FILE = "/x/fast_attn/_C.abi3.so: cannot open shared object file: No such file or directory"
REINSTALL = "is half installed: pip install --force-reinstall --no-deps fast-attn"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            f"raise ImportError({LIBRARY!r})",
            f"ImportError: {LIBRARY}; fast-attn 2.8.3 needs libcudart.so.13: install that, or a"
            " build of fast-attn for what is here",
        ),
        (
            f"raise OSError({SYMBOL!r})",
            f"OSError: {SYMBOL}; fast-attn 2.8.3 was built for another torch: install a build of it"
            " for the torch that is here",
        ),
        (
            f"raise ImportError({OWN_FILE!r})",
            f"ImportError: {OWN_FILE}; fast-attn 2.8.3 {REINSTALL}",
        ),
        (
            "import fast_attn._C",
            f"ModuleNotFoundError: No module named 'fast_attn._C'; fast-attn 2.8.3 {REINSTALL}",
        ),
        (
            "import a_module_that_nobody_has",
            "ModuleNotFoundError: No module named 'a_module_that_nobody_has'; fast-attn 2.8.3"
            f" {REINSTALL}",
        ),
    ],
)
def test_a_package_that_does_not_load_is_named_with_what_to_do(
    site: Path, monkeypatch: pytest.MonkeyPatch, source: str, message: str
) -> None:
    write_module(site, source)
    assert bind(monkeypatch, "fast_attn") == Failed("exception", message)


@pytest.mark.usefixtures("site")
def test_metadata_without_a_module(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = "ModuleNotFoundError: No module named"
    assert bind(monkeypatch, "fast_attn") == Failed(
        "exception", f"{missing} 'fast_attn'; fast-attn 2.8.3 {REINSTALL}"
    )
    # A module of another name: what the candidate needs tells whose it is.
    assert bind(monkeypatch, "fast_kernels", "torch", "fast-attn") == Failed(
        "exception", f"{missing} 'fast_kernels'; fast-attn 2.8.3 {REINSTALL}"
    )


def test_a_part_that_is_missing(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As triton without triton.language."""
    write_module(site, "")
    assert bind(monkeypatch, "fast_attn.language") == Failed(
        "exception",
        "ModuleNotFoundError: No module named 'fast_attn.language'; fast-attn 2.8.3 " + REINSTALL,
    )


def test_a_folder_of_a_package_that_is_missing(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As flashinfer without its sources."""
    write_module(site, "open(__file__.replace('__init__.py', 'data/page.cuh'))")
    failed = bind(monkeypatch, "fast_attn")
    assert failed.message.startswith("FileNotFoundError: [Errno 2] No such file or directory: ")
    assert failed.message.endswith(f"data/page.cuh'; fast-attn 2.8.3 {REINSTALL}")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("open('/no/such/model')", "FileNotFoundError: [Errno 2] No such file or directory"),
        ("raise ValueError('no such tile')", "ValueError: no such tile"),
        ("raise OSError(28, 'No space left on device')", "OSError: [Errno 28] No space left"),
    ],
)
def test_what_is_no_fault_of_a_package_blames_none(
    site: Path, monkeypatch: pytest.MonkeyPatch, source: str, message: str
) -> None:
    write_module(site, source)
    told = bind(monkeypatch, "fast_attn").message
    assert told.startswith(message)
    assert "fast-attn 2.8.3" not in told


def test_a_reason_of_ours_stands_as_it_is() -> None:
    """`_vllm_build` says what is missing and what to do."""
    source = "raise ImportError('it does not load; install a vllm built with it')"
    with pytest.raises(ImportError) as caught:
        exec(compile(source, "ours", "exec"), {"__name__": "kernels_bench.backends.flash_attn"})
    assert failure(caught.value).message == (
        "ImportError: it does not load; install a vllm built with it"
    )


def test_what_loads_late_is_told_as_well(site: Path) -> None:
    """Where a package loads its kernels at the first call, nobody knows the candidate."""
    write_module(site, f"def run():\n    raise ImportError({LIBRARY!r})\n")
    with pytest.raises(ImportError) as caught:
        import_module("fast_attn").run()
    assert "; fast-attn 2.8.3 needs libcudart.so.13: install that" in failure(caught.value).message
