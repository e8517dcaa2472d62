"""A review in a process of its own, of a project made by hand."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import httpx
import numpy as np
from corpus import encode
from PIL import Image

from pawprint.data.manifest import Picture, write_manifest
from pawprint.storage.tables import write_csv

ROOT = Path(__file__).resolve().parent.parent
HEADER = "sha256,decision,label,who,why"
COUNT = 8


@dataclass(frozen=True)
class Review:
    """A review in a process of its own.

    Attributes:
        address: of its page.
        decisions: the file that it writes.
        digests: SHA-256 of the suspects, in order.
    """

    address: str
    process: subprocess.Popen[str]
    decisions: Path
    digests: list[str]

    def rows(self) -> list[str]:
        lines = self.decisions.read_text(encoding="utf-8").splitlines()
        assert lines[0] == HEADER
        return lines[1:]


def make_project(
    directory: Path,
    relabelled: Mapping[int, str] | None = None,
    copied: Mapping[int, str] | None = None,
) -> list[str]:
    """Pictures, their division, and suspects with what a person sees of them; the digests.

    Some pictures have another class than they came with; some have a copy at another place.
    """
    for place in ("data/raw", "metrics/suspects"):
        (directory / place).mkdir(parents=True)
    shutil.copy(ROOT / "params.yaml", directory)
    (directory / "data/decisions.csv").write_text(f"{HEADER}\n")
    rng, pictures = np.random.default_rng(0), []
    with ZipFile(directory / "data/raw/images.zip", "w") as archive:
        for i in range(COUNT):
            content = encode(Image.fromarray(rng.integers(0, 255, (20, 30, 3), np.uint8)), "PNG")
            path, digest = (
                f"{'dog' if i % 2 else 'cat'}/{i}.png",
                hashlib.sha256(content).hexdigest(),
            )
            archive.writestr(path, content)
            label = (relabelled or {}).get(i, path[:3])
            pictures.append(Picture(path, label, "train", digest, digest[:16], path[:3]))
    copies = [
        replace(pictures[i], path=p, class_name=p[:3], source_class=p[:3])
        for i, p in (copied or {}).items()
    ]
    write_manifest(directory / "data/split.csv", [*pictures, *copies])
    suspects = [
        (i, p.path, p.split, p.class_name, "dog" if i % 2 else "cat", "label", 0.9)
        for i, p in enumerate(pictures, 1)
    ]
    shortcut = (COUNT + 1, "", "", "", "", "shortcut: the file's format tells the class", 0.97)
    header = ("rank", "path", "split", "label", "suggested", "why", "score")
    write_csv(directory / "metrics/suspects.csv", header, [*suspects, shortcut])
    near = [(p.path, pictures[0].path, 0.5) for p in pictures[1:]]
    write_csv(
        directory / "metrics/suspects/neighbours.csv", ("path", "neighbour", "similarity"), near
    )
    said = [(p.path, name, share) for p in pictures for name, share in (("cat", 0.2), ("dog", 0.8))]
    write_csv(
        directory / "metrics/suspects/probabilities.csv", ("path", "class", "probability"), said
    )
    return [picture.sha256 for picture in pictures]


@contextmanager
def reviewing(directory: Path, *options: str, **data: Mapping[int, str]) -> Iterator[Review]:
    """Arguments: of the command; and what ``make_project`` takes."""
    digests = make_project(directory, **data)
    process = start(directory, *options)
    try:
        yield Review(read_address(process), process, directory / "data/decisions.csv", digests)
    finally:
        process.kill()
        with suppress(ValueError):  # a test has read it to its end
            process.communicate()


def start(directory: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pawprint", "review", "--port", "0", *options]
    path = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=directory, env=path, text=True, stdout=pipe, stderr=pipe)


def read_address(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    while line := process.stdout.readline():
        if found := re.search(r"http://[\d.:]+", line):
            return found[0]
    raise AssertionError(process.communicate())


def put(review: Review, sha256: str, headers: dict[str, str] | None = None, **values: str) -> Any:
    return httpx.put(f"{review.address}/decisions/{sha256}", json=values, headers=headers)
