"""Pictures of none of the classes, and which of them a model accepts all the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

from pawprint.storage.tables import read_csv, write_csv

_COLUMNS = ("folder", "path", "class", "probability", "unlikeness")  # as stage evaluate has them


@dataclass(frozen=True)
class OtherPicture:
    """A picture of no class, as the best model sees it.

    Attributes:
        folder: the kind of picture.
        path: of the file.
        class_name: that it is taken for.
        probability: of that class, in 0...1.
        unlikeness: 0 or more.
    """

    folder: str
    path: str
    class_name: str
    probability: float
    unlikeness: float


def group_unlikeness(pictures: Sequence[OtherPicture]) -> dict[str, np.ndarray]:
    """Folder → unlikeness of its pictures, float32 [n]."""
    found: dict[str, list[float]] = {}
    for picture in pictures:
        found.setdefault(picture.folder, []).append(picture.unlikeness)
    return {folder: np.array(ratios, np.float32) for folder, ratios in found.items()}


def write_accepted(path: Path, pictures: Sequence[OtherPicture], unlike_above: float) -> None:
    """Write those that are not unlike the training pictures, the surest answers first.

    Args:
        path: of the table.
        pictures: all of them.
        unlike_above: from what unlikeness on, itself excluded, a picture is unlike.
    """
    accepted = [picture for picture in pictures if picture.unlikeness <= unlike_above]
    accepted.sort(key=lambda picture: (-picture.probability, picture.path))
    write_csv(path, _COLUMNS, list(map(astuple, accepted)))


def read_pictures(path: Path) -> list[OtherPicture]:
    """Read what stage evaluate, or ``write_accepted``, wrote; no row without unlikeness."""
    return [
        OtherPicture(
            row["folder"],
            row["path"],
            row["class"],
            float(row["probability"]),
            float(row["unlikeness"]),
        )
        for row in read_csv(path)
        if row["unlikeness"]
    ]
