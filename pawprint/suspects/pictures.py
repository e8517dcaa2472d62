"""The pictures of all splits, with what a model says of each that was not trained on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pawprint.choosing.out_of_fold import OutOfFold, read_out_of_fold
from pawprint.choosing.pictures import CHOOSING_SPLITS
from pawprint.data.datasets import check_rows, read_class_names
from pawprint.data.manifest import SPLITS, Picture, read_manifest
from pawprint.runner.errors import DataError
from pawprint.storage.shards import ShardedArray
from pawprint.storage.tables import read_csv
from pawprint.unlikeness.likeness import average_map, to_directions

NOT_IN_A_FOLD = -1  # a picture of test
_ROWS = 1024


@dataclass(frozen=True)
class JudgedPictures:
    """The pictures of train, val and test that could be decoded, in the order of their index.csv.

    Attributes:
        rows: n rows of split.csv.
        labels: int64 [n], places of their classes in ``class_names``.
        folds: int64 [n], of stage crossval; ``NOT_IN_A_FOLD`` for those of test.
        directions: float32 [n, d], the frozen features over their length.
        probs: float32 [n, c]: of train and val out of fold, of test by the model of the head.
        class_names: c names.
    """

    rows: list[Picture]
    labels: np.ndarray
    folds: np.ndarray
    directions: np.ndarray
    probs: np.ndarray
    class_names: list[str]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def paths(self) -> list[str]:
        """n names in the canonical archive."""
        return [row.path for row in self.rows]

    @property
    def is_learned(self) -> np.ndarray:
        """bool [n]: in train or val, from which thresholds may be learned; not in test."""
        return self.folds != NOT_IN_A_FOLD


def join_pictures(
    processed: Path,
    pooled: Path,
    manifest: Path,
    crossval: Path,
    test_features: np.ndarray,
    test_probs: np.ndarray,
) -> JudgedPictures:
    """Read what is known of train and val, and put the pictures of test below.

    Memory: n * d * 4 bytes.

    Args:
        processed: ``data/processed``.
        pooled: ``data/features/pooled``.
        manifest: ``data/split.csv``.
        crossval: the table of out-of-fold probabilities.
        test_features: float32 [m, d], of the pictures of test in the order of their index.csv: the
            mean over the places of the last map.
        test_probs: float32 [m, c].

    Raises:
        DataError: the files do not fit together.
    """
    class_names, said = read_class_names(processed), read_out_of_fold(crossval)
    known = {picture.path: picture for picture in read_manifest(manifest)}
    paths = {s: [row["path"] for row in read_csv(processed / s / "index.csv")] for s in SPLITS}
    rows = [_find_row(known, path, manifest) for split in SPLITS for path in paths[split]]
    places = _find_places(said, rows[: -len(test_probs)], class_names, crossval)
    directions = []
    for split in CHOOSING_SPLITS:
        array = ShardedArray(pooled / split)
        check_rows(processed / split, len(paths[split]), array)
        for batch in array.batches(_ROWS):
            directions.append(to_directions(average_map(batch[:, 0], test_features.shape[1])))
    label = {name: place for place, name in enumerate(class_names)}
    return JudgedPictures(
        rows,
        np.array([label[row.class_name] for row in rows], np.int64),
        np.concatenate([said.folds[places], np.full(len(test_probs), NOT_IN_A_FOLD)]),
        np.concatenate([*directions, to_directions(test_features)]),
        np.concatenate([said.probs[places], test_probs]),
        class_names,
    )


def _find_row(known: dict[str, Picture], path: str, manifest: Path) -> Picture:
    if path not in known:
        raise DataError(
            f"{manifest}: expected a row for each decoded picture, found none for {path}; "
            "run dvc repro"
        )
    return known[path]


def _find_places(
    said: OutOfFold, rows: Sequence[Picture], class_names: list[str], crossval: Path
) -> np.ndarray:
    """The places of pictures in the table of crossval, int64 [n].

    Raises:
        DataError: the table is of other pictures or classes.
    """
    place = {path: number for number, path in enumerate(said.paths)}
    missing = [row.path for row in rows if row.path not in place]
    if missing or said.class_names != class_names:
        found = f"no row for {missing[0]}" if missing else f"the classes {said.class_names}"
        raise DataError(
            f"{crossval}: expected a row for each picture of train and val, of the classes "
            f"{class_names}; found {found}; run dvc repro crossval"
        )
    return np.array([place[row.path] for row in rows], np.int64)
