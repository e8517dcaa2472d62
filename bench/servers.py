"""Starts web servers in processes of their own, and ends them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from urllib.request import ProxyHandler, Request, build_opener

from pawprint.runner.errors import PawprintError

ROOT = Path(__file__).parents[1]
START_S = 120
PATIENCE_S = 60


@contextmanager
def run_server(module: Sequence[str], log: Path) -> Iterator[str]:
    """Run a server on a free port of the loopback interface while the block runs.

    Args:
        module: a Python module and its arguments; ``--port`` is added.
        log: file that receives what it prints.

    Yields:
        Its address, ``http://127.0.0.1:PORT``, once ``/readyz`` answers 200.

    Raises:
        PawprintError: it ended, or was not ready in time.
    """
    port = _free_port()
    command = [sys.executable, "-m", *module, "--port", str(port)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PAWPRINT_")}
    with open(log, "wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**clean, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        address = f"http://127.0.0.1:{port}"
        _await_ready(address, process, log)
        yield address
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _await_ready(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            text = log.read_text(encoding="utf-8", errors="replace").strip()
            raise PawprintError(f"the server ended: {text[-500:]}")
        try:
            get(Request(f"{address}/readyz"))
            return
        except (HTTPException, OSError):  # not yet listening, or 503
            time.sleep(0.05)
    raise PawprintError(f"{address}: expected a server that is ready within {START_S} s")


def get(request: Request) -> bytes:
    """The body of the answer to a request, whatever proxy is set; OSError: any but a 2xx."""
    with build_opener(ProxyHandler({})).open(request, timeout=PATIENCE_S) as answer:
        return bytes(answer.read())
