"""The pictures among which one chooses: train and validation together, with their cached features.

The test split's features are never made, and nothing here reads its pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pawprint.data.datasets import check_rows, read_class_names
from pawprint.data.groups import read_groups, unite
from pawprint.data.labels import read_labels, read_paths
from pawprint.data.manifest import Picture, read_manifest
from pawprint.runner.errors import DataError
from pawprint.runner.params import SplitParams
from pawprint.storage.shards import ShardedArray

CHOOSING_SPLITS = ("train", "val")


@dataclass(frozen=True)
class LabelledFeatures:
    """The pictures of train, then those of val, in the order of their index.csv.

    Attributes:
        paths: of n pictures, in the canonical archive.
        splits: train or val, of each.
        labels: int64 [n], places in ``class_names``.
        groups: of each, the name of what must stay together: duplicates, named groups, and what
            these join, as stage split has it.
        views: float32 [n, d] each; the first is of the plain pictures. Pictures of val have no
            other, and are plain in all of them.
        class_names: c names.
        num_test: pictures of the test split, of which nothing else is read.
    """

    paths: list[str]
    splits: list[str]
    labels: np.ndarray
    groups: list[str]
    views: list[np.ndarray]
    class_names: list[str]
    num_test: int


def read_labelled_features(
    processed: Path, pooled: Path, manifest: Path, params: SplitParams
) -> LabelledFeatures:
    """Read them into memory: n * d * 4 bytes for each view.

    Args:
        processed: ``data/processed``.
        pooled: ``data/features/pooled``.
        manifest: ``data/split.csv``.
        params: which groups were named.

    Raises:
        DataError: files do not fit together.
    """
    listed = read_manifest(manifest)
    paths, splits, labels, arrays = [], [], [], []
    for split in CHOOSING_SPLITS:
        of_split, array = read_labels(processed, split), ShardedArray(pooled / split)
        check_rows(processed / split, len(of_split), array)
        paths += read_paths(processed, split)
        splits += [split] * len(of_split)
        labels.append(of_split)
        arrays.append(array)
    return LabelledFeatures(
        paths,
        splits,
        np.concatenate(labels),
        _find_groups(manifest, listed, paths, params),
        _read_views(arrays),
        read_class_names(processed),
        sum(picture.split == "test" for picture in listed),
    )


def group_pictures(pictures: Sequence[Picture], params: SplitParams) -> dict[str, str]:
    """path → the name of what must stay together: duplicates, named groups, and what these join.

    Args:
        pictures: all of a manifest.
        params: which groups were named.

    Raises:
        DataError: the named groups cannot be read.
    """
    named = read_groups(params, pictures)
    together = unite(pictures, named) if named else {}
    return {p.path: together.get(p.group, p.group) for p in pictures}


def _find_groups(
    manifest: Path, pictures: list[Picture], paths: list[str], params: SplitParams
) -> list[str]:
    group_of = group_pictures(pictures, params)
    try:
        return [group_of[path] for path in paths]
    except KeyError as error:
        raise DataError(
            f"{manifest}: expected a row for each picture of train and val, found none for "
            f"{error}; run dvc repro"
        ) from None


def _read_views(arrays: list[ShardedArray]) -> list[np.ndarray]:
    """The rows of [n_i, views_i, d] arrays, below each other, a view at a time."""
    starts = np.cumsum([0, *map(len, arrays)])
    most = max(array.shape[1] for array in arrays)
    views = [np.empty((starts[-1], arrays[0].shape[2]), np.float32) for _ in range(most)]
    for array, start in zip(arrays, starts, strict=False):
        for rows in array.batches(1024):
            for number, view in enumerate(views):
                view[start : start + len(rows)] = rows[:, number if number < rows.shape[1] else 0]
            start += len(rows)
    return views
