"""Commands as whoever sits at a terminal meets them."""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread


@dataclass
class Watching:
    """A command whose standard error is a terminal.

    Attributes:
        process: of the command.
        shown: what the terminal got so far.
    """

    process: subprocess.Popen[bytes]
    shown: bytearray = field(default_factory=bytearray)

    @property
    def text(self) -> str:
        return self.shown.decode().replace("\r\n", "\n")


@contextmanager
def in_terminal(
    command: Sequence[str | bytes], cwd: Path, environment: Mapping[str, str]
) -> Iterator[Watching]:
    """Start a command; when the block ends, it has ended and all that it said is there."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=subprocess.DEVNULL, stderr=theirs
    )
    os.close(theirs)
    watching = Watching(process)

    def read() -> None:
        with suppress(OSError):  # nobody holds the other end any more
            while content := os.read(ours, 4096):
                watching.shown.extend(content)

    reader = Thread(target=read, daemon=True)
    reader.start()
    try:
        yield watching
        process.wait(60)
    finally:
        process.kill()
        process.wait()
        reader.join()
        os.close(ours)
