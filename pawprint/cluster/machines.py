"""Which machines are alike enough to make the same bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

import pawprint
from pawprint.runner.files import file_digest, files_of
from pawprint.runner.machine import describe_machine

PACKAGE = Path(pawprint.__path__[0]).absolute()
_CODE = "code of Pawprint"


@dataclass(frozen=True)
class Machine:
    """What may change the last bits of what a process makes.

    Attributes:
        facts: as of ``describe_machine``, without GPUs, which nothing on a cluster uses.
        code: a digest of this package.
        fault: why the facts cannot be told; else empty.
    """

    facts: Mapping[str, str]
    code: str
    fault: str = ""

    @property
    def digest(self) -> str:
        """Of all of it."""
        text = json.dumps([dict(self.facts), self.code, self.fault], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@cache  # a process keeps what it is made of
def this_machine() -> Machine:
    digest = hashlib.sha256()
    for path in files_of([PACKAGE]):
        digest.update(f"{path.relative_to(PACKAGE).as_posix()}\0{file_digest(path)}\0".encode())
    try:
        facts = {name: value for name, value in describe_machine().items() if name != "gpus"}
    except metadata.PackageNotFoundError as error:
        return Machine({}, digest.hexdigest(), f"{error.name} is not installed")
    return Machine(facts, digest.hexdigest())


def find_differences(own: Machine, other: Machine) -> list[str]:
    """What differs, each in a few words; empty: both make the same bytes.

    >>> found = Machine({"processor": "EPYC", "numpy": "2.3"}, "abc")
    >>> find_differences(Machine({"processor": "Xeon", "numpy": "2.3"}, "abc"), found)
    ['processor EPYC instead of Xeon']
    """
    if other.fault:
        return [other.fault]
    found = [
        f"{name} {other.facts.get(name, 'unknown')} instead of {value}"
        for name, value in own.facts.items()
        if other.facts.get(name) != value
    ]
    return [*found, *([f"other {_CODE}"] if own.code != other.code else [])]


def must_be_refused(own: Machine, other: Machine) -> bool:
    """Whether not even ``compute.mixed`` lets a machine take part."""
    return bool(other.fault) or own.code != other.code
