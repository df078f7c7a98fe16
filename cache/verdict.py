"""What a run of the engine said of a decision's winner, as the read path asks for it.

Part of the one statement that reads decisions. In doubt a winner is revoked: a value that is
damaged costs a start its winner, and never its engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .checks import printable
from .records import TABLES
from .rows import ConfirmationRow

if TYPE_CHECKING:
    from .checks import Column

REVOKED = "revoked"
_OTHERS = ("confirmed", "unconfirmed")
"""A winner of these verdicts may be taken, and one of no other."""

# A scalar: of no row NULL. Its index is that of the rows' key. All rows of a winner have one
# verdict; should they differ, what revokes it counts.
_TERM = f"""(
    SELECT ifnull(confirmations.verdict, '') || ' ' || ifnull(confirmations.why, '')
    FROM confirmations
    WHERE confirmations.device_key = decisions.device_key
    AND confirmations.question = decisions.question
    AND confirmations.versions = decisions.versions
    AND confirmations.winner = decisions.backend || ':' || decisions.variant
    ORDER BY ifnull(confirmations.verdict, '') IN {_OTHERS} LIMIT 1
)"""


def verdict_term(schema: int) -> str:
    """For a SELECT of decisions from a file of this schema."""
    return _TERM if schema >= TABLES[ConfirmationRow].first else "NULL"


def verdict_of(value: Column) -> tuple[str, str]:
    """The verdict, and why the winner is revoked; both are empty where there is none."""
    if value is None:
        return "", ""
    text = str(printable(str(value)))
    verdict, _, why = text.partition(" ")
    if verdict in _OTHERS:
        return verdict, ""
    if verdict != REVOKED:
        return REVOKED, f"its confirmation is damaged: {text.strip()}"
    return REVOKED, why.strip() or "nobody stored why"
