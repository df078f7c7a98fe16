"""Facts about AMD parts that amdsmi does not tell, or tells of one die alone.

Source: "AMD GPU specifications" in ROCm's documentation.
"""

from __future__ import annotations

_MIB = 1 << 20

LAST_LEVEL_CACHE_BYTES = {"gfx90a": 8 * _MIB, "gfx942": 256 * _MIB, "gfx950": 256 * _MIB}
"""Where the architecture alone decides it.

On gfx942 and gfx950 this is the Infinity Cache of the package, whatever the partition mode: HIP
reports the 4 MiB L2 of one die (ROCm issue 4203).
"""

LARGEST_INFINITY_CACHE_BYTES = {
    "gfx1030": 128 * _MIB,
    "gfx1031": 96 * _MIB,
    "gfx1032": 32 * _MIB,
    "gfx1100": 96 * _MIB,
    "gfx1101": 64 * _MIB,
    "gfx1102": 32 * _MIB,
    "gfx1151": 32 * _MIB,
    "gfx1200": 32 * _MIB,
    "gfx1201": 64 * _MIB,
}
"""Of the Radeon parts of an architecture, which differ (a gfx1100 has 96, 80 or 64 MiB): so their
driver is asked, and this is for one that knows no third level. The largest, because it sizes the
data that a cold measurement walks through: too much is safe, and an L2 of 6 MiB is not.
"""
