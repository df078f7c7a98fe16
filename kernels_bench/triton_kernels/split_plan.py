"""Which requests go to which kernel, and into how many segments a decode is cut."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_PROGRAMS_A_MULTIPROCESSOR = 4
"""What keeps the memory of an SM busy with tiles of 16 rows."""
_MOST_SEGMENTS = 64
"""The reduction holds all of them at once in registers."""
EMPTY = -1
"""A slot without a request."""


def num_segments(programs: int, multiprocessors: int, longest: int, keys: int) -> int:
    """A power of two that fills the GPU, as long as each segment of `longest` keys has a step.

    Args:
        programs: there are without a cut.
        multiprocessors: of the device.
        longest: keys that any request sees by the maxima, not by the lengths of this batch.
        keys: a step.
    """
    wanted = multiprocessors * _PROGRAMS_A_MULTIPROCESSOR // programs
    most = min(wanted, math.ceil(longest / keys), _MOST_SEGMENTS)
    return 1 << (max(1, most).bit_length() - 1)


def sort_out(
    query_start_loc: npt.NDArray[np.int32],
    tokens: int,
    decodes: npt.NDArray[np.int32],
    tiles: npt.NDArray[np.int32],
    has_decodes: bool,
) -> tuple[int, int]:
    """Fill both tables in place, `EMPTY` behind the last, and count what they hold.

    Args:
        query_start_loc: [B + 1].
        tokens: a tile.
        decodes: [B]; gets the requests of one new token.
        tiles: [most, 2]; gets a request and its first token, for each tile of the others.
        has_decodes: else a request of one new token is one of the others.
    """
    import numpy as np

    new_tokens = np.diff(query_start_loc)
    is_decode = (new_tokens == 1) & has_decodes
    alone = np.flatnonzero(is_decode)
    decodes[: len(alone)] = alone
    decodes[len(alone) :] = EMPTY

    others = np.flatnonzero((new_tokens > 0) & ~is_decode)
    counts = -(-new_tokens[others] // tokens)
    requests = np.repeat(others, counts)
    starts = np.cumsum(counts) - counts
    first_tokens = (np.arange(len(requests)) - np.repeat(starts, counts)) * tokens
    # A causal request's last tiles see the most keys: what runs longest starts first.
    tiles[: len(requests), 0] = requests[::-1]
    tiles[: len(requests), 1] = first_tokens[::-1]
    tiles[len(requests) :] = EMPTY
    return len(alone), len(requests)
