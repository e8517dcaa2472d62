"""What fine-tuning trains, and on which inputs: activations at the cut, or pixels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from pawprint.augment import apply_transforms, draw_transforms
from pawprint.core.params import AugmentParams, FinetuneParams
from pawprint.core.processes import available_cores
from pawprint.datasets import Batches, LabelledImages, plain_batches, training_batches
from pawprint.features import Cut, read_view, view_transforms
from pawprint.inference.predictor import find_network, open_predictor
from pawprint.networks.architectures import cut_model, unfreeze
from pawprint.shards import ShardedArray

Inputs = tuple[Batches, tf.data.Dataset]
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
    if not cut.layer:
        return _pixel_inputs(train, val, augment, params)
    if cut.cached:
        read, read_val = _cached(boundary / "train"), _cached(boundary / "val")
    else:
        read, read_val = _computed(boundary, cut, [train, val], augment)
    to_float = lambda x: tf.cast(x, tf.float32)  # noqa: E731
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


def _pixel_inputs(
    train: LabelledImages, val: LabelledImages, augment: AugmentParams, params: FinetuneParams
) -> Inputs:
    size_px = train.images.shape[1]

    def gather(epoch: int, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        table = draw_transforms(augment, len(train), size_px, params.seed, epoch)
        return (apply_transforms(train.images.gather(rows), table[rows]),)

    to_float = lambda x: tf.cast(x, tf.float32)  # noqa: E731
    return (
        training_batches(gather, train.labels, params, to_float),
        plain_batches(val.images.gather, len(val), params.batch_size, to_float),
    )
