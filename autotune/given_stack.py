"""A stack that a user wrote down, to ask "what if"."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from autotune.errors import UsageError
from kernels_bench.errors import one_line
from kernels_bench.spec import Stack
from kernels_bench.stack import normalised

_EXPECTED = 'expected a JSON object of versions, like {"torch": "2.11.0", "cuda": "13.0"}'


@dataclass(frozen=True)
class GivenStack:
    """Stands for all that is installed under a device."""

    versions: Stack
    file: Path


def read_stack(file: Path) -> GivenStack:
    """Read a JSON object of distribution -> version; raises UsageError."""
    try:
        content: object = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--stack {file}: {error.strerror or one_line(error)}") from error
    except (ValueError, RecursionError) as error:  # ValueError: no JSON, or not UTF-8
        raise UsageError(f"--stack {file}: no JSON ({one_line(error)}); {_EXPECTED}") from error
    if not isinstance(content, dict):
        raise UsageError(f"--stack {file}: {_EXPECTED}")
    for name, version in content.items():
        if not isinstance(version, str) or not version:
            raise UsageError(f"--stack {file}: {name} is {json.dumps(version)}; {_EXPECTED}")
    return GivenStack({normalised(name): version for name, version in content.items()}, file)
