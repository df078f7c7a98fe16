"""Files that were damaged at random: a start gets the answer it always got, or the default."""

from __future__ import annotations
