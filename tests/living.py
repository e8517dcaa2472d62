"""Which processes live, as Linux tells it, and waiting for what they do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path


def descendants(pid: int) -> set[int]:
    """A process and all that it started, directly or not."""
    parents = {int(path.name): _parent(path) for path in Path("/proc").glob("[0-9]*")}
    found = {pid}
    while new := {child for child, parent in parents.items() if parent in found} - found:
        found |= new
    return found


def living(pids: Iterable[int]) -> set[int]:
    """Those of some processes that still run."""
    return {pid for pid in pids if _state(pid) not in ("", "Z", "X")}


def _parent(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Look every hundredth of a second; False if it has not come true in time."""
    end = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < end:
        time.sleep(0.01)
    return met
