"""What each model said of each test picture: ``predictions.csv``, written and read here alone.

One row a picture: path, actual, and for each model m: m_predicted (class name), m_probability (of
the predicted class), m_actual_probability, m_correct.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pawprint.runner.errors import DataError
from pawprint.storage.tables import printable, read_csv, write_csv

DECIMALS = 6  # of the probabilities
MODEL_COLUMNS = ("predicted", "probability", "actual_probability", "correct")  # of each model


@dataclass(frozen=True)
class Prediction:
    """What one model said of one picture.

    Attributes:
        path: of the picture, in the canonical archive.
        actual: its class.
        predicted: the most probable class.
        probability: of that class, in 0...1, to 6 decimals.
        actual_probability: of the actual class.
    """

    path: str
    actual: str
    predicted: str
    probability: float
    actual_probability: float

    def __str__(self) -> str:
        """For the caption of the picture."""
        said = f"{self.predicted} {self.probability:.3f}"
        return printable(f"{said}, actual {self.actual} | {self.path}")

    @property
    def correct(self) -> bool:
        return self.predicted == self.actual


Predictions = Mapping[str, Mapping[str, Prediction]]  # model → path → what it said


def make_predictions(
    paths: Sequence[str],
    y_true: np.ndarray,
    probs: Mapping[str, np.ndarray],
    class_names: Sequence[str],
) -> Predictions:
    """The predictions of several models.

    Args:
        paths: of n pictures.
        y_true: int64 [n], the places of their classes in `class_names`.
        probs: model → float32 [n, classes].
        class_names: in the order of the probabilities.
    """
    return {
        name: {
            path: Prediction(
                path,
                class_names[actual],
                class_names[row.argmax()],
                round(float(row.max()), DECIMALS),
                round(float(row[actual]), DECIMALS),
            )
            for path, actual, row in zip(paths, y_true, rows, strict=True)
        }
        for name, rows in probs.items()
    }


def sure_and_right(said: Collection[Prediction]) -> tuple[np.ndarray, np.ndarray]:
    """Of the predicted classes: probabilities, float64 [n], and whether right, bool [n]."""
    return np.array([one.probability for one in said]), np.array([one.correct for one in said])


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write the table of all models, which must have seen the same pictures."""
    names = list(predictions)
    header = ["path", "actual", *(f"{name}_{column}" for name in names for column in MODEL_COLUMNS)]
    write_csv(path, header, _rows(predictions))


def _rows(predictions: Predictions) -> Iterator[list[str]]:
    first, *_ = predictions.values()
    for path, said in first.items():
        row = [path, said.actual]
        for one in (of_model[path] for of_model in predictions.values()):
            probabilities = (one.probability, one.actual_probability)
            row += [one.predicted, *(f"{p:.{DECIMALS}f}" for p in probabilities), str(one.correct)]
        yield row


def read_predictions(path: Path) -> Predictions:
    """Read what ``write_predictions`` wrote.

    Raises:
        DataError: it is not such a table.
    """
    rows = read_csv(path)
    suffix = f"_{MODEL_COLUMNS[0]}"
    names = [name.removesuffix(suffix) for name in (rows or [{}])[0] if name.endswith(suffix)]
    try:
        found = {name: {row["path"]: _parse(row, name) for row in rows} for name in names}
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: expected the table that stage evaluate wrote, found {error!r}; "
            "run `dvc repro -f evaluate`"
        ) from None
    if not found or any(len(of_model) != len(rows) for of_model in found.values()):
        raise DataError(
            f"{path}: expected one row for each picture, as stage evaluate writes them; "
            "run `dvc repro -f evaluate`"
        )
    return found


def _parse(row: Mapping[str, str], name: str) -> Prediction:
    predicted, probability, actual_probability = (row[f"{name}_{c}"] for c in MODEL_COLUMNS[:3])
    return Prediction(
        row["path"], row["actual"], predicted, float(probability), float(actual_probability)
    )
