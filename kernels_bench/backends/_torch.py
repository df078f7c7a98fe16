"""What torch's own backends share: the limits of a plain tensor call, and padding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernels_bench.spec import AttentionSpec, Device, Pages, Reason, Stack

if TYPE_CHECKING:
    from torch import Tensor

    from kernels_bench.backends.base import PagedBatch

ANY_PAGES = tuple(Pages(size) for size in (16, 32, 64, 128, 256))
"""A gather takes every size; these are the usual ones."""


def torch_refusals(device: Device, spec: AttentionSpec, stack: Stack) -> list[Reason]:
    """Why no call of torch can run this layer here."""
    reasons = []
    if "torch" not in stack:
        reasons.append(Reason("package", "torch: not installed"))
    if device.kind != "cpu":
        reasons.append(Reason("device", f"device {device.kind}: measured on cpu alone so far"))
    if spec.mla is not None:
        reasons.append(Reason("mla", "mla: latent attention needs kernels of its own"))
    if spec.kv_dtype not in (None, spec.dtype):
        text = f"kv_dtype {spec.kv_dtype}: query, key and value must share {spec.dtype}"
        reasons.append(Reason("kv_dtype", text))
    return reasons


class PaddedQuery:
    """Where the tokens of a ragged batch stand when every request is as wide as the widest."""

    def __init__(self, batch: PagedBatch) -> None:
        import torch

        starts = batch.query_start_loc
        new_tokens = starts[1:] - starts[:-1]
        width = int((batch.query_start_loc_cpu[1:] - batch.query_start_loc_cpu[:-1]).max())
        offsets = torch.arange(width, device=starts.device)
        self.cached = batch.seq_lens - new_tokens
        """[B]"""
        self.positions = self.cached[:, None] + offsets
        """[B, width], absolute"""
        self._taken = offsets < new_tokens[:, None]
        index = starts[:-1, None] + offsets
        self._index = torch.where(self._taken, index, torch.zeros_like(index))

    def pad(self, query: Tensor) -> Tensor:
        """[T, H, D] -> [B, H, width, D]; the padding repeats a token."""
        return query[self._index].transpose(1, 2)

    def unpad(self, output: Tensor) -> Tensor:
        """[B, H, width, D] -> [T, H, D]"""
        return output.transpose(1, 2)[self._taken]
