"""Runs a command and measures it: wall clock, CPU-seconds and memory of all its processes."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from threading import Event, Thread

from pawprint.runner.errors import PawprintError

INTERVAL_S = 0.1  # between two samples of the memory, unless they would take too much time
LIGHT, CLOSE = 0.02, 0.5  # largest share of a core for them: beside a timing, or for the peak alone


@dataclass(frozen=True)
class Usage:
    """What a command cost.

    Attributes:
        wall_s: from its start to its end.
        cpu_s: user and system time of its process and of all that it started and waited for.
        peak_mb: largest sum of the memory of its process and all below it, in 10^6 bytes; pages
            that several processes share count once (PSS).
        below_peak_mb: the same without its own process: of what it started.
        text: all that it printed.
    """

    wall_s: float
    cpu_s: float
    peak_mb: float
    below_peak_mb: float
    text: str

    def figures(self) -> dict[str, float]:
        return {"wall_s": self.wall_s, "cpu_s": self.cpu_s, "peak_mb": self.peak_mb}


def run_measured(
    command: Sequence[str],
    directory: Path,
    environment: Mapping[str, str],
    log: Path,
    sampling: float = LIGHT,
) -> Usage:
    """Run a command to its end.

    Args:
        command: program and arguments.
        directory: where it runs.
        environment: all of it.
        log: file that receives what it prints.
        sampling: share of one core that watching its memory may take, above 0.

    Raises:
        PawprintError: it ended with another code than 0.
    """
    start = time.perf_counter()
    with open(log, "wb") as output:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        with _MemorySampler(process.pid, sampling) as memory:
            _, status, used = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)  # for Popen: it has been waited for
    finally:
        if process.returncode is None:
            _terminate(process)
    text = log.read_text(encoding="utf-8", errors="replace")
    if process.returncode:
        last = " | ".join(line for line in text.replace("\r", "\n").splitlines()[-5:] if line)
        raise PawprintError(f"{' '.join(command)}: exit code {process.returncode}: {last[-800:]}")
    cpu_s = used.ru_utime + used.ru_stime
    return Usage(wall_s, cpu_s, memory.peak_mb, memory.below_peak_mb, text)


def _terminate(process: subprocess.Popen[bytes]) -> None:
    """End a process and all below it, and wait for it."""
    for pid in [*descendants(process.pid), process.pid]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    process.wait()


class _MemorySampler:
    """Samples a process and all below it, in a thread, while its ``with`` block runs."""

    def __init__(self, pid: int, share: float) -> None:
        self.peak_mb = self.below_peak_mb = 0.0
        self._pid = pid
        self._share = share
        self._done = Event()
        self._thread = Thread(target=self._watch, daemon=True)

    def __enter__(self) -> _MemorySampler:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        pause_s = 0.0
        while not self._done.wait(pause_s):
            start = time.thread_time()
            below = sum(read_pss_mb(pid) for pid in descendants(self._pid))
            self.peak_mb = max(self.peak_mb, below + read_pss_mb(self._pid))
            self.below_peak_mb = max(self.below_peak_mb, below)
            pause_s = max(INTERVAL_S, (time.thread_time() - start) / self._share)


def read_pss_mb(pid: int) -> float:
    """Proportional set size of a process in 10^6 bytes; 0 if it has ended."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            line = next(line for line in file if line.startswith("Pss:"))
    except (OSError, StopIteration):
        return 0.0
    return int(line.split()[1]) * 1024 / 1e6


def descendants(pid: int) -> list[int]:
    """The processes below one, in any order."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            children.setdefault(_parent(int(entry)), []).append(int(entry))
    found: list[int] = []
    pending = [pid]
    while pending:
        below = children.get(pending.pop(), [])
        found += below
        pending += below
    return found


def _parent(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except OSError:
        return 0


@dataclass(frozen=True)
class Summary:
    """Several runs of the same: their median, lowest and highest, and all in order."""

    median: float
    lowest: float
    highest: float
    runs: list[float]


def summarize(values: Iterable[float]) -> Summary:
    """Summarize at least one value.

    >>> summarize([3.0, 1.0, 2.0])
    Summary(median=2.0, lowest=1.0, highest=3.0, runs=[3.0, 1.0, 2.0])
    """
    runs = list(values)
    return Summary(median(runs), min(runs), max(runs), runs)
