"""What an ensemble is made of: the layers by which a weighted mean is known, and its heatmaps.

An ensemble ends in a layer ``probs`` that adds the members' probabilities, each times its share.
The layers of a member have its number in their names; a layer that two members have in common
stands there once. Behind each member's feature map is a tail of its own, so that there are as many
feature maps as members. In a file of tails, an entry ``member`` with its share begins the next one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from pawprint.inference.gradcam import (
    TailLayer,
    check_tail,
    compute_heatmaps,
    normalize_heatmap,
    read_tail,
)
from pawprint.runner.errors import ModelError, one_line

if TYPE_CHECKING:
    import keras

MEMBER, SHARE = "member", "share"  # the entry that begins a member's tail, and its only array
Tail = tuple[float, list[TailLayer]]  # a member's share of the mean, and its layers


def member_layer(number: int, name: str) -> str:
    """The name that a layer of a member has in the ensemble; members are counted from 1."""
    return f"{MEMBER}{number}_{name}"


def split_off_tails(model: keras.Model) -> tuple[keras.Model, list[TailLayer]]:
    """A classifier → itself with its feature maps as further outputs, and what lies behind these.

    Args:
        model: pixels → probabilities, and unlikeness where it has that: of one network, or of an
            ensemble.

    Raises:
        ModelError: it is no classifier, or Grad-CAM does not know one of its layers.
    """
    import keras

    from pawprint.networks.architectures import FEATURE_MAP, LOGITS, PROBS, cut_model, without_probs

    try:
        if not isinstance(model.get_layer(PROBS), keras.layers.Add):
            trunk, tail = cut_model(without_probs(model), FEATURE_MAP)
            layers, maps = read_tail(tail.layers[1:]), [trunk.output]
        else:
            layers, maps = [], []
            for number in range(1, 1 + len(model.get_layer(PROBS).input)):
                share = model.get_layer(member_layer(number, SHARE)).scale
                logits = model.get_layer(member_layer(number, LOGITS)).output
                member = keras.Model(model.input, logits)
                trunk, tail = cut_model(member, member_layer(number, FEATURE_MAP))
                layers.append(TailLayer(MEMBER, {SHARE: np.array([share], np.float32)}))
                layers += read_tail(tail.layers[1:])
                maps.append(trunk.output)
    except ValueError as error:  # Keras: no such layer
        reason = one_line(error)
        raise ModelError(f"model {model.name}: not a classifier of Pawprint ({reason})") from None
    return keras.Model(model.input, [*model.outputs, *maps], name=model.name), layers


def split_tails(layers: Sequence[TailLayer]) -> list[Tail]:
    """The tails in a row of layers: of each member, or the only one, whose share is 1.

    >>> flatten, member = TailLayer("flatten"), TailLayer(MEMBER, {SHARE: np.array([0.5])})
    >>> [(share, len(tail)) for share, tail in split_tails([flatten])]
    [(1.0, 1)]
    >>> [(share, len(tail)) for share, tail in split_tails([member, flatten, member])]
    [(0.5, 1), (0.5, 0)]
    """
    if not layers or layers[0].kind != MEMBER:
        return [(1.0, list(layers))]
    tails: list[Tail] = []
    for layer in layers:
        if layer.kind == MEMBER:
            tails.append((float(layer.arrays[SHARE][0]), []))
        else:
            tails[-1][1].append(layer)
    return tails


def check_tails(
    layers: Sequence[TailLayer], map_shapes: Sequence[tuple[int, ...]], num_classes: int
) -> None:
    """See that there is a tail for each feature map, which takes it, and that shares sum to 1.

    Args:
        layers: of all tails, as of ``split_off_tails``.
        map_shapes: (h, w, channels) of each feature map.
        num_classes: how many logits each tail must give.

    Raises:
        ValueError: they do not fit.
    """
    for layer in layers:
        found = {name: (array.shape, array.dtype.kind) for name, array in layer.arrays.items()}
        if layer.kind == MEMBER and found != {SHARE: ((1,), "f")}:
            raise ValueError(f"layer {MEMBER}: expected a share, found {found}")
    tails = split_tails(layers)
    if len(tails) != len(map_shapes):
        raise ValueError(f"{len(tails)} tails of layers for {len(map_shapes)} feature maps")
    total = sum(share for share, _ in tails)
    if not (abs(total - 1) < 1e-3 and all(share > 0 for share, _ in tails)):
        raise ValueError(f"shares of members that sum to {total:.6g}, expected 1")
    for (_, tail), shape in zip(tails, map_shapes, strict=True):
        check_tail(tail, shape, num_classes)


def mean_heatmaps(
    layers: Sequence[TailLayer], feature_maps: Sequence[np.ndarray], classes: np.ndarray
) -> np.ndarray:
    """Heatmaps of a batch: of an ensemble, the weighted mean of its members' heatmaps.

    Each member's map is scaled to 0...1 before, so that none outweighs the others by the size of
    its logits, and is enlarged to the largest one.

    Args:
        layers: of all tails, as of ``split_off_tails``.
        feature_maps: float32 [n, h, w, channels] of each tail.
        classes: int [n], the class whose evidence is asked for.

    Returns:
        float32 [n, h, w] in 0...1, as of ``compute_heatmaps``.
    """
    parts = [
        (share, compute_heatmaps(tail, feature_map, classes))
        for (share, tail), feature_map in zip(split_tails(layers), feature_maps, strict=True)
    ]
    if len(parts) == 1:
        return parts[0][1]
    height, width = (max(part.shape[axis] for _, part in parts) for axis in (1, 2))
    enlarged = [share * _enlarge(part, height, width) for share, part in parts]
    return normalize_heatmap(np.sum(enlarged, axis=0))


def _enlarge(heatmaps: np.ndarray, height: int, width: int) -> np.ndarray:
    if heatmaps.shape[1:] == (height, width):
        return heatmaps
    size, bilinear = (width, height), Image.Resampling.BILINEAR
    images = [Image.fromarray(one).resize(size, bilinear) for one in heatmaps]
    return np.stack([np.asarray(image) for image in images])
