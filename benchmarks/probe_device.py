"""Compares the device probe with what torch and the CUDA driver say, for every visible GPU.

    PYTHONPATH=. python benchmarks/probe_device.py

Prints a markdown table and the probe's findings as JSON. Needs torch and nvidia-ml-py.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from kernels_bench.devices import survey_devices
from kernels_bench.devices.cuda_attributes import CudaQuestionError, ask_cuda

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernels_bench.devices import Findings, FoundDevice
    from kernels_bench.devices.cuda_attributes import CudaAttributes

_MIB = 1 << 20
_MEMORY_SHARE = 0.97
"""A context can allocate a little less than the board has; below this share something is wrong."""


@dataclass(frozen=True)
class Row:
    field: str
    probe: str
    cuda_driver: str
    torch: str
    agree: bool


def main() -> None:
    start = time.perf_counter()
    findings = survey_devices()
    probe_ms = 1e3 * (time.perf_counter() - start)

    import torch  # after the probe, so that its time and its effects are its own

    gpus = [found for found in findings.devices if found.device.kind != "cpu"]
    now = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    print(f"Probe of {now}: {probe_ms:.1f} ms, torch {torch.__version__}")
    for note in findings.notes:
        print(f"- {note}")
    if not gpus:
        print("\nThere is no GPU; the CPU:\n")
        print_cpu(findings.devices[-1])
    asked = driver_answers() if any(found.device.kind == "cuda" for found in gpus) else ()
    for number, found in enumerate(gpus):
        print(f"\n## {found.selector}: {found.device.name}, {dict(found.driver)}\n")
        answer = asked[number] if number < len(asked) else None
        print("| field | probe | CUDA driver | torch | agree |\n|---|---|---|---|---|")
        for row in compare(found, answer, torch.cuda.get_device_properties(found.selector)):
            verdict = "yes" if row.agree else "NO"
            print(f"| {row.field} | {row.probe} | {row.cuda_driver} | {row.torch} | {verdict} |")
    if len(gpus) != torch.cuda.device_count():
        print(f"\nNO: the probe finds {len(gpus)} GPUs, torch {torch.cuda.device_count()}")
    print(f"\n```json\n{as_json(findings)}\n```")


def driver_answers() -> tuple[CudaAttributes, ...]:
    try:
        return ask_cuda(os.environ.get("CUDA_VISIBLE_DEVICES"))
    except CudaQuestionError as error:
        print(f"- the CUDA driver gave no answer: {error}")
        return ()


def compare(found: FoundDevice, asked: CudaAttributes | None, torch: Any) -> Iterator[Row]:
    """`torch` is what `torch.cuda.get_device_properties` returns."""
    device = found.device
    # A MIG instance's name in torch ends with its profile.
    yield Row("name", device.name, "", torch.name, torch.name.startswith(device.name))
    arch = (
        f"sm_{torch.major}{torch.minor}"
        if device.kind == "cuda"
        else torch.gcnArchName.partition(":")[0]
    )
    yield Row("arch", device.arch, "", arch, arch == device.arch)
    units = torch.multi_processor_count
    yield Row(
        "multiprocessors",
        str(device.multiprocessors),
        str(asked.multiprocessors) if asked else "",
        str(units),
        device.multiprocessors == units == (asked.multiprocessors if asked else units),
    )
    usable = torch.total_memory / device.memory_bytes
    yield Row(
        "memory, MiB",
        mib(device.memory_bytes),
        "",
        f"{mib(torch.total_memory)} ({usable:.1%} of it)",
        _MEMORY_SHARE <= usable <= 1,
    )
    cache_bytes = device.last_level_cache_bytes
    yield Row(
        "last level cache, MiB",
        mib(cache_bytes),
        mib(asked.l2_bytes) if asked else "",
        mib(torch.L2_cache_size),
        # On ROCm torch has the L2 of one die.
        device.kind == "rocm"
        or cache_bytes == torch.L2_cache_size == (asked.l2_bytes if asked else cache_bytes),
    )
    yield Row("power limit, W", str(device.power_limit_w), "", "", agree=True)
    yield Row("partition", device.partition or "none", "", "", agree=True)


def mib(size_bytes: int) -> str:
    return f"{size_bytes / _MIB:.10g}"


def print_cpu(found: FoundDevice) -> None:
    device = found.device
    print("| name | arch | cores | memory, MiB | last level cache, MiB |\n|---|---|---|---|---|")
    print(
        f"| {device.name} | {device.arch} | {device.multiprocessors} "
        f"| {mib(device.memory_bytes)} | {mib(device.last_level_cache_bytes)} |"
    )


def as_json(findings: Findings) -> str:
    devices = [
        {"selector": found.selector, "driver": dict(found.driver), "device": asdict(found.device)}
        for found in findings.devices
    ]
    return json.dumps({"devices": devices, "notes": findings.notes}, indent=2)


if __name__ == "__main__":
    main()
