"""Which picture each row of a split is, and its class.

data/processed/<split>/index.csv     path: one row a picture, in the order of pixels and features
data/processed/labels/<split>.csv    path, class, label: the same pictures

These are two files because features are made of pixels alone: a corrected label leaves them as they
are, and stage features has nothing to do.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from pawprint.runner.errors import DataError
from pawprint.storage.tables import read_csv, write_csv

LABELS = "labels"


def write_labels(processed: Path, split: str, rows: Iterable[tuple[str, str, int]]) -> None:
    """Write both files of a split.

    Args:
        processed: such as ``data/processed``.
        split: such as ``train``.
        rows: path, class and label of each picture.
    """
    rows = list(rows)
    write_csv(processed / split / "index.csv", ("path",), [(path,) for path, _, _ in rows])
    write_csv(processed / LABELS / f"{split}.csv", ("path", "class", "label"), rows)


def read_paths(processed: Path, split: str) -> list[str]:
    """Paths in the canonical archive, in the order of the rows."""
    return [row["path"] for row in read_csv(processed / split / "index.csv")]


def read_labels(processed: Path, split: str) -> np.ndarray:
    """Labels of one split, int64 [n], in the order of its rows.

    Raises:
        DataError: the two files are not of the same pictures.
    """
    paths, table = read_paths(processed, split), processed / LABELS / f"{split}.csv"
    label_of = {row["path"]: int(row["label"]) for row in read_csv(table)}
    if label_of.keys() != set(paths):
        odd = min(label_of.keys() ^ set(paths))
        raise DataError(
            f"{table}: expected a row for each picture of {processed / split / 'index.csv'}, and "
            f"no other; only one of them has {odd}; run dvc repro"
        )
    return np.array([label_of[path] for path in paths], np.int64)
