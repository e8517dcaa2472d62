"""Where the network is cut: what stage features leaves, and what fine-tuning starts from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from pawprint.data.augment import apply_transforms, draw_transforms
from pawprint.networks.predictor import HINTS, Precision
from pawprint.runner.params import AugmentParams
from pawprint.storage.tables import read_json, write_json


@dataclass(frozen=True)
class Cut:
    """Where the network is cut.

    Attributes:
        layer: the last frozen layer; empty: nothing is frozen, the boundary is the input.
        cached: whether the activations there are on disk.
        views: of each training picture.
        seed: of the augmented views.
        precision: of the trunk's arithmetic.
    """

    layer: str
    cached: bool
    views: int
    seed: int
    precision: Precision


def view_transforms(
    augment: AugmentParams, num_images: int, size_px: int, seed: int, view: int
) -> np.ndarray | None:
    """The transforms of a view, float32 [n, 9]; None for view 0, the plain one."""
    return draw_transforms(augment, num_images, size_px, seed, view) if view else None


class PixelRows(Protocol):
    """Pixels, uint8 [n, size, size, 3], in files or in memory."""

    def gather(self, indices: np.ndarray) -> np.ndarray: ...


def read_view(images: PixelRows, rows: np.ndarray, table: np.ndarray | None) -> np.ndarray:
    """Rows of pixels as a view shows them, uint8 [k, size, size, 3]."""
    pixels = images.gather(rows)
    return pixels if table is None else apply_transforms(pixels, table[rows])


def write_cut(boundary: Path, cut: Cut) -> None:
    """Write ``cut.json``, which names the precision as OpenVINO does."""
    write_json(boundary / "cut.json", asdict(cut) | {"precision": HINTS[cut.precision]})


def read_cut(boundary: Path) -> Cut:
    values = read_json(boundary / "cut.json")
    names = {hint: name for name, hint in HINTS.items()}
    return Cut(**values | {"precision": names[values["precision"]]})
