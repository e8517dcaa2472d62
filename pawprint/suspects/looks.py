"""What pixels say without a network: how bright, how sharp, of which colour, with which border."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pawprint.runner.journal import map_shards

COLUMNS_OF_LOOKS = (
    *("red", "green", "blue", "brightness", "sharpness"),
    *("border_red", "border_green", "border_blue", "border_spread"),
)
_TILES = 4  # a side: a picture that is sharp anywhere is not blurred
_BORDER = 1 / 32  # of a side


@dataclass(frozen=True)
class LookedShard:
    """A shard of ``data/processed``, uint8 [n, size, size, 3]."""

    file: Path


def look_at_pictures(directories: Sequence[Path]) -> np.ndarray:
    """Measure the decoded pictures of some splits, in parallel.

    Args:
        directories: of shards, such as ``data/processed/train``.

    Returns:
        float64 [n, 9], a row for each picture in the order of the directories and their rows. The
        columns are ``COLUMNS_OF_LOOKS``: means in 0...255; ``sharpness`` as of
        ``measure_sharpness``; ``border_spread`` is the standard deviation of grey in the border.
    """
    files = [file for directory in directories for file in sorted(directory.glob("*.npy"))]
    found = map_shards(_look_at_shard, [LookedShard(file) for file in files], "looking")
    return np.array([row for rows in found for row in rows]).reshape(-1, len(COLUMNS_OF_LOOKS))


def _look_at_shard(shard: LookedShard) -> list[list[float]]:
    return [look_at_picture(pixels) for pixels in np.load(shard.file)]


def look_at_picture(pixels: np.ndarray) -> list[float]:
    """The numbers of ``COLUMNS_OF_LOOKS`` for one picture, uint8 [size, size, 3]."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    width = max(1, round(len(grey) * _BORDER))
    edge = np.ones(grey.shape, np.uint8)
    edge[width:-width, width:-width] = 0
    border = cv2.mean(pixels, edge)[:3]
    spread = cv2.meanStdDev(grey, mask=edge)[1].item()
    return [*cv2.mean(pixels)[:3], cv2.mean(grey)[0], measure_sharpness(grey), *border, spread]


def measure_sharpness(grey: np.ndarray) -> float:
    """The standard deviation of the Laplacian in the sharpest sixteenth of a picture.

    Source: Pech-Pacheco et al. 2000, Diatom autofocusing in brightfield microscopy, section 3.

    Args:
        grey: uint8 [size, size].
    """
    curvature = cv2.Laplacian(grey, cv2.CV_32F, ksize=1)
    side = len(grey) // _TILES
    tiles = curvature[: side * _TILES, : side * _TILES].reshape(_TILES, side, _TILES, side)
    return float(tiles.std(axis=(1, 3)).max())
