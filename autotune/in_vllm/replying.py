"""A ruling as process 0 of vLLM needs it."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import datetime, timezone

from autotune._store import Layers
from autotune.in_vllm.messages import Reply
from autotune.in_vllm.options import options_of
from autotune.marks import mark_folders
from autotune.outside import start_payload
from autotune.start import Keep, Ruling, Take
from autotune.today import Asked


def reply_of(asked: Asked, layers: Layers, ruling: Ruling) -> Reply:
    """Raises OptionError where the plug-in cannot set what was chosen."""
    choice = ruling.choice
    who = choice.label
    common = Reply(
        warnings=choice.warnings,
        what=f"{who} for {choice.model} on {choice.device.name}",
        payload=start_payload(ruling, datetime.now(timezone.utc)),
        folders=tuple(map(str, mark_folders(layers.user.path, os.environ))),
    )
    match ruling:
        case Take(mark_key=key):
            why = f"{choice.state}: {choice.why}"
            return replace(common, options=options_of(asked, ruling), why=why, mark_key=key)
        case Keep(why=why, is_warning=is_warning, dead=dead):
            is_told = is_warning or choice.state == "default"
            files = tuple(str(each.file) for each in dead)
            return replace(common, why=why, is_warning=is_told, dead=files)
