"""Unlikeness as plain Keras layers, so that every export of a model carries it.

    pooled features ─► unit length ─► (z - mean) / √(residual · t) = u ─► u·u ─┐
                                                    u ─► Bᵀu = v ───────► v·v ─┴► u·u - v·v

The difference, 0 at least, is d / t: the squared distance of ``pawprint.unlikeness.likeness`` over
the threshold. B is of rank r, its columns the eigenvectors times √(1 - residual / eigenvalue).
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

from pawprint.networks.architectures import FEATURE_MAP, POOL, UNLIKENESS
from pawprint.unlikeness.fit import Unlikeness


def average_features(model: keras.Model) -> keras.Model:
    """A network up to the means over the places of its last map; the layers are shared.

    Args:
        model: a network on a backbone, from pixels on.

    Returns:
        Its inputs → float32 [n, channels].
    """
    pool = model.get_layer(POOL)
    if not isinstance(pool, layers.GlobalAveragePooling2D):  # model.pooling: flatten
        pool = layers.GlobalAveragePooling2D(name=f"{UNLIKENESS}_pool")
        return keras.Model(model.input, pool(model.get_layer(FEATURE_MAP).output), name="features")
    return keras.Model(model.input, pool.output, name="features")


def add_unlikeness(model: keras.Model, fitted: Unlikeness) -> keras.Model:
    """A classifier → the same with a second output, ``unlikeness``; the layers are shared.

    Args:
        model: on a backbone, pixels → probabilities.
        fitted: on the means over the places of its last map.

    Returns:
        Pixels → probabilities, float32 [n, classes], and the ratio d / t, float32 [n, 1]: 0 at
        least, and above 1 for a picture that is unlike the training pictures.
    """
    likeness = fitted.likeness
    direction = layers.UnitNormalization(name=f"{UNLIKENESS}_direction")
    # In inference mode it takes off a mean, and divides by the root of a variance
    scale = layers.BatchNormalization(epsilon=0.0, trainable=False, name=f"{UNLIKENESS}_scale")
    rank = likeness.factors.shape[1]
    factors = layers.Dense(rank, use_bias=False, trainable=False, name=f"{UNLIKENESS}_factors")
    scaled = scale(direction(average_features(model).output))
    explained = factors(scaled)
    whole = layers.Dot(1, name=f"{UNLIKENESS}_whole")([scaled, scaled])
    part = layers.Dot(1, name=f"{UNLIKENESS}_part")([explained, explained])
    rest = layers.Subtract(name=f"{UNLIKENESS}_rest")([whole, part])
    ratio = layers.ReLU(name=UNLIKENESS)(rest)
    variance = np.full_like(likeness.mean, likeness.residual * fitted.threshold)
    ones = np.ones_like(variance)
    scale.set_weights([ones, 0 * ones, likeness.mean, variance])
    factors.set_weights([likeness.factors * np.sqrt(likeness.residual)])
    return keras.Model(model.input, [model.output, ratio], name=model.name)
