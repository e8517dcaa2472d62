"""A share of a core for all processes of a node, by the kernel's control groups."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from pawprint.runner.errors import PawprintError

_V1, _V2 = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")
PERIOD_US = 20_000


class CpuShare:
    """A group of processes that together use at most this share of one core.

    Args:
        name: of the group.
        cores: such as 0.6.

    Raises:
        PawprintError: groups are not allowed here.
    """

    def __init__(self, name: str, cores: float) -> None:
        first = _V1.is_dir()
        self._path = (_V1 if first else _V2) / name
        quota = int(cores * PERIOD_US)
        files = {"cpu.cfs_period_us": f"{PERIOD_US}", "cpu.cfs_quota_us": f"{quota}"}
        try:
            self._path.mkdir()
            for file, text in (files if first else {"cpu.max": f"{quota} {PERIOD_US}"}).items():
                (self._path / file).write_text(text)
        except OSError as error:
            raise PawprintError(f"{self._path}: no share of a core can be set: {error}") from None

    def add(self, pid: int) -> None:
        """Take a process in, and all that it will start."""
        (self._path / "cgroup.procs").write_text(str(pid))

    def remove(self) -> None:
        """Once its processes have ended."""
        for _ in range(50):
            with suppress(OSError):
                os.rmdir(self._path)
                return
            time.sleep(0.1)
