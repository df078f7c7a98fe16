"""Files as Linux shows them on a few machines; the cut-down cpuinfo keeps the lines that count."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels_bench.devices.cpu import ASSUMED_CACHE_BYTES, Host, cpu_arch, read_cpu, this_host

GIB = 1 << 30
XEON = """processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) Platinum 8480+
cache size\t: 107520 KB
flags\t\t: fpu sse4_2 avx avx2 avx512f avx512bw avx512_bf16 amx_bf16 amx_tile amx_int8

processor\t: 1
model name\t: another
"""
GRAVITON = """processor\t: 0
BogoMIPS\t: 2100.00
Features\t: fp asimd sve bf16 i8mm sve2
CPU implementer\t: 0x41
CPU architecture: 8
CPU part\t: 0xd4f
"""
UNKNOWN_ARM = "processor\t: 0\nFeatures\t: fp asimd\nCPU implementer\t: 0x61\nCPU part\t: 0x022\n"
XEON_CACHES = {
    "index0": ("1", "Data", "48K"),
    "index1": ("1", "Instruction", "32K"),
    "index2": ("2", "Unified", "2048K"),
    "index3": ("3", "Unified", "105M"),
}


def write(root, path, text):
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def machine(root, cpuinfo=XEON, memory_kb=263_000_000, caches=XEON_CACHES):
    write(root, "proc/cpuinfo", cpuinfo)
    write(root, "proc/meminfo", f"MemTotal:       {memory_kb} kB\nMemFree:  1 kB\n")
    for index, (level, kind, size) in caches.items():
        folder = f"sys/devices/system/cpu/cpu0/cache/{index}"
        write(root, f"{folder}/level", f"{level}\n")
        write(root, f"{folder}/type", f"{kind}\n")
        write(root, f"{folder}/size", f"{size}\n")
    return Host(root, "x86_64", 56)


def device_of(host):
    (found,) = read_cpu(host).devices
    return found.device


def test_a_xeon(tmp_path):
    findings = read_cpu(machine(tmp_path))
    (found,) = findings.devices
    assert found.selector == "cpu"
    assert found.driver == {}
    assert findings.notes == ()
    assert found.device.kind == "cpu"
    assert found.device.name == "Intel(R) Xeon(R) Platinum 8480+"
    assert found.device.arch == "x86_64+avx512+avx512_bf16+amx"
    assert found.device.multiprocessors == 56
    assert found.device.memory_bytes == 250 * GIB
    assert found.device.last_level_cache_bytes == 105 << 20


def test_an_arm_server_is_named_by_its_part(tmp_path):
    machine(tmp_path, cpuinfo=GRAVITON)
    device = device_of(Host(tmp_path, "aarch64", 64))
    assert (device.name, device.arch) == ("Neoverse-V2", "aarch64+sve2+bf16")


def test_an_arm_part_that_is_not_known_keeps_its_numbers(tmp_path):
    machine(tmp_path, cpuinfo=UNKNOWN_ARM)
    device = device_of(Host(tmp_path, "aarch64", 8))
    assert (device.name, device.arch) == ("aarch64 0x61:0x022", "aarch64")


@pytest.mark.parametrize("folder", ["cpu", "cpuacct"])
def test_version_1_quotas_count(tmp_path, folder):
    host = machine(tmp_path)
    write(tmp_path, "proc/self/cgroup", "4:memory:/job\n2:cpu,cpuacct:/job/step\n")
    write(tmp_path, f"sys/fs/cgroup/{folder}/job/cpu.cfs_quota_us", "250000\n")
    write(tmp_path, f"sys/fs/cgroup/{folder}/job/cpu.cfs_period_us", "100000\n")
    write(tmp_path, f"sys/fs/cgroup/{folder}/job/step/cpu.cfs_quota_us", "-1\n")
    write(tmp_path, f"sys/fs/cgroup/{folder}/job/step/cpu.cfs_period_us", "100000\n")
    write(tmp_path, "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    write(tmp_path, "sys/fs/cgroup/memory/job/memory.limit_in_bytes", f"{8 * GIB}\n")
    device = device_of(host)
    assert (device.multiprocessors, device.memory_bytes) == (3, 8 * GIB)


def test_version_2_takes_the_tightest_limit_on_the_way_up(tmp_path):
    host = machine(tmp_path)
    write(tmp_path, "proc/self/cgroup", "0::/kubepods/pod1/main\n")
    write(tmp_path, "sys/fs/cgroup/kubepods/pod1/main/cpu.max", "max 100000\n")
    write(tmp_path, "sys/fs/cgroup/kubepods/pod1/main/memory.max", "max\n")
    write(tmp_path, "sys/fs/cgroup/kubepods/pod1/cpu.max", "400000 100000\n")
    write(tmp_path, "sys/fs/cgroup/kubepods/memory.max", f"{16 * GIB}\n")
    device = device_of(host)
    assert (device.multiprocessors, device.memory_bytes) == (4, 16 * GIB)


def test_a_container_that_sees_the_hosts_path_has_its_limits_at_the_top(tmp_path):
    host = machine(tmp_path)
    write(tmp_path, "proc/self/cgroup", "0::/docker/0123abcd\n")
    write(tmp_path, "sys/fs/cgroup/cpu.max", "50000 100000\n")
    assert device_of(host).multiprocessors == 1


def test_a_quota_above_the_affinity_does_not_add_cores(tmp_path):
    host = machine(tmp_path)
    write(tmp_path, "proc/self/cgroup", "0::/\n")
    write(tmp_path, "sys/fs/cgroup/cpu.max", "6400000 100000\n")
    assert device_of(host).multiprocessors == 56


def test_hosts_that_differ_by_what_the_kernel_keeps_are_one_device(tmp_path):
    one = device_of(machine(tmp_path / "one", memory_kb=263_000_000))
    other = device_of(machine(tmp_path / "other", memory_kb=263_100_000))
    assert one == other


def test_memory_below_a_gib_is_not_rounded_to_nothing(tmp_path):
    assert device_of(machine(tmp_path, memory_kb=524_288)).memory_bytes == GIB // 2


def test_a_cache_that_the_kernel_hides_is_assumed_and_said(tmp_path):
    findings = read_cpu(machine(tmp_path, caches={}))
    assert findings.devices[0].device.last_level_cache_bytes == ASSUMED_CACHE_BYTES
    assert findings.notes == ("the kernel shows no CPU cache: 32 MiB assumed",)


def test_an_empty_root_is_still_a_cpu(tmp_path):
    device = device_of(Host(tmp_path, "riscv64", 2))
    assert (device.name, device.arch, device.multiprocessors) == ("riscv64", "riscv64", 2)
    assert device.memory_bytes > 0


def test_this_host_can_be_read():
    device = device_of(this_host())
    assert 1 <= device.multiprocessors <= this_host().allowed_cpus
    assert device.memory_bytes > 0


@pytest.mark.parametrize(
    ("flags", "arch"),
    [
        ("sse4_2", "x86_64"),
        ("avx avx2", "x86_64+avx2"),
        ("avx2 avx512f", "x86_64+avx512"),
        ("avx2 avx512f avx512_bf16", "x86_64+avx512+avx512_bf16"),
        ("avx2 avx512f amx_tile", "x86_64+avx512"),
    ],
)
def test_the_arch_names_what_kernels_dispatch_on(flags, arch):
    assert cpu_arch("x86_64", frozenset(flags.split())) == arch


@given(st.frozensets(st.sampled_from(["avx2", "avx512f", "avx512_bf16", "amx_bf16", "fma", "ht"])))
def test_an_arch_never_names_a_flag_twice(flags):
    parts = cpu_arch("x86_64", flags).split("+")
    assert len(parts) == len(set(parts))
    assert parts[0] == "x86_64"
