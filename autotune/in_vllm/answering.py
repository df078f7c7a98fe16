"""Our process beside vLLM's process 0: decides, and says what is to be set.

Started as vLLM imports its arguments, so that importing us, asking the driver for the device and
loading plug-ins costs the start nothing, opens no GPU context in its process, and can neither
crash nor hang it.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from autotune.in_vllm.messages import Message, line_of, read_request
from kernels_bench.devices import FoundDevice, find_device
from kernels_bench.errors import AutotuneError
from kernels_bench.processes import end_with_parent

_IDLE_S = 600.0
"""A process that imported vLLM's arguments and never makes a config: a client, a help text."""


def main() -> None:
    """One request on stdin; told lines and one reply on stdout."""
    # A run of `autotune warm` that was started from here ends as this process does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    end_with_parent(signal.SIGTERM)
    # Whatever a plug-in prints is no message.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(message: Message) -> None:
        out.write(line_of(message))
        out.flush()

    os.chdir(sys.argv[1])  # where paths of the environment begin
    probe = ThreadPoolExecutor(1).submit(_first_device)
    # Imported while the driver answers: each takes a tenth of a second on a server's slow core.
    from autotune.in_vllm.answers import answered, look_ahead

    first = probe.result()
    if first is not None:
        with suppress(Exception):  # what is wrong is told with the answer
            look_ahead(first, lambda: _is_asked(0.0))
    line = sys.stdin.readline() if _is_asked(_IDLE_S) else ""
    if line:  # else vLLM wants no answer, or is gone
        say(answered(read_request(line), first, say))
    # Whatever a library would do at its end is not waited for.
    os._exit(0)


def _first_device() -> FoundDevice | None:
    try:
        return find_device("auto")
    except AutotuneError:
        return None  # told with the answer


def _is_asked(within_s: float) -> bool:
    """Whether there is something to read, or nobody left to write it."""
    return bool(select.select([sys.stdin], [], [], within_s)[0])


if __name__ == "__main__":
    main()
