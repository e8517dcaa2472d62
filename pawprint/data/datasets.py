"""What the preprocess and features stages wrote, as arrays and as tf.data batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pawprint.data.labels import read_labels, read_paths
from pawprint.runner.errors import DataError
from pawprint.runner.params import TrainingParams
from pawprint.storage.shards import ShardedArray
from pawprint.storage.tables import read_json

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True)
class LabelledImages:
    """One split of the processed pictures.

    Attributes:
        images: uint8 [n, size, size, 3], RGB in 0...255.
        labels: int64 [n], places in the class names.
        paths: n names in the canonical archive.
    """

    images: ShardedArray
    labels: np.ndarray
    paths: list[str]

    def __len__(self) -> int:
        return len(self.paths)

    def gather(self, paths: Sequence[str]) -> np.ndarray:
        """The pictures of some paths, uint8 [k, size, size, 3]; KeyError: there is no such path."""
        rows = {path: row for row, path in enumerate(self.paths)}
        return self.images.gather([rows[path] for path in paths])


def read_class_names(processed: Path) -> list[str]:
    """The classes of ``data/processed``; a class's place is its label."""
    return read_json(processed / "classes.json")


def read_labelled_images(processed: Path, split: str) -> LabelledImages:
    """Open one split, such as ``train``, of ``data/processed``."""
    paths = read_paths(processed, split)
    images = ShardedArray(processed / split)
    check_rows(processed / split, len(paths), images)
    return LabelledImages(images, read_labels(processed, split), paths)


def check_rows(directory: Path, rows: int, array: ShardedArray) -> None:
    """Refuse an array that has not one row for each of an index.

    Raises:
        DataError: the directory, and both numbers.
    """
    if len(array) != rows:
        raise DataError(
            f"{directory}: its index.csv has {rows} rows, but there are {len(array)} of pixels or "
            "features; run dvc repro"
        )


# (epoch, rows) → the arrays of these rows from which `transform` makes the inputs of a batch.
Gather = Callable[[int, np.ndarray], tuple[np.ndarray, ...]]
# first epoch, from 0 → the batches of it and of all later epochs in a row
Batches = Callable[[int], "tf.data.Dataset"]
Inputs = tuple[Batches, "tf.data.Dataset"]  # of training, and of validation


def training_batches(
    gather: Gather,
    labels: np.ndarray,
    params: TrainingParams,
    transform: Callable[..., tf.Tensor],
) -> Batches:
    """Batches of all epochs in a row; each epoch has every row once, in an order of its own.

    The order depends on (seed, epoch) alone, so training can start at any epoch.

    Args:
        gather: (epoch, rows int64 [k]) → arrays [k, ...].
        labels: int64 [n].
        params: the stage's section: batch size, epochs, seed.
        transform: the arrays of ``gather`` as tensors → float32 inputs of the model.

    Returns:
        A function: the first epoch → (inputs, labels) batches, ``steps_per_epoch(n, batch_size)``
        an epoch, the last of which holds what remains.
    """
    import tensorflow as tf

    def generate(first_epoch: int) -> Iterator[tuple[np.ndarray, ...]]:
        for epoch in range(first_epoch, params.epochs):
            order = np.random.default_rng([params.seed, epoch]).permutation(len(labels))
            for start in range(0, len(labels), params.batch_size):
                rows = order[start : start + params.batch_size]
                yield (*gather(epoch, rows), labels[rows])

    example = (*gather(0, np.arange(1)), labels)
    signature = tuple(tf.TensorSpec((None, *a.shape[1:]), a.dtype) for a in example)

    def batches(first_epoch: int) -> tf.data.Dataset:
        rows = tf.data.Dataset.from_generator(
            lambda: generate(first_epoch), output_signature=signature
        )
        steps = (params.epochs - first_epoch) * steps_per_epoch(len(labels), params.batch_size)
        rows = rows.apply(tf.data.experimental.assert_cardinality(steps))
        return _prefetch(rows.map(lambda *arrays: (transform(*arrays[:-1]), arrays[-1])))

    return batches


def steps_per_epoch(num_pictures: int, batch_size: int) -> int:
    return -(-num_pictures // batch_size)


def plain_batches(
    gather: Callable[[np.ndarray], np.ndarray],
    num_rows: int,
    batch_size: int,
    transform: Callable[[tf.Tensor], tf.Tensor],
) -> tf.data.Dataset:
    """All rows in order, once: the inputs of validation.

    Args:
        gather: rows int64 [k] → array [k, ...].
        num_rows: n.
        batch_size: rows of a batch; the last batch may be smaller.
        transform: an array as a tensor → float32 inputs of the model.
    """
    import tensorflow as tf

    def generate() -> Iterator[np.ndarray]:
        for start in range(0, num_rows, batch_size):
            yield gather(np.arange(start, min(start + batch_size, num_rows)))

    example = gather(np.arange(1))
    signature = tf.TensorSpec((None, *example.shape[1:]), example.dtype)
    batches = tf.data.Dataset.from_generator(generate, output_signature=signature)
    steps = steps_per_epoch(num_rows, batch_size)
    batches = batches.apply(tf.data.experimental.assert_cardinality(steps))
    return _prefetch(batches.map(transform))


def _prefetch(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Have some batches ready, a number that nothing tunes.

    The thread that would tune it sleeps longer each time, up to a minute, and sometimes has to wake
    before the iterator can end.
    """
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False
    return batches.prefetch(4).with_options(options)


def feature_batches(
    train: ShardedArray, val: ShardedArray, labels: np.ndarray, params: TrainingParams
) -> Inputs:
    """Training and validation batches of cached features; epoch e sees view e modulo their number.

    Args:
        train: float32 [n, views, d].
        val: float32 [m, 1, d].
        labels: int64 [n], of the training pictures.
        params: the stage's section: batch size, epochs, seed.
    """
    views = train.shape[1]

    def gather(epoch: int, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        return (train.gather(rows)[:, epoch % views],)

    return (
        training_batches(gather, labels, params, lambda features: features),
        plain_batches(val.gather, len(val), params.batch_size, lambda features: features[:, 0]),
    )
