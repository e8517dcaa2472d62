"""What fine-tuning trains, and on which inputs: activations at the cut, or pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from pawprint.data.datasets import Inputs, LabelledImages, plain_batches, training_batches
from pawprint.data.pixel_batches import pixel_batches
from pawprint.networks.architectures import cut_model, unfreeze
from pawprint.networks.predictor import (
    Predictor,
    TensorFlowPredictor,
    find_network,
    open_predictor,
)
from pawprint.runner.params import AugmentParams, FinetuneParams
from pawprint.runner.processes import available_cores
from pawprint.storage.shards import ShardedArray
from pawprint.transfer.cut import Cut, read_view, view_transforms
from pawprint.unlikeness.network import average_features

Read = Callable[[int, np.ndarray], np.ndarray]  # (view, rows) → float16 [k, h, w, c]
FITTED = 2048  # training pictures, for a fit of rank 64: of 7,000 it finds the same, and later
_ROWS = 64  # pictures at a time, where nothing is trained


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
        return pixel_batches(train, val.images, augment, params, train.images.shape[1])
    to_float = lambda x: tf.cast(x, tf.float32)  # noqa: E731
    read, read_val = _readers(boundary, cut, {"train": train, "val": val}, augment)
    return (
        training_batches(
            lambda epoch, rows: (read(epoch % cut.views, rows),), train.labels, params, to_float
        ),
        plain_batches(lambda rows: read_val(0, rows), len(val), params.batch_size, to_float),
    )


def read_features(
    boundary: Path,
    cut: Cut,
    model: keras.Model,
    split: LabelledImages,
    name: str,
    most: int | None = None,
) -> Iterator[np.ndarray]:
    """What a model sees in the plain pictures of a split: the means of its last map.

    Args:
        boundary: where the activations at the cut are; those that are not kept are computed anew.
        cut: where the network is cut.
        model: from pixels on.
        split: the pictures.
        name: of the split.
        most: of so many pictures alone, evenly spaced; None: of all.

    Returns:
        float32 [k, channels] of the pictures in order, some at a time.
    """
    network = average_features(model)
    if cut.layer:
        network = cut_model(network, cut.layer)[1]
        (read,), dtype = _readers(boundary, cut, {name: split}, None), "float16"
    else:
        read, dtype = (lambda _, rows: split.images.gather(rows)), "uint8"
    predictor = TensorFlowPredictor(network, dtype=dtype)
    anew = "" if cut.cached or not cut.layer else ", from the first layer on: none were kept"
    count = min(len(split), most or len(split))
    rows = np.linspace(0, len(split) - 1, count).round().astype(int)
    starts = range(0, count, _ROWS)
    for start in tqdm(starts, desc=f"features of {name}{anew}", unit="batch"):
        yield predictor(read(0, rows[start : start + _ROWS]))[0]


def _readers(
    boundary: Path, cut: Cut, splits: Mapping[str, LabelledImages], augment: AugmentParams | None
) -> list[Read]:
    """Of activations, from disk or computed; without ``augment``, view 0 alone."""
    if cut.cached:
        return [_cached(boundary / name) for name in splits]
    trunk = open_predictor(find_network(boundary / "trunk"), cut.precision, available_cores())
    return [_computed(trunk, cut, split, augment) for split in splits.values()]


def _cached(directory: Path) -> Read:
    activations = ShardedArray(directory)
    return lambda view, rows: activations.gather(rows)[:, view]


def _computed(
    trunk: Predictor, cut: Cut, split: LabelledImages, augment: AugmentParams | None
) -> Read:
    def read(view: int, rows: np.ndarray) -> np.ndarray:
        size_px = split.images.shape[1]
        table = view_transforms(augment, len(split), size_px, cut.seed, view) if augment else None
        return trunk(read_view(split.images, rows, table))[0].astype(np.float16)

    return read
