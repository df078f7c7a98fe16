"""Starts a server of vLLM by the given command, and says which backend class its worker loaded.

VLLM_SERVER_DEV_MODE=1 python benchmarks/engine_serve.py autotune exec -- \\
    python -m vllm.entrypoints.openai.api_server --model FOLDER --load-format dummy ...
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress

PATIENCE_S = 240
PORT = int(os.environ.get("ENGINE_PORT", "8137"))


def ask(path: str, body: dict[str, object] | None = None) -> str:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{PORT}{path}", data, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        text: str = answer.read().decode()
    return text


def wait_for(server: subprocess.Popen[bytes]) -> None:
    ends = time.monotonic() + PATIENCE_S
    while time.monotonic() < ends and server.poll() is None:
        with suppress(urllib.error.URLError, ConnectionError):
            ask("/health")
            return
        time.sleep(0.25)
    raise SystemExit(f"the server did not come up, status {server.poll()}")


def main() -> None:
    began = time.monotonic()
    extension = ["--worker-extension-cls", "autotune.in_vllm.witness.Witness", "--port", str(PORT)]
    server = subprocess.Popen([*sys.argv[1:], *extension])
    try:
        wait_for(server)
        took_s = time.monotonic() - began
        classes = json.loads(ask("/collective_rpc", {"method": "attention_backends"}))
        lines = ask("/metrics").splitlines()
    finally:
        server.terminate()
        server.wait(60)
    found = {
        "classes": classes["results"][0],
        "up_s": round(took_s, 1),
        "metrics": [line for line in lines if line.startswith("attn_autotune")],
    }
    print("SERVED", json.dumps(found))


if __name__ == "__main__":
    main()
