"""What is known of a picture besides what it shows: its file, and its pixels on average."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pawprint.data.manifest import SPLITS
from pawprint.runner.errors import DataError
from pawprint.storage.tables import read_csv
from pawprint.suspects.looks import COLUMNS_OF_LOOKS, look_at_pictures
from pawprint.suspects.pictures import JudgedPictures
from pawprint.suspects.shortcuts import encode_categories, shared_folders


@dataclass(frozen=True)
class Facts:
    """What is measured of n pictures.

    Attributes:
        file_bytes: float64 [n].
        width: float64 [n], pixels of the file; 0 where it does not tell.
        height: float64 [n].
        kinds: of each, format and mode, such as ``JPEG RGB``.
        looks: column of ``COLUMNS_OF_LOOKS`` → float64 [n].
    """

    file_bytes: np.ndarray
    width: np.ndarray
    height: np.ndarray
    kinds: list[str]
    looks: Mapping[str, np.ndarray]


def collect_facts(processed: Path, table: Path, judged: JudgedPictures) -> Facts:
    """Read what stage split noted, and measure the decoded pictures.

    Args:
        processed: ``data/processed``.
        table: ``data/report/pictures.csv``.
        judged: n pictures.

    Raises:
        DataError: the table lacks a picture, or the pixels are of others.
    """
    paths = judged.paths
    known = {row["path"]: row for row in read_csv(table)}
    if missing := [path for path in paths if path not in known]:
        raise DataError(
            f"{table}: expected a row for {missing[0]}, found none; run dvc repro split"
        )
    rows = [known[path] for path in paths]
    looks = look_at_pictures([processed / split for split in SPLITS])
    if len(looks) != len(paths):
        raise DataError(
            f"{processed}: expected the pixels of {len(paths)} pictures, found {len(looks)}; "
            "run dvc repro preprocess"
        )
    file_bytes, width, height = (
        np.array([float(row[column] or 0) for row in rows])
        for column in ("bytes", "width", "height")
    )
    kinds = [f"{row['format']} {row['mode']}" for row in rows]
    columns = dict(zip(COLUMNS_OF_LOOKS, looks.T, strict=True))
    return Facts(file_bytes, width, height, kinds, columns)


def list_properties(facts: Facts, judged: JudgedPictures) -> dict[str, np.ndarray]:
    """What may tell a label without being what the picture shows: name → float64 [n, columns]."""
    looks, area = facts.looks, np.maximum(facts.width * facts.height, 1)
    border = [looks[f"border_{name}"] for name in ("red", "green", "blue", "spread")]
    numbers = {
        "size in pixels": [facts.width, facts.height, facts.width / np.maximum(facts.height, 1)],
        "file size": [facts.file_bytes],
        "bytes per pixel": [facts.file_bytes / area],
        "mean colour": [looks["red"], looks["green"], looks["blue"]],
        "sharpness": [looks["sharpness"]],
        "border": border,
    }
    categories = {"format": facts.kinds, "folder": shared_folders(judged.paths)}
    return {name: np.stack(columns, axis=1) for name, columns in numbers.items()} | {
        name: encode_categories(values) for name, values in categories.items()
    }
