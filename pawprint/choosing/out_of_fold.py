"""What the heads of a cross-validation said of the pictures that they had not seen: a table.

``metrics/crossval/predictions.csv``, written and read here alone. One row a picture of train and
val: path, split, fold, actual and predicted (class names), and for each class the probability
(``probability_<class>``), to 6 decimals.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pawprint.evaluation.predictions import DECIMALS
from pawprint.runner.errors import DataError
from pawprint.storage.tables import read_csv, write_csv

_FIRST = ("path", "split", "fold", "actual", "predicted")
_OF_CLASS = "probability_"


@dataclass(frozen=True)
class OutOfFold:
    """The rows of the table.

    Attributes:
        paths: of n pictures, in the canonical archive.
        splits: train or val, of each.
        folds: int64 [n], from 0.
        labels: int64 [n], the places of the actual classes in ``class_names``.
        probs: float32 [n, c], by the head that was not trained on the picture.
        class_names: c names.
    """

    paths: list[str]
    splits: list[str]
    folds: np.ndarray
    labels: np.ndarray
    probs: np.ndarray
    class_names: list[str]


def write_out_of_fold(path: Path, table: OutOfFold) -> None:
    write_csv(path, [*_FIRST, *(_OF_CLASS + name for name in table.class_names)], _rows(table))


def _rows(table: OutOfFold) -> Iterator[list[str]]:
    names = table.class_names
    said = table.probs.argmax(axis=1)
    columns = (table.paths, table.splits, table.folds, table.labels, said, table.probs.tolist())
    for path, split, fold, label, predicted, probs in zip(*columns, strict=True):
        probabilities = (f"{p:.{DECIMALS}f}" for p in probs)
        yield [path, split, str(fold), names[label], names[predicted], *probabilities]


def read_out_of_fold(path: Path) -> OutOfFold:
    """Read what ``write_out_of_fold`` wrote.

    Raises:
        DataError: it is not such a table.
    """
    rows = read_csv(path)
    names = [name.removeprefix(_OF_CLASS) for name in (rows or [{}])[0] if name not in _FIRST]
    place = {name: label for label, name in enumerate(names)}
    try:
        probs = [[float(row[_OF_CLASS + name]) for name in names] for row in rows]
        table = OutOfFold(
            [row["path"] for row in rows],
            [row["split"] for row in rows],
            np.array([int(row["fold"]) for row in rows], np.int64),
            np.array([place[row["actual"]] for row in rows], np.int64),
            np.array(probs, np.float32).reshape(len(rows), len(names)),
            names,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: expected the table that stage crossval wrote, found {error!r}; "
            "run `dvc repro -f crossval`"
        ) from None
    if len(set(table.paths)) != len(rows) or not names:
        raise DataError(
            f"{path}: expected one row for each picture, as stage crossval writes them; "
            "run `dvc repro -f crossval`"
        )
    return table
