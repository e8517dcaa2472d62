"""What stage evaluate wrote of the best model, put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pawprint.data.labels import read_labels, read_paths
from pawprint.deciding.outcome import Judgements
from pawprint.storage.tables import read_csv


def read_judgements(
    processed: Path,
    split: str,
    probabilities: Path,
    unlikeness: Path,
    group_of: Mapping[str, str],
    unlike_from: float,
) -> Judgements:
    """What a model said of a split.

    Args:
        processed: such as ``data/processed``.
        split: such as ``val``.
        probabilities: float32 [n, c], in the order of the split.
        unlikeness: float32 [n]; missing where the model cannot tell.
        group_of: path → what belongs together.
        unlike_from: see ``Judgements``.
    """
    paths = read_paths(processed, split)
    return Judgements(
        paths,
        [group_of[path] for path in paths],
        np.load(probabilities),
        read_labels(processed, split),
        np.load(unlikeness) if unlikeness.is_file() else None,
        unlike_from,
    )


def read_others(path: Path) -> dict[str, np.ndarray]:
    """Folder → unlikeness float32 [n] of its pictures; empty where the model cannot tell.

    Args:
        path: such as ``metrics/judged/others.csv``.
    """
    return {
        folder: np.array([float(row["unlikeness"]) for row in rows], np.float32)
        for folder, rows in _by_folder(read_csv(path)).items()
    }


def _by_folder(rows: Sequence[Mapping[str, str]]) -> dict[str, list[Mapping[str, str]]]:
    found: dict[str, list[Mapping[str, str]]] = {}
    for row in rows:
        if row["unlikeness"]:
            found.setdefault(row["folder"], []).append(row)
    return found
