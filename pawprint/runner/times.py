"""How long stages took, for whoever asks: a study, which compares the cost of its rows."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

ASKED = "PAWPRINT_TIMES"  # names the file to which each stage that ends well adds a line


@dataclass(frozen=True)
class StageTime:
    """What one run of a stage took.

    Attributes:
        stage: its name.
        seconds: by the clock, without the start of Python.
        cpu_seconds: of all its threads and processes, with the start of Python.
        resumed: whether it went on with what an earlier run had left, whose time is not in this.
    """

    stage: str
    seconds: float
    cpu_seconds: float
    resumed: bool


@contextmanager
def note_time(stage: str, resumed: bool) -> Iterator[None]:
    """Write down how long a block took, if this is asked for and the block ends well."""
    begin = time.monotonic()
    yield
    if path := os.environ.get(ASKED):
        import resource  # there is none on Windows

        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        cpu_seconds = sum(each.ru_utime + each.ru_stime for each in used)
        found = StageTime(stage, time.monotonic() - begin, cpu_seconds, resumed)
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(found)) + "\n")


def read_times(path: Path) -> dict[str, StageTime]:
    """The last line of each stage; none if there is no such file. A line cut short is left out."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            time_of = StageTime(**json.loads(line))
        except (ValueError, TypeError):
            continue
        found[time_of.stage] = time_of
    return found
