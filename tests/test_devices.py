from __future__ import annotations

import json
import pickle
import subprocess
import sys
from dataclasses import asdict

import pytest

from kernels_bench.devices import Findings, FoundDevice, find_device, find_devices, survey_devices
from kernels_bench.devices.selector import Gpu, parse_selector, pick
from kernels_bench.errors import DeviceError
from kernels_bench.spec import Device

CPU = FoundDevice("cpu", Device("cpu", "AMD EPYC", "x86_64+avx512", 2, 1 << 34, 1 << 25))
H100 = Device("cuda", "NVIDIA H100 80GB HBM3", "sm_90", 132, 80 << 30, 50 << 20)
MI300X = Device("rocm", "AMD Instinct MI300X", "gfx942", 304, 192 << 30, 256 << 20)
NVIDIA_HOST = Findings((FoundDevice("cuda:0", H100), FoundDevice("cuda:1", H100), CPU))
AMD_HOST = Findings((FoundDevice("cuda:0", MI300X), CPU))
BARE_HOST = Findings((CPU,), ("no NVIDIA driver: libnvidia-ml.so.1 not found",))


@pytest.mark.parametrize(
    ("selector", "findings", "expected"),
    [
        ("auto", NVIDIA_HOST, "cuda:0"),
        ("auto", BARE_HOST, "cpu"),
        ("cpu", NVIDIA_HOST, "cpu"),
        ("cuda:1", NVIDIA_HOST, "cuda:1"),
        ("cuda", NVIDIA_HOST, "cuda:0"),
        ("rocm:0", AMD_HOST, "cuda:0"),
        ("cuda:0", AMD_HOST, "cuda:0"),
    ],
)
def test_a_selector_picks_a_device(selector, findings, expected):
    assert pick(parse_selector(selector), findings).selector == expected


def test_a_device_that_is_not_here_is_answered_with_those_that_are_and_why():
    with pytest.raises(DeviceError) as caught:
        pick(Gpu("cuda", 7), BARE_HOST)
    assert str(caught.value) == (
        "device cuda:7 is not here; here are: cpu (AMD EPYC)\n"
        "no NVIDIA driver: libnvidia-ml.so.1 not found"
    )


def test_rocm_is_no_name_for_an_nvidia_gpu():
    with pytest.raises(DeviceError, match="rocm:0 is not here"):
        pick(Gpu("rocm", 0), NVIDIA_HOST)


@pytest.mark.parametrize("text", ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "CUDA:0", "cuda:0\n"])
def test_nonsense_is_answered_with_the_grammar(text):
    with pytest.raises(DeviceError, match="expected auto, cpu, cuda:N or rocm:N"):
        find_device(text)


def test_the_cpu_comes_last_and_nothing_is_printed(capfd):
    findings = survey_devices()
    assert findings.devices[-1].selector == "cpu"
    assert [found.selector for found in findings.devices].count("cpu") == 1
    assert capfd.readouterr() == ("", "")


def test_looking_twice_finds_the_same():
    assert find_devices() == find_devices()


def test_a_device_travels_to_another_process_and_into_json():
    found = find_device("cpu")
    assert pickle.loads(pickle.dumps(found)) == found
    assert json.loads(json.dumps(asdict(found)))["device"]["name"] == found.device.name


def test_the_cpu_is_found_without_a_gpu_library_or_torch():
    program = (
        "import sys\n"
        "from kernels_bench.devices import find_device\n"
        "find_device('cpu')\n"
        "print([m for m in ('pynvml', 'amdsmi', 'torch', 'numpy') if m in sys.modules])\n"
    )
    child = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (child.stdout, child.stderr) == ("[]\n", "")


def test_devices_are_found_where_nvidia_ml_py_is_not_installed():
    program = (
        "import sys\n"
        "sys.modules['pynvml'] = None\n"
        "from kernels_bench.devices import survey_devices\n"
        "findings = survey_devices()\n"
        "print(findings.devices[-1].selector, '|', findings.notes[0])\n"
    )
    child = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    expected = "cpu | no NVIDIA GPU can be seen: nvidia-ml-py is not installed\n"
    assert (child.stdout, child.stderr) == (expected, "")
