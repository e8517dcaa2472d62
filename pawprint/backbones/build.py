"""Builds the backbones of ``pawprint.registry.backbones``.

``build_backbone("EfficientNetLite0", 256, "imagenet")`` gives a Keras model from raw RGB pixels to
its last feature map.

Every backbone takes float32 [n, size, size, 3] pixels in 0...255: its own preprocessing is part of
the network, made of built-in layers, so that a saved model needs no code of ours.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from pawprint.backbones.lite import LITES, build_lite
from pawprint.backbones.weights_files import checked_weights
from pawprint.registry.backbones import Backbone, find_backbone
from pawprint.runner.errors import WeightsError, one_line
from pawprint.runner.params import ModelParams

if TYPE_CHECKING:
    import keras


# (size_px, weights) → Keras model without top; all others are of ``keras.applications``
OWN_NETWORKS: dict[str, Callable[[int, str | None], keras.Model]] = {
    name: partial(build_lite, name) for name in LITES
}


def chosen_weights(params: ModelParams) -> str:
    """What ``build_backbone`` takes as weights: ``imagenet``, ``none``, or the path of a file."""
    return params.weights_file if params.weights == "file" else params.weights


def build_backbone(name: str, size_px: int, weights: str) -> keras.Model:
    """Build a backbone without its classifier.

    Args:
        name: see ``pawprint.registry.backbones.BACKBONES``.
        size_px: side of the square input.
        weights: ``imagenet`` (Keras downloads them; those of EfficientNetLite are installed with
            the requirements), ``none`` (random), or the path of a weights file.

    Returns:
        A functional model, float32 [n, size_px, size_px, 3] in 0...255 → float32 [n, h, w, c],
        named ``backbone``, all of its layers at the top level. Nothing in it is trainable.

    Raises:
        ValueError: unknown name.
        WeightsError: the weights cannot be downloaded, read, or do not fit.
    """
    import keras

    backbone = find_backbone(name)
    try:
        if weights in ("imagenet", "none") or weights.endswith((".pth", ".pt")):
            network = _build_network(backbone, size_px, weights)
        else:
            with checked_weights(weights) as copy:
                network = _build_network(backbone, size_px, copy)
    except WeightsError:
        raise
    except Exception as error:  # Keras raises bare Exception where a download fails
        if weights == "none":
            raise
        raise WeightsError(_explain(backbone, weights, error)) from error
    model = keras.Model(network.input, network.output, name="backbone")
    model.trainable = False
    return model


def _build_network(backbone: Backbone, size_px: int, weights: str) -> keras.Model:
    if backbone.name in OWN_NETWORKS:
        return OWN_NETWORKS[backbone.name](size_px, None if weights == "none" else weights)
    with warnings.catch_warnings():
        # Convolutions take any size: which one the weights were trained at is no news
        warnings.filterwarnings("ignore", "`input_shape` is undefined or non-square")
        return _build_application(backbone, size_px, weights)


def _build_application(backbone: Backbone, size_px: int, weights: str) -> keras.Model:
    """A network of ``keras.applications`` behind its own preprocessing."""
    import keras

    pixels = keras.Input((size_px, size_px, 3), name="pixels")
    scaled = _SCALINGS[backbone.scaling](pixels)
    application = partial(getattr(keras.applications, backbone.name), include_top=False)
    if backbone.name.startswith("MobileNetV3"):
        application = partial(application, minimalistic=False)
    loaded = None if weights == "none" else weights
    if loaded is None or backbone.scaling != "caffe":
        model = application(weights=loaded, input_tensor=scaled)
        if backbone.name == "EfficientNetB0" and loaded not in (None, "imagenet"):
            _divide_by_root_of_deviation(model)
        return model
    # Keras' files know nothing of the convolution that scales: load them without it.
    model = application(weights=None, input_tensor=scaled)
    original = application(weights=loaded, input_shape=(size_px, size_px, 3))
    model.set_weights([*model.get_layer("scale").get_weights(), *original.get_weights()])
    return model


def _divide_by_root_of_deviation(model: keras.Model) -> None:
    """Do in the first convolution what Keras does in a layer of its own if it downloads a file.

    Its ImageNet weights of EfficientNetB0 expect pixels divided once more by the root of
    ImageNet's standard deviation; from a path, Keras would leave that out.
    """
    stem = model.get_layer("stem_conv")
    (kernel,) = stem.get_weights()
    stem.set_weights([kernel / np.sqrt([0.229, 0.224, 0.225]).reshape(1, 1, 3, 1)])


def _explain(backbone: Backbone, weights: str, error: Exception) -> str:
    reason = one_line(error, 300)
    if weights != "imagenet":
        return (
            f"model.weights_file: {weights} cannot be used for {backbone.name} without its top: "
            f"{reason}"
        )
    return (
        f"model.weights: the ImageNet weights of {backbone.name} cannot be downloaded ({reason}). "
        "Either give a file: -S model.weights=file -S model.weights_file=PATH (Keras' 'notop' "
        "weights of this network), "
        "or use a backbone whose weights are installed: "
        "-S model.backbone=EfficientNetLite0"
    )


def _scale_tf(pixels: keras.KerasTensor) -> keras.KerasTensor:
    import keras

    return keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="scale")(pixels)


def _scale_caffe(pixels: keras.KerasTensor) -> keras.KerasTensor:
    """RGB → BGR minus ImageNet's mean, as a fixed 1x1 convolution: one built-in layer."""
    import keras

    conv = keras.layers.Conv2D(3, 1, trainable=False, name="scale")
    scaled = conv(pixels)
    flip = np.eye(3, dtype=np.float32)[::-1].reshape(1, 1, 3, 3)
    conv.set_weights([flip, -np.array([103.939, 116.779, 123.68], np.float32)])
    return scaled


_SCALINGS: dict[str, Callable[[keras.KerasTensor], keras.KerasTensor]] = {
    "inside": lambda pixels: pixels,
    "tf": _scale_tf,
    "caffe": _scale_caffe,
}
