"""A few test pictures as the files that they came as, for whoever wants to try a trained model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from pawprint.data.manifest import Picture, open_archive

SAMPLES_PER_CLASS = 2
MOST_SAMPLES = 20


def choose_samples(pictures: Iterable[Picture]) -> dict[str, Picture]:
    """Choose test pictures by their content alone, of each class in turn.

    Returns:
        File name, ``<class>_<number>`` with the picture's own suffix → picture.
    """
    by_class: dict[str, list[Picture]] = defaultdict(list)
    for picture in sorted(pictures, key=lambda picture: picture.sha256):
        if picture.split == "test":
            by_class[picture.class_name].append(picture)
    turns = [
        (number, name, members[number])
        for number in range(SAMPLES_PER_CLASS)
        for name, members in sorted(by_class.items())
        if number < len(members)
    ]
    return {
        f"{name}_{number + 1}{PurePosixPath(picture.path).suffix}": picture
        for number, name, picture in turns[:MOST_SAMPLES]
    }


def write_samples(archive: Path, pictures: Iterable[Picture], out: Path) -> None:
    """Copy the chosen pictures out of the canonical archive, byte for byte.

    Args:
        archive: the canonical archive.
        pictures: of its manifest, those that can be decoded.
        out: directory to fill.
    """
    with open_archive(archive) as source:
        for name, picture in choose_samples(pictures).items():
            (out / name).write_bytes(source.read(picture.path))
