"""The pretrained backbones, each told once: its name, its blocks, what its weights expect.

To add one of ``keras.applications``, write its line in ``BACKBONES``. A network of our own also
needs its builder in ``pawprint.backbones.build``.

A backbone's layers are grouped in blocks; the end of a block is a place where the network can be
cut in two.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

AUTO = "auto"  # in params.yaml: what suits the backbone
INPUT = "input"  # the cut before the first layer: nothing is frozen


@dataclass(frozen=True)
class Backbone:
    """One line of the registry.

    Attributes:
        name: as in ``model.backbone``; that of the class in ``keras.applications``, if it is there.
        blocks: the names of its blocks, from the input to the output.
        block_of: a regular expression; its first group is a layer's block.
        image_size: what ``preprocess.image_size: auto`` stands for, in pixels.
        cut: what ``model.cut: auto`` stands for, one of the blocks: behind it the map is halved
            for the last time.
        scaling: how pixels in 0...255 become what the weights were trained on: ``inside`` (the
            Keras application does it), ``tf`` (to -1...1) or ``caffe`` (BGR minus its mean).
    """

    name: str
    blocks: tuple[str, ...]
    block_of: str
    image_size: int
    cut: str
    scaling: Literal["inside", "tf", "caffe"] = "inside"


def _names(repeats: Sequence[int]) -> tuple[str, ...]:
    """(1, 2) → block1a, block2a, block2b."""
    return tuple(f"block{i}{'abcdefgh'[j]}" for i, n in enumerate(repeats, 1) for j in range(n))


# Blocks of each stage; Lite1 and Lite2 are as deep as each other
B0_REPEATS = (1, 2, 2, 3, 3, 4, 1)
LITE_REPEATS = (1, 3, 3, 4, 4, 5, 1)
_OF_EFFICIENTNET = r"(block\d[a-z])_"


BACKBONES: tuple[Backbone, ...] = (
    Backbone("EfficientNetLite0", _names(B0_REPEATS), _OF_EFFICIENTNET, 256, "block5c"),
    Backbone("EfficientNetLite1", _names(LITE_REPEATS), _OF_EFFICIENTNET, 272, "block5d"),
    Backbone("EfficientNetLite2", _names(LITE_REPEATS), _OF_EFFICIENTNET, 288, "block5d"),
    Backbone("EfficientNetB0", _names(B0_REPEATS), _OF_EFFICIENTNET, 224, "block5c"),
    Backbone("EfficientNetV2B0", _names((1, 2, 2, 3, 5, 8)), _OF_EFFICIENTNET, 224, "block5e"),
    Backbone(
        "MobileNetV2",
        ("expanded_conv", *(f"block_{i}" for i in range(1, 17))),
        r"(expanded_conv|block_\d+)_",
        224,
        "block_12",
        scaling="tf",
    ),
    Backbone(
        "MobileNetV3Large",
        ("expanded_conv", *(f"expanded_conv_{i}" for i in range(1, 15))),
        r"(expanded_conv(?:_\d+)?)_",
        224,
        "expanded_conv_11",
    ),
    Backbone(
        "ResNet50",
        tuple(
            f"conv{i}_block{j}"
            for i, n in ((2, 3), (3, 4), (4, 6), (5, 3))
            for j in range(1, n + 1)
        ),
        r"(conv\d_block\d+)_",
        224,
        "conv4_block6",
        scaling="caffe",
    ),
    Backbone(
        "VGG16",
        tuple(f"block{i}" for i in range(1, 6)),
        r"(block\d)_",
        224,
        "block4",
        scaling="caffe",
    ),
)


def find_backbone(name: str) -> Backbone:
    """Look up ``model.backbone``; case, hyphens and underscores do not matter.

    Raises:
        ValueError: there is none of that name; the message lists all.
    """
    wanted = re.sub("[-_]", "", name).lower()
    for backbone in BACKBONES:
        if backbone.name.lower() == wanted:
            return backbone
    known = ", ".join(b.name for b in BACKBONES)
    raise ValueError(f"model.backbone: unknown {name!r}; known: {known}")


def check_cut(backbone: Backbone, cut: str) -> None:
    """Refuse a ``model.cut`` that is no block of this backbone.

    Raises:
        ValueError: the message lists the blocks.
    """
    if cut not in (AUTO, INPUT, *backbone.blocks):
        raise ValueError(
            f"model.cut: {backbone.name} has no block {cut!r}; "
            f"expected {AUTO}, {INPUT} or one of {', '.join(backbone.blocks)}"
        )


def choose_cut(backbone: Backbone, cut: str) -> str:
    """What ``model.cut`` means: a block, or ``input``."""
    return backbone.cut if cut == AUTO else cut


def choose_image_size(backbone: Backbone, image_size: int | str) -> int:
    """What ``preprocess.image_size`` means, in pixels: a number, or ``auto``."""
    return image_size if isinstance(image_size, int) else backbone.image_size


def block_end(backbone: Backbone, layers: Iterable[str], block: str) -> str:
    """The name of the last layer of a block.

    Args:
        backbone: of the network.
        layers: names of the network's layers, in order.
        block: one of ``backbone.blocks``.
    """
    matches = ((name, re.match(backbone.block_of, name)) for name in layers)
    return [name for name, match in matches if match and match[1] == block][-1]
