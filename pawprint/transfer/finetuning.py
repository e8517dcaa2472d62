"""What fine-tuning trains, and on which inputs: activations at the cut, or pixels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from pawprint.data.datasets import Inputs, LabelledImages, plain_batches, training_batches
from pawprint.data.pixel_batches import pixel_batches
from pawprint.networks.architectures import cut_model, unfreeze
from pawprint.networks.predictor import find_network, open_predictor
from pawprint.runner.params import AugmentParams, FinetuneParams
from pawprint.runner.processes import available_cores
from pawprint.storage.shards import ShardedArray
from pawprint.transfer.cut import Cut, read_view, view_transforms

Read = Callable[[int, np.ndarray], np.ndarray]  # (view, rows) → float16 [k, h, w, c]


def unfrozen_part(model: keras.Model, cut: Cut, freeze_depthwise: bool) -> keras.Model:
    """The part of a model behind the cut, made trainable; it shares its layers with the model."""
    tail = cut_model(model, cut.layer)[1] if cut.layer else model
    unfreeze(tail, freeze_depthwise)
    return tail


def read_inputs(
    boundary: Path,
    cut: Cut,
    train: LabelledImages,
    val: LabelledImages,
    augment: AugmentParams,
    params: FinetuneParams,
) -> Inputs:
    """Training and validation batches of what the unfrozen part takes.

    Behind a cut these are activations; epoch e sees view e modulo their number. They come from
    disk, or from the trunk if they were too large to keep: the same numbers. With nothing frozen
    they are pixels, augmented afresh each epoch.
    """
    to_float = lambda x: tf.cast(x, tf.float32)  # noqa: E731
    if not cut.layer:
        return pixel_batches(train, val, augment, params, train.images.shape[1], to_float)
    if cut.cached:
        read, read_val = _cached(boundary / "train"), _cached(boundary / "val")
    else:
        read, read_val = _computed(boundary, cut, [train, val], augment)
    return (
        training_batches(
            lambda epoch, rows: (read(epoch % cut.views, rows),), train.labels, params, to_float
        ),
        plain_batches(lambda rows: read_val(0, rows), len(val), params.batch_size, to_float),
    )


def _cached(directory: Path) -> Read:
    activations = ShardedArray(directory)
    return lambda view, rows: activations.gather(rows)[:, view]


def _computed(
    boundary: Path, cut: Cut, splits: list[LabelledImages], augment: AugmentParams
) -> list[Read]:
    trunk = open_predictor(find_network(boundary / "trunk"), cut.precision, available_cores())

    def reader(split: LabelledImages) -> Read:
        size_px = split.images.shape[1]

        def read(view: int, rows: np.ndarray) -> np.ndarray:
            table = view_transforms(augment, len(split), size_px, cut.seed, view)
            return trunk(read_view(split.images, rows, table))[0].astype(np.float16)

        return read

    return [reader(split) for split in splits]
