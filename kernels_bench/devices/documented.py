"""What is installed under a device that is not here, as a published image documents it.

An image says nothing of its host: NVIDIA's driver is the one that CUDA's release notes ask for, and
AMD's is left out. Where nobody pins a version it is that of the image's distribution of Linux, or
one of the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kernels_bench.spec import Stack


@dataclass(frozen=True)
class DocumentedStack:
    """Versions that somebody published together."""

    versions: Stack
    source: str
    """For people."""


# vllm 0.24.0, METADATA: torch, flashinfer-python, flashinfer-cubin and nvidia-cutlass-dsl are
#   pinned, quack-kernels has this floor, ninja has none.
#   docker/Dockerfile of that tag: CUDA 13.0.2 on Ubuntu 22.04, whose g++ is 11.4.0; nvcc and
#   flashinfer-jit-cache are installed for what compiles at run time. torch 2.11.0 pins triton.
# CUDA 13.0 Update 2, release notes, table 3: the driver.
VLLM_CUDA = DocumentedStack(
    {
        "vllm": "0.24.0",
        "torch": "2.11.0",
        "triton": "3.6.0",
        "cuda": "13.0",
        "flashinfer-python": "0.6.12",
        "flashinfer-cubin": "0.6.12",
        "flashinfer-jit-cache": "0.6.12+cu130",
        "nvidia-cutlass-dsl": "4.5.2",
        "quack-kernels": "0.3.3",
        "nvcc": "13.0",
        "c++": "11.4.0",
        "ninja": "1.13.0",
        "nvidia-driver": "580.95.05",
        "cuda-driver": "13.0",
    },
    "vLLM 0.24.0's image for CUDA 13.0",
)

# vLLM's release notes: 0.24.0 has torch 2.11 (pull request 45362); 0.23.0 has ROCm 7.2.3 (43136)
#   and AITER 0.1.13.post1 (44265), which docker/Dockerfile.rocm_base still names a week before
#   0.24.0 (46563). The image is one for gfx90a, gfx942, gfx950, gfx11 and gfx12 (PYTORCH_ROCM_ARCH
#   there); AITER is in it whatever the part, built for gfx942 and gfx950 (AITER_ROCM_ARCH).
# vllm-omni pull request 5115 lists vLLM 0.25's image, of the same ROCm and torch: HIP 7.2.53211,
#   g++ 11.4.0. Triton is the release that torch 2.11 is built with.
VLLM_ROCM = DocumentedStack(
    {
        "vllm": "0.24.0",
        "torch": "2.11.0",
        "triton": "3.6.0",
        "hip": "7.2.53211",
        "amd-aiter": "0.1.13.post1",
        "c++": "11.4.0",
        "ninja": "1.13.0",
        "rocm-runtime": "7.2.3",
    },
    "vLLM 0.24.0's image for ROCm 7.2.3",
)

# vLLM 0.24, requirements/cpu.txt: torch; docker/Dockerfile.cpu: Python 3.12, and Ubuntu 22.04's
#   g++-12.
VLLM_CPU = DocumentedStack(
    {
        "vllm": "0.24.0+cpu",
        "torch": "2.11.0+cpu",
        "c++": "12.3.0",
        "python-headers": "3.12",
    },
    "vLLM 0.24.0's image for CPUs",
)
