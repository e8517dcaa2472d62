"""Inputs of a network that is trained on pixels: augmented afresh in each epoch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from pawprint.data.augment import apply_transforms, draw_transforms
from pawprint.data.datasets import Inputs, LabelledImages, plain_batches, training_batches
from pawprint.runner.files import atomic_directory
from pawprint.runner.params import AugmentParams, TrainingParams
from pawprint.storage.shards import ShardedArray, shard_name, write_shard

if TYPE_CHECKING:
    import tensorflow as tf


def pixel_batches(
    train: LabelledImages,
    val: ShardedArray,
    augment: AugmentParams,
    params: TrainingParams,
    seen_px: int,
) -> Inputs:
    """Training and validation batches of pixels.

    Args:
        train: pictures that are changed at random, in another way in each epoch.
        val: pictures that stay as they are, [k, seen_px, seen_px, 3].
        augment: the largest changes.
        params: the stage's section: batch size, epochs, seed.
        seen_px: side of the pictures that the model sees; training pictures come in it.
    """
    import tensorflow as tf

    size_px = train.images.shape[1]

    def gather(epoch: int, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        table = draw_transforms(augment, len(train), size_px, params.seed, epoch)
        return (apply_transforms(train.images.gather(rows), table[rows], seen_px),)

    to_float = lambda x: tf.cast(x, tf.float32)  # noqa: E731
    return (
        training_batches(gather, train.labels, params, to_float),
        plain_batches(val.gather, len(val), params.batch_size, to_float),
    )


def resize_once(
    images: ShardedArray,
    resizing: Callable[[tf.Tensor], tf.Tensor],
    batch_size: int,
    directory: Path,
) -> ShardedArray:
    """Pictures that every epoch sees as they are, resized and kept on the disk.

    Args:
        images: uint8 [n, size, size, 3].
        resizing: float32 pixels of some of them → float32 [k, seen_px, seen_px, 3].
        batch_size: pictures at a time.
        directory: where they are kept; one that is there is taken for what this would make.
    """
    if not directory.exists():
        starts = range(0, len(images), batch_size)
        with atomic_directory(directory) as out:
            for number, start in enumerate(tqdm(starts, desc="resizing val", unit="batch")):
                pixels = images.gather(range(start, min(start + batch_size, len(images))))
                write_shard(out / shard_name(number), np.asarray(resizing(pixels)))
    return ShardedArray(directory)
