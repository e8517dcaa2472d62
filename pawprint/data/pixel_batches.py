"""Inputs of a network that is trained on pixels: augmented afresh in each epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from pawprint.data.augment import apply_transforms, draw_transforms
from pawprint.data.datasets import Inputs, LabelledImages, plain_batches, training_batches
from pawprint.runner.params import AugmentParams, TrainingParams

if TYPE_CHECKING:
    import tensorflow as tf


def pixel_batches(
    train: LabelledImages,
    val: LabelledImages,
    augment: AugmentParams,
    params: TrainingParams,
    seen_px: int,
    transform: Callable[[tf.Tensor], tf.Tensor],
) -> Inputs:
    """Training and validation batches of pixels.

    Args:
        train: pictures that are changed at random, in another way in each epoch.
        val: pictures that stay as they are.
        augment: the largest changes.
        params: the stage's section: batch size, epochs, seed.
        seen_px: side of the pictures that the model sees; training pictures come in it.
        transform: of validation: uint8 [k, size, size, 3] as a tensor → float32
            [k, seen_px, seen_px, 3].
    """
    import tensorflow as tf

    size_px = train.images.shape[1]

    def gather(epoch: int, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        table = draw_transforms(augment, len(train), size_px, params.seed, epoch)
        return (apply_transforms(train.images.gather(rows), table[rows], seen_px),)

    return (
        training_batches(gather, train.labels, params, lambda x: tf.cast(x, tf.float32)),
        plain_batches(val.images.gather, len(val), params.batch_size, transform),
    )
