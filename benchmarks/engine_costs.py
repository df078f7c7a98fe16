"""What attention costs under each of the loads, by backend: the file that `engine_table.py` takes.

python benchmarks/engine_costs.py MODEL=CACHE... [--device h100] > COSTS.json

From `autotune explain --json` for the profile of a load, with the shapes of `engine_models.py`; the
single stream's profile is a log of that one request.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine_models import longest_context, write_model

from autotune.engine_loads import CHAT, DECODE_HEAVY, LONG, SINGLE

_LOADS = {CHAT: "chat", LONG: "long-context", DECODE_HEAVY: "decode-heavy"}
_ARMS: Mapping[tuple[str, str], str] = {
    ("flash_attn", "fa3@vllm"): "default",
    ("flash_attn", "fa2@vllm"): "FLASH_ATTN_2",
    ("flashinfer", "vllm"): "FLASHINFER",
    ("vllm_triton", "unified"): "TRITON_ATTN",
}
"""As `engine.py` calls what vLLM loads so."""


def costs_of(model: Path, cache: str, profile: str, device: str) -> dict[str, float]:
    """Arm -> cost over the default's; raises CalledProcessError."""
    asked = [
        *(sys.executable, "-m", "autotune", "explain", "--json", "--engine", "vllm"),
        *("--model", str(model), "--cache", cache, "--profile", profile, "--device", device),
    ]
    said: dict[str, Any] = json.loads(
        subprocess.run(asked, check=True, stdout=subprocess.PIPE).stdout
    )
    found = ((_ARMS.get((r["backend"], r["variant"])), r["score"]) for r in said["rivals"])
    return {arm: round(score, 4) for arm, score in found if arm is not None}


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("cache", nargs="+", metavar="MODEL=CACHE")
    asked.add_argument("--device", default="h100")
    given = asked.parse_args()
    found: dict[str, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        single = Path(folder) / "single.csv"
        tokens = f"{SINGLE.input_tokens},{SINGLE.output_tokens}"
        single.write_text(f"prompt_tokens,output_tokens\n{tokens}\n")
        for name, _, cache in (text.partition("=") for text in given.cache):
            model, longest = write_model(name, Path(folder)), longest_context(name)
            found[name] = {
                load.within(longest).text: costs_of(model, cache, profile, given.device)
                for load, profile in (*_LOADS.items(), (SINGLE, str(single)))
            }
    sys.stdout.write(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
