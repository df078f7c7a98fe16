"""The version of the measuring method, in every measurement's key: raise it when what a number
means, or the inputs behind it, change.
"""

from __future__ import annotations

METHOD = 4
SEED = 20_261_122
"""Draws lengths, values and page orders; part of the method."""
