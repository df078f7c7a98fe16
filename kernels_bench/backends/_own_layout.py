"""Caches of engines that order the numbers of a page as neither NHD nor HND does.

Such an engine writes each token where its kernel looks for it. Here the pages are full before a
candidate sees them and stay as they are, so that converting them once is no part of any time.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    from torch import Tensor


def converted(cache: Tensor, convert: Callable[[Tensor], Tensor]) -> Tensor:
    """The cache in the kernel's own order. All launches over one pool share it, and it goes with
    the pool. `convert` must be a function of a module, since it is what the copy is known by.
    """
    copies = _copies(convert)
    if cache not in copies:
        copies[cache] = convert(cache)
    return copies[cache]


@lru_cache
def _copies(convert: Callable[[Tensor], Tensor]) -> MutableMapping[Tensor, Tensor]:
    from torch.utils.weak import WeakTensorKeyDictionary

    copies: MutableMapping[Tensor, Tensor] = WeakTensorKeyDictionary()
    return copies
