"""Which physical devices a process sees, and under which number. Pure.

NVML and amdsmi number every device of the host. CUDA and HIP number the ones that the environment
leaves, in the order that it gives. The rules are those of the CUDA programming guide ("CUDA
environment variables"), of the MIG user guide ("CUDA device enumeration") and of AMD's "GPU
isolation techniques"; where these are silent, torch's own parser decides (`torch.cuda`), because
torch is what runs the candidates.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_LEADING_NUMBER = re.compile(r"[+-]?\d{1,9}", re.ASCII)
_PREFIXES = ("GPU-", "MIG-")


@dataclass(frozen=True)
class CudaGpu:
    """A physical NVIDIA GPU that CUDA could list."""

    uuid: str
    """ "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6"."""
    instances: tuple[str, ...] = ()
    """UUIDs of its MIG instances; empty: the GPU is not cut up."""


def visible_cuda(gpus: Sequence[CudaGpu], environ: Mapping[str, str]) -> tuple[str, ...]:
    """UUIDs of the GPUs and MIG instances that CUDA lists: entry N is "cuda:N"."""
    value = environ.get("CUDA_VISIBLE_DEVICES")
    if value is None:
        chosen = tuple(gpu.instances[0] if gpu.instances else gpu.uuid for gpu in gpus)
    elif value.strip().startswith("MIG-"):
        instances = [uuid for gpu in gpus for uuid in gpu.instances]
        chosen = tuple(instances[index] for index in listed(instances, value))
    else:
        named = [gpus[index] for index in listed([gpu.uuid for gpu in gpus], value)]
        chosen = tuple(gpu.instances[0] if gpu.instances else gpu.uuid for gpu in named)
    # CUDA lists one compute instance at most, and no whole GPU beside it.
    all_instances = {uuid for gpu in gpus for uuid in gpu.instances}
    first_instance = next((uuid for uuid in chosen if uuid in all_instances), None)
    return chosen if first_instance is None else (first_instance,)


def visible_rocm(uuids: Sequence[str], environ: Mapping[str, str]) -> tuple[int, ...]:
    """Indices into `uuids` of the GPUs that HIP lists: entry N is torch's "cuda:N".

    The ROCm runtime filters first; HIP then counts in what is left. HIP reads
    CUDA_VISIBLE_DEVICES only where HIP_VISIBLE_DEVICES is not set.
    """
    left = tuple(range(len(uuids)))
    for names in (("ROCR_VISIBLE_DEVICES",), ("HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES")):
        value = next((environ[name] for name in names if name in environ), None)
        if value is not None:
            left = tuple(left[index] for index in listed([uuids[i] for i in left], value))
    return left


def listed(uuids: Sequence[str], value: str) -> tuple[int, ...]:
    """Indices into `uuids` that a list such as "2,0" or "GPU-8932,GPU-c1" names.

    The first entry that names nothing ends the list; a device named twice empties it, as torch has
    it. The first entry says whether all of them are numbers or UUIDs.
    """
    prefix = next((p for p in _PREFIXES if value.strip().startswith(p)), None)
    chosen: list[int] = []
    for entry in value.split(","):
        index = (
            _index_of_number(len(uuids), entry.strip())
            if prefix is None
            else _index_of_uuid(uuids, entry.strip(), prefix)
        )
        if index is None:
            break
        if index in chosen:
            return ()
        chosen.append(index)
    return tuple(chosen)


def _index_of_number(count: int, entry: str) -> int | None:
    """CUDA reads a number as strtoul does: "1gpu" is 1."""
    number = _LEADING_NUMBER.match(entry)
    if number is None or not 0 <= int(number[0]) < count:
        return None
    return int(number[0])


def _index_of_uuid(uuids: Sequence[str], entry: str, prefix: str) -> int | None:
    """An abbreviated UUID counts where it fits one device alone."""
    matches = [index for index, uuid in enumerate(uuids) if uuid.startswith(entry)]
    return matches[0] if entry.startswith(prefix) and len(matches) == 1 else None
