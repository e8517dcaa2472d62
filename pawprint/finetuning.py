"""What fine-tuning trains, and on which inputs: cached activations at the cut, or pixels."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from pawprint.augment import apply_transforms, draw_transforms
from pawprint.datasets import LabelledImages, plain_batches, training_batches
from pawprint.features import Cut
from pawprint.networks import cut_model, unfreeze
from pawprint.params import AugmentParams, FinetuneParams
from pawprint.shards import ShardedArray

Inputs = tuple[tf.data.Dataset, tf.data.Dataset]


def unfrozen_part(model: keras.Model, cut: Cut) -> keras.Model:
    """The model to train, which shares its layers with ``model``.

    With cached activations it is the part behind the cut. Otherwise it is all of the model, of
    which the layers before the cut stay frozen.
    """
    if not cut.layer:
        unfreeze(model)
        return model
    trunk, tail = cut_model(model, cut.layer)
    unfreeze(tail)
    for layer in trunk.layers:
        layer.trainable = False
    return tail if cut.cached else model


def cached_inputs(boundary: Path, cut: Cut, labels: np.ndarray, params: FinetuneParams) -> Inputs:
    """Training and validation batches of activations; epoch e sees view e modulo their number."""
    train, val = ShardedArray(boundary / "train"), ShardedArray(boundary / "val")

    def gather(epoch: int, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        return (train.gather(rows)[:, epoch % cut.views],)

    return (
        training_batches(gather, labels, params, lambda x: tf.cast(x, tf.float32)),
        plain_batches(val, params.batch_size, lambda x: tf.cast(x[:, 0], tf.float32)),
    )


def pixel_inputs(
    train: LabelledImages,
    val: LabelledImages,
    cut: Cut,
    augment: AugmentParams,
    params: FinetuneParams,
) -> Inputs:
    """Training and validation batches of pixels.

    With nothing frozen, pictures are augmented afresh each epoch. With a frozen trunk whose
    activations were too large to keep, they are the same views that would have been kept.
    """
    size_px = train.images.shape[1]

    def gather(epoch: int, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        pixels = train.images.gather(rows).astype(np.float32)
        view = epoch % cut.views
        if not cut.layer:
            table = draw_transforms(augment, len(train), size_px, params.seed, epoch)
        elif view:
            table = draw_transforms(augment, len(train), size_px, cut.seed, view)
        else:
            return (pixels,)
        return (apply_transforms(pixels, table[rows]).numpy(),)

    return (
        training_batches(gather, train.labels, params, lambda x: x),
        plain_batches(val.images, params.batch_size, lambda x: tf.cast(x, tf.float32)),
    )
