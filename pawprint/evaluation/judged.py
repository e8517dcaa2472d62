"""What a model said of pictures: those of a split, and those that are of none of its classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pawprint.evaluation.metrics import Array
from pawprint.runner.errors import DataError
from pawprint.runner.files import atomic_directory
from pawprint.storage.shards import write_shard
from pawprint.storage.tables import read_csv, write_csv

_COLUMNS = ("folder", "path", "class", "probability", "unlikeness")


@dataclass(frozen=True)
class Verdicts:
    """What a model said of n pictures.

    Attributes:
        paths: n names: in the canonical archive, or of files.
        probs: float32 [n, classes]; with ``evaluate.tta: 2``, means with the mirror image.
        unlikeness: the ratio d / t, float32 [n], 0 at least, see ``pawprint.unlikeness``; of means
            as well. None where the model does not tell it.
        labels: int64 [n], places in the class names; None for pictures of none of the classes.
    """

    paths: list[str]
    probs: Array
    unlikeness: Array | None
    labels: Array | None = None

    def __len__(self) -> int:
        return len(self.paths)


@dataclass(frozen=True)
class JudgedModel:
    """What the best model by validation said of all pictures that training has not seen.

    Attributes:
        name: of the model.
        class_names: in the order of the probabilities.
        val: the pictures of validation, by which its temperature and its threshold were chosen.
        test: those of test.
        others: pictures of none of the classes, by the folder of ``evaluate.others``; may be empty.
    """

    name: str
    class_names: list[str]
    val: Verdicts
    test: Verdicts
    others: Mapping[str, Verdicts]


def write_judged(directory: Path, models: Mapping[str, Verdicts], best: JudgedModel) -> None:
    """Write what models said, besides the probabilities of test pictures, which evaluate/ has.

    - unlikeness.csv: the ratio of each test picture, in a column for each model that tells it.
    - validation/: what the best model said of validation, in the order of the split's index.csv:
      ``probabilities.npy``, float32 [n, classes], and ``unlikeness.npy``, float32 [n].
    - others.csv: what it said of each picture of none of the classes.

    Args:
        directory: where, such as ``metrics/judged``.
        models: what each model said of the same test pictures.
        best: what the best of them said of all pictures.
    """
    told = {name: judged.unlikeness for name, judged in models.items()}
    ratios = {name: found for name, found in told.items() if found is not None}
    columns = [best.test.paths, *(map(_exactly, found) for found in ratios.values())]
    with atomic_directory(directory) as out:
        write_csv(out / "unlikeness.csv", ("path", *ratios), list(zip(*columns, strict=True)))
        write_csv(out / "others.csv", _COLUMNS, list(_rows_of_others(best)))
        write_shard(out / "validation/probabilities.npy", best.val.probs)
        if best.val.unlikeness is not None:
            write_shard(out / "validation/unlikeness.npy", best.val.unlikeness)


def read_unlikeness(path: Path, model: str, paths: Sequence[str]) -> Array:
    """The ratios that ``write_judged`` wrote, float32 [n].

    Args:
        path: of unlikeness.csv.
        model: of the column.
        paths: of the n test pictures, in the order that is wanted.

    Raises:
        DataError: the table has no such model, or lacks a picture.
    """
    found = {row["path"]: row for row in read_csv(path)}
    try:
        return np.array([found[name][model] for name in paths], np.float32)
    except KeyError as error:
        raise DataError(
            f"{path}: expected the unlikeness of each test picture by {model}, found none of "
            f"{error}; run dvc repro"
        ) from None


def _exactly(ratio: np.float32) -> str:
    return f"{ratio:.9g}"  # the digits that tell one float32 from the next


def _rows_of_others(best: JudgedModel) -> Iterator[tuple[str, str, str, str, str]]:
    for folder, judged in best.others.items():
        for row, path in enumerate(judged.paths):
            probs, ratios = judged.probs[row], judged.unlikeness
            ratio = "" if ratios is None else _exactly(ratios[row])
            named = best.class_names[int(probs.argmax())]
            yield folder, path, named, f"{probs.max():.6f}", ratio
