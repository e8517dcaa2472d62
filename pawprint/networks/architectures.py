"""The networks that are trained: a CNN from scratch, and a head on a backbone.

All take raw RGB pixels, float32 [n, size, size, 3] in 0...255. While they are trained they end in a
layer ``logits``; what is saved ends in ``probs``, its softmax, and may have a second output
``unlikeness``, see ``pawprint.unlikeness.network``.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

from pawprint.runner.errors import ModelError
from pawprint.runner.params import BaselineParams, HeadParams

LOGITS, PROBS, FEATURE_MAP, POOL = "logits", "probs", "feature_map", "pool"
UNLIKENESS = "unlikeness"  # the second output, and what the names of its layers begin with


def build_baseline(params: BaselineParams, num_classes: int) -> keras.Model:
    """A CNN from scratch: blocks of convolution, batch norm, ReLU, max-pooling; a dense head.

    Returns:
        float32 [n, image_size, image_size, 3] pixels → float32 [n, num_classes] logits.
    """
    pixels = keras.Input((params.image_size, params.image_size, 3), name="pixels")
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="scale")(pixels)
    for i, filters in enumerate(params.filters, start=1):
        activation = FEATURE_MAP if i == len(params.filters) else f"block{i}_activation"
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"block{i}_conv")(x)
        x = layers.BatchNormalization(momentum=0.9, name=f"block{i}_bn")(x)
        x = layers.ReLU(name=activation)(x)
        x = layers.MaxPooling2D(name=f"block{i}_pool")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(params.dense, activation="relu", name="dense")(x)
    x = layers.Dropout(params.dropout, seed=params.seed, name="dropout")(x)
    logits = layers.Dense(num_classes, name=LOGITS)(x)
    model = keras.Model(pixels, logits, name="baseline")
    model.jit_compile = False  # by XLA its convolutions take twenty times as long on CPUs
    return model


def build_resizing(size_px: int, target_px: int) -> keras.Model:
    """Pixels [n, size_px, size_px, 3] → [n, target_px, target_px, 3], antialiased bilinear.

    Two products with a fixed matrix, since Keras' own antialiased resizing differs between its
    backends.
    """
    pixels = keras.Input((size_px, size_px, 3), name="pixels")
    matrix = resizing_matrix(size_px, target_px)
    x = layers.Permute((3, 1, 2), name="resize_channels_first")(pixels)
    for axis in ("width", "height"):
        dense = layers.Dense(target_px, use_bias=False, trainable=False, name=f"resize_{axis}")
        x = layers.Permute((1, 3, 2), name=f"resize_{axis}_turn")(dense(x))
        dense.set_weights([matrix.T])
    return keras.Model(pixels, layers.Permute((2, 3, 1), name="resize")(x), name="resizing")


def resizing_matrix(size_px: int, target_px: int) -> np.ndarray:
    """Weights float32 [target_px, size_px] of a row of pixels in its resized row; they sum to 1.

    A triangle around each new pixel's place, as wide as the pixels that it stands for; two old
    pixels if the row grows.

    >>> (resizing_matrix(4, 2) * 7).round(4).tolist()
    [[3.0, 3.0, 1.0, 0.0], [0.0, 1.0, 3.0, 3.0]]
    """
    scale = size_px / target_px
    places = (np.arange(target_px) + 0.5) * scale
    distance = np.abs(np.arange(size_px) + 0.5 - places[:, None])
    weights = np.maximum(0, 1 - distance / max(scale, 1))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def add_pooling(backbone: keras.Model, pooling: str) -> keras.Model:
    """A backbone → the same, ending in features: ``avg`` [n, c], or ``flatten`` [n, h * w * c].

    The last feature map passes through a layer of that name, so that Grad-CAM finds it.
    """
    feature_map = layers.Identity(name=FEATURE_MAP)(backbone.output)
    pool = layers.GlobalAveragePooling2D if pooling == "avg" else layers.Flatten
    return keras.Model(backbone.input, pool(name=POOL)(feature_map), name="backbone")


def build_head(params: HeadParams, num_features: int, num_classes: int) -> keras.Model:
    """The layers behind the backbone's features.

    Returns:
        float32 [n, num_features] → float32 [n, num_classes] logits.
    """
    features = keras.Input((num_features,), name="features")
    x = features
    for i, units in enumerate(params.hidden, start=1):
        x = layers.Dense(units, use_bias=not params.batch_norm, name=f"head{i}_dense")(x)
        if params.batch_norm:
            x = layers.BatchNormalization(momentum=0.9, name=f"head{i}_bn")(x)
        x = layers.ReLU(name=f"head{i}_activation")(x)
    x = layers.Dropout(params.dropout, seed=params.seed, name="head_dropout")(x)
    return keras.Model(features, layers.Dense(num_classes, name=LOGITS)(x), name="head")


def head_layers(model: keras.Model) -> list[str]:
    """The names of the layers behind the pooled features: the head on a backbone.

    Args:
        model: a classifier, or its part behind a cut.
    """
    names = [layer.name for layer in model.layers]
    return names[names.index(POOL) + 1 :]


def chain(first: keras.Model, second: keras.Model, name: str) -> keras.Model:
    """``second``, a row of layers, behind ``first``: one flat model that shares their layers."""
    x = first.output
    for layer in second.layers[1:]:
        x = layer(x)
    return keras.Model(first.input, x, name=name)


def add_probs(model: keras.Model) -> keras.Model:
    """A model that ends in logits → the same, ending in their softmax; the layers are shared."""
    return keras.Model(model.input, layers.Softmax(name=PROBS)(model.output), name=model.name)


def without_probs(model: keras.Model) -> keras.Model:
    """A saved classifier → the same, ending in logits; the layers are shared."""
    return keras.Model(model.input, model.get_layer(LOGITS).output, name=model.name)


def cut_model(model: keras.Model, layer: str) -> tuple[keras.Model, keras.Model]:
    """Cut a model behind a layer into trunk and tail, which share its layers.

    Raises:
        ModelError: a branch of the network passes the layer by, or nothing follows it.
    """
    boundary = model.get_layer(layer).output
    trunk = keras.Model(model.input, boundary, name="trunk")
    try:
        tail = keras.Model(boundary, model.output, name="tail")
    except ValueError:  # Keras: the output is not connected to the boundary alone
        tail = model
    if {part.name for part in trunk.layers} & {part.name for part in tail.layers[1:]}:
        raise ModelError(
            f"the network cannot be cut behind {layer}: a branch passes it by, or nothing follows"
        )
    return trunk, tail


def unfreeze(model: keras.Model, freeze_depthwise: bool) -> None:
    """Make a network trainable, except for batch norm, which stays in inference mode.

    Statistics of small batches of one data set would replace those of a million pictures.
    The fixed 1x1 convolution that stands for a backbone's preprocessing stays as it is, too.

    Args:
        model: changed in place.
        freeze_depthwise: leave the kernels of depthwise convolutions as they are: few weights,
            whose gradients take longer than all others together.
    """
    model.trainable = True
    for layer in model.layers:
        depthwise = isinstance(layer, layers.DepthwiseConv2D) and freeze_depthwise
        fixed = isinstance(layer, layers.BatchNormalization) or layer.name == "scale"
        layer.trainable = not (fixed or depthwise)


def with_precision(model: keras.Model, precision: str) -> keras.Model:
    """A copy whose dense and pointwise work is done in another precision.

    Weights stay float32, and so does everything but convolutions and hidden dense layers: bfloat16
    pays where a matrix product is the work, and neither in depthwise convolutions nor in logits.
    Operations that are no layers, such as the ``x + 3`` in MobileNetV3, have no precision of their
    own: they compute in that of what they get.

    Args:
        model: functional; not changed.
        precision: ``float32`` or ``bfloat16``.
    """

    def clone(layer: keras.Operation) -> keras.Operation:
        config = layer.get_config()
        if not isinstance(layer, layers.Layer):
            return type(layer).from_config(config)
        exact = layer.name in (LOGITS, "scale") or layer.name.startswith(UNLIKENESS)
        heavy = type(layer) in (layers.Conv2D, layers.Dense) and not exact
        if heavy and precision != "float32":
            config["dtype"] = f"mixed_{precision}"
        copy = type(layer).from_config(config)
        copy.trainable = layer.trainable
        return copy

    copy = keras.models.clone_model(model, clone_function=clone)
    copy.set_weights(model.get_weights())
    return copy


def scale_logits(model: keras.Model, temperature: float) -> None:
    """Divide a model's logits by a temperature, for good: in the weights of their layer.

    Source: Guo et al., On Calibration of Modern Neural Networks (2017), section 4.2.
    """
    layer = model.get_layer(LOGITS)
    layer.set_weights([weights / temperature for weights in layer.get_weights()])
