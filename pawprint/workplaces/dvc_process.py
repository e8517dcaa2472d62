"""DVC as a process that ends with this one, and what it and its stages say meanwhile."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from pawprint.runner.errors import StageError, one_line
from pawprint.runner.processes import end_with_parent

LINE_EVERY_S = 10.0  # where nobody watches, a bar is a line so often
_RAN = re.compile(r"(?m)^Running stage '(?:.*:)?(\w+)'")
_ERRORS = ("error: ", "ERROR: ")  # a stage's, and DVC's
_NOISE = "WARNING: No file hash info found"  # of outputs that are to be made


def run_dvc(arguments: Sequence[str], directory: Path, log: Path, shown: bool = True) -> list[str]:
    """Run a command of DVC's, and show the progress of its stages on standard error.

    Ctrl-C at a terminal does not reach it, but ends it with this process: stages would say how to
    go on with ``dvc repro``.

    Args:
        arguments: of ``dvc``.
        directory: in which it runs.
        log: the file for its standard output.
        shown: False: what it says on standard error goes into that file too.

    Returns:
        The stages that did run, in order.

    Raises:
        StageError: it failed; the stage's own line, or DVC's.
    """
    with open(log, "w+", encoding="utf-8", errors="replace") as file:
        with subprocess.Popen(
            [sys.executable, "-m", "dvc", *arguments],
            cwd=directory,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.PIPE if shown else subprocess.STDOUT,
            process_group=0,
            preexec_fn=end_with_parent,
        ) as process:
            try:
                errors = _show(process.stderr) if process.stderr else []
                code = process.wait()
            finally:
                process.kill()
        file.seek(0)
        said = file.read()
    ran: list[str] = _RAN.findall(said)
    if code:
        reason = _find_reason(errors if shown else said.splitlines())
        raise StageError(ran[-1] if ran else "", reason or f"exit code {code}")
    return ran


def own_environment() -> dict[str, str]:
    """The variables of this process, without those that lead git and DVC to other repositories.

    They are set within hooks of git, and within stages.
    """
    kept = ("GIT_AUTHOR_", "GIT_COMMITTER_", "GIT_CONFIG", "DVC_SITE_CACHE_DIR")
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DVC_", "GIT_")) or name.startswith(kept)
    }


def _environment() -> Mapping[str, str]:
    own = own_environment()
    path = os.pathsep.join([str(Path(sys.executable).parent), own.get("PATH", os.defpath)])
    return {**own, "PATH": path, "DVC_NO_ANALYTICS": "1", "DVC_STUDIO_OFFLINE": "true"}


def _show(stream: IO[bytes]) -> list[str]:
    """Hand on what is said, but for the lines that tell an error: these are returned."""
    watched, shown = sys.stderr.isatty(), time.monotonic()
    errors: list[str] = []
    for text, is_line in _split(stream):
        if text.startswith(_NOISE):
            continue
        if text.startswith(_ERRORS):
            errors.append(text)
        elif is_line:
            print(f"\r{text}" if watched else text, file=sys.stderr, flush=True)
        elif watched or time.monotonic() > shown + LINE_EVERY_S:
            shown = time.monotonic()
            print(text, end="\r" if watched else "\n", file=sys.stderr, flush=True)
    return errors


def _find_reason(lines: Sequence[str]) -> str:
    """What a stage says of its error, or else DVC; empty: neither says anything."""
    for start in _ERRORS:
        for line in lines:
            if line.startswith(start):
                return one_line(line[len(start) :], 1000)
    return ""


def _split(stream: IO[bytes]) -> Iterator[tuple[str, bool]]:
    """Lines, and states of bars, which end with a carriage return; whether it is a line."""
    left = b""
    while chunk := os.read(stream.fileno(), 4096):
        *parts, left = re.split(rb"([\r\n])", left + chunk)
        for content, end in zip(parts[::2], parts[1::2], strict=True):
            if content.strip():
                yield content.decode(errors="replace"), end == b"\n"
    if left.strip():
        yield left.decode(errors="replace"), True
