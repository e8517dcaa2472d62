"""Drives a server with wrk, a load generator, and reads what it says."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pawprint.runner.errors import PawprintError

SCRIPT = Path(__file__).with_suffix(".lua")
BOUNDARY = "pawprint-load"
PATIENCE_S = 120  # wrk does not count what takes longer
ERRORS = ("not_200", "connect", "read", "write", "timeout")


@dataclass(frozen=True)
class Load:
    """What a server did for a number of clients, each of which asks again once it is answered.

    Attributes:
        requests_per_s: answered.
        p50_ms: half of the answers took at most so long, from request to end of answer.
        p95_ms: 95 % of them.
        p99_ms: 99 % of them.
        requests: answered in all.
        errors: answers other than 200, and failures of the connection, by kind; only what occurred.
    """

    requests_per_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    requests: int
    errors: dict[str, int]


def find_wrk() -> str:
    """The path of wrk.

    Raises:
        PawprintError: it is not installed.
    """
    path = shutil.which("wrk")
    if path is None:
        raise PawprintError(
            "wrk: not found; it makes the load: apt-get install wrk (Debian, Ubuntu), "
            "brew install wrk (macOS), or see https://github.com/wg/wrk"
        )
    return path


def write_forms(pictures: Sequence[bytes], directory: Path) -> None:
    """Write each picture as the body of a form, for the script of wrk."""
    for i, content in enumerate(pictures, start=1):
        (directory / f"{i}.form").write_bytes(make_form(content, f"{i}.jpg"))


def make_form(content: bytes, name: str) -> bytes:
    """The body of a multipart request with one file in its field ``files``."""
    head = (
        f"--{BOUNDARY}\r\n"
        f'Content-Disposition: form-data; name="files"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    return b"".join([head.encode(), content, f"\r\n--{BOUNDARY}--\r\n".encode()])


def run_wrk(address: str, forms: Path, clients: int, seconds: float) -> Load:
    """Let clients send the forms of a directory in turn.

    Args:
        address: of the server, ``http://127.0.0.1:PORT``.
        forms: from ``write_forms``.
        clients: connections, each with one request at a time.
        seconds: how long; wrk knows whole ones.

    Raises:
        PawprintError: wrk is missing, or failed.
    """
    count = len(list(forms.glob("*.form")))
    command = [find_wrk(), "--threads", "1", "--connections", str(clients)]
    command += ["--duration", f"{max(1, round(seconds))}s", "--timeout", f"{PATIENCE_S}s"]
    command += ["--script", str(SCRIPT), address, "--", str(forms), str(count), BOUNDARY]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        raise PawprintError(f"wrk: exit code {run.returncode}: {run.stderr.strip()[-300:]}")
    return read_wrk(run.stdout)


def read_wrk(text: str) -> Load:
    """Read the line of JSON in what wrk printed.

    Raises:
        PawprintError: there is none.
    """
    lines = [line for line in text.splitlines() if line.startswith('{"duration_us"')]
    if not lines:
        raise PawprintError(f"wrk: expected a line of JSON, found {text[-300:]!r}")
    found = json.loads(lines[-1])
    return Load(
        requests_per_s=found["requests"] / (found["duration_us"] / 1e6),
        **{f"{p}_ms": found[f"{p}_us"] / 1000 for p in ("p50", "p95", "p99")},
        requests=found["requests"],
        errors={kind: found[kind] for kind in ERRORS if found[kind]},
    )
