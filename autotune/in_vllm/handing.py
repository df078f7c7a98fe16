"""From `autotune exec` to the plug-in in the vLLM that it becomes: the options on the command line
are ours, so that their start is watched like any other.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from autotune.in_vllm.messages import Reply, line_of, read_message

if TYPE_CHECKING:
    from autotune._store import Layers
    from autotune.start import Ruling
    from autotune.today import Asked

_VARIABLE = "AUTOTUNE_EXEC"
"""Set for the process alone that exec becomes: its number stays, those of its children differ."""


def hand_over(asked: Asked, layers: Layers, ruling: Ruling) -> None:
    """Leave the ruling for the plug-in; nothing where that knows no such option."""
    # Imported late: the plug-in's own side of this module needs none of it.
    from autotune.in_vllm.options import OptionError
    from autotune.in_vllm.replying import reply_of

    try:
        reply = reply_of(asked, layers, ruling)
    except OptionError:
        return
    os.environ[_VARIABLE] = json.dumps([os.getpid(), line_of(reply)])


def handed_over() -> Reply | None:
    """What exec left for this very process."""
    text = os.environ.get(_VARIABLE)
    if text is None:
        return None
    try:
        pid, line = json.loads(text)
        reply = read_message(line)
    except (ValueError, KeyError, TypeError):
        return None
    return reply if pid == os.getpid() and isinstance(reply, Reply) else None
