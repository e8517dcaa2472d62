"""The pretrained backbones, each told once: its name, its blocks, what its weights expect.

To add one of ``keras.applications``, write its line in ``BACKBONES``. A network of our own also
needs its builder in ``pawprint.backbones.build``.

A backbone's layers are grouped in blocks; the end of a block is a place where the network can be
cut in two.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

INPUT = "input"  # the cut before the first layer: nothing is frozen


@dataclass(frozen=True)
class Backbone:
    """One line of the registry.

    Attributes:
        name: as in ``model.backbone``; that of the class in ``keras.applications``, if it is there.
        blocks: the names of its blocks, from the input to the output.
        block_of: a regular expression; its first group is a layer's block.
        scaling: how pixels in 0...255 become what the weights were trained on: ``inside`` (the
            Keras application does it), ``tf`` (to -1...1) or ``caffe`` (BGR minus its mean).
    """

    name: str
    blocks: tuple[str, ...]
    block_of: str
    scaling: Literal["inside", "tf", "caffe"] = "inside"


def _names(*stages: tuple[str, str]) -> tuple[str, ...]:
    """('block1', 'ab') → block1a, block1b."""
    return tuple(stage + letter for stage, letters in stages for letter in letters)


B0_STAGES = (1, 2, 2, 3, 3, 4, 1)
B0_BLOCKS = _names(*((f"block{i}", "abcdefgh"[:n]) for i, n in enumerate(B0_STAGES, 1)))
_V2B0_BLOCKS = _names(*((f"block{i}", "abcdefgh"[:n]) for i, n in enumerate((1, 2, 2, 3, 5, 8), 1)))


BACKBONES: tuple[Backbone, ...] = (
    Backbone("EfficientNetLite0", B0_BLOCKS, r"(block\d[a-z])_"),
    Backbone("EfficientNetB0", B0_BLOCKS, r"(block\d[a-z])_"),
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
    if cut != INPUT and cut not in backbone.blocks:
        raise ValueError(
            f"model.cut: {backbone.name} has no block {cut!r}; "
            f"expected {INPUT} or one of {', '.join(backbone.blocks)}"
        )


def block_end(backbone: Backbone, layers: Iterable[str], block: str) -> str:
    """The name of the last layer of a block.

    Args:
        backbone: of the network.
        layers: names of the network's layers, in order.
        block: one of ``backbone.blocks``.
    """
    matches = ((name, re.match(backbone.block_of, name)) for name in layers)
    return [name for name, match in matches if match and match[1] == block][-1]
