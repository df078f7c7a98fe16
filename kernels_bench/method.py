"""The version of the measuring method, in every measurement's key: raise it when what a number
means, or the inputs behind it, change.
"""

from __future__ import annotations

METHOD = 4
SEED = 20_261_122
"""Draws lengths, values and page orders; part of the method."""
FP8_INPUTS = 2
"""The version of what is drawn for fp8 caches, in the keys of their measurements alone. 1: large
workloads had a NaN or two, queries were none that fp8 can hold, and e5m2 had a scale."""
