"""Inputs of a network that is trained on pixels: augmented afresh in each epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import cv2
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
    transform: Callable[[tf.Tensor], tf.Tensor],
    interpolation: int = cv2.INTER_LINEAR,
) -> Inputs:
    """Training and validation batches of pixels.

    Args:
        train: pictures that are changed at random, in another way in each epoch; they have the
            size of the model's inputs.
        val: pictures that stay as they are.
        augment: the largest changes.
        params: the stage's section: batch size, epochs, seed.
        transform: of validation: uint8 [k, size, size, 3] as a tensor → float32 inputs of the
            model.
        interpolation: as of ``apply_transforms``.
    """
    import tensorflow as tf

    size_px = train.images.shape[1]

    def gather(epoch: int, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        table = draw_transforms(augment, len(train), size_px, params.seed, epoch)
        return (apply_transforms(train.images.gather(rows), table[rows], interpolation),)

    return (
        training_batches(gather, train.labels, params, lambda x: tf.cast(x, tf.float32)),
        plain_batches(val.images.gather, len(val), params.batch_size, transform),
    )
