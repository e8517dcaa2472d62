"""The features by which unlikeness is fitted: means over the places of the last map, in batches."""

from __future__ import annotations

from collections.abc import Iterator

import keras
import numpy as np

from pawprint.networks.architectures import FEATURE_MAP
from pawprint.storage.shards import ShardedArray
from pawprint.unlikeness.likeness import average_map

_ROWS = 4096


def read_means(backbone: keras.Model, pooled: ShardedArray) -> Iterator[np.ndarray]:
    """The features of plain pictures, as stage features left them.

    Args:
        backbone: whose features they are.
        pooled: float32 [n, views, d]; view 0 is the plain one.

    Returns:
        float32 [k, channels] of all pictures in order, some at a time.
    """
    channels = backbone.get_layer(FEATURE_MAP).output.shape[-1]
    for batch in pooled.batches(_ROWS):
        yield average_map(batch[:, 0], channels)
