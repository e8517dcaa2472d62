"""Random changes of training pictures that leave their class as it is.

What happens to a picture depends on a seed, a round (an epoch, or a view) and its row alone:
neither on its batch nor on what ran before.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from pawprint.runner.params import AugmentParams

GREY_WEIGHTS = np.array([0.299, 0.587, 0.114], np.float32)  # weights of R, G, B (ITU-R BT.601)


@lru_cache(maxsize=2)  # a round's pictures are asked for batch by batch
def draw_transforms(
    params: AugmentParams, num_images: int, size_px: int, seed: int, round_: int
) -> np.ndarray:
    """Draw one transform for each picture.

    Args:
        params: the largest changes.
        num_images: n.
        size_px: side of the pictures.
        seed: of the stage.
        round_: the epoch or the view.

    Returns:
        float32 [n, 9]: the 2x3 matrix that maps a place (x, y, 1) of the result to a place of the
        source, row by row; then brightness (added, in 0...255 units), contrast and saturation
        (factors). It is shared by all who ask for the same, and cannot be written to.
    """
    u = np.random.default_rng([seed, round_]).uniform(-1, 1, (num_images, 8))
    angle = np.deg2rad(params.rotation) * u[:, 0]
    scale = 1 + params.zoom * u[:, 1]
    mirror = np.where((u[:, 2] < 0) & params.flip, -1.0, 1.0)
    shift_x, shift_y = (params.shift * size_px * u[:, k] for k in (3, 4))
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    centre = (size_px - 1) / 2
    # place in the source = centre + R (M (place in the result - centre)) + shift
    a0, a1, b0, b1 = cos * mirror, -sin, sin * mirror, cos
    matrix = [
        a0,
        a1,
        centre - a0 * centre - a1 * centre + shift_x,
        b0,
        b1,
        centre - b0 * centre - b1 * centre + shift_y,
    ]
    colour = [
        255 * params.brightness * u[:, 5],
        1 + params.contrast * u[:, 6],
        1 + params.saturation * u[:, 7],
    ]
    table = np.stack(matrix + colour, axis=1).astype(np.float32)
    table.flags.writeable = False
    return table


def apply_transforms(
    images: np.ndarray, transforms: np.ndarray, seen_px: int | None = None
) -> np.ndarray:
    """Change a batch of pictures.

    Args:
        images: uint8 [n, size, size, 3], RGB in 0...255.
        transforms: float32 [n, 9], see ``draw_transforms``.
        seen_px: side of the results; None: ``size``.

    Returns:
        uint8 [n, seen_px, seen_px, 3]. Places from outside the picture mirror its inside.
    """
    size_px = images.shape[1]
    seen_px = seen_px or size_px
    factor = max(1, size_px // seen_px)  # what is left of the scale is below 2, and needs no filter
    side = seen_px * factor
    changed = np.empty((len(images), seen_px, seen_px, 3), np.uint8)
    for image, transform, target in zip(images, transforms, changed, strict=True):
        moved = cv2.warpAffine(
            image,
            _between_pixels(transform[:6].reshape(2, 3), size_px / side),
            (side, side),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT,
        )
        moved = _reduce(moved, factor)
        cv2.transform(moved, _colour_matrix(moved, *transform[6:]), dst=target)
    return changed


def _between_pixels(matrix: np.ndarray, scale: float) -> np.ndarray:
    """A map between places of two pictures, float64 [2, 3], for results of another size.

    Args:
        matrix: [2, 3], for results as large as the source.
        scale: pixels of the source to one of the result.
    """
    wide = matrix.astype(np.float64)
    wide[:, 2] += wide[:, :2] @ np.full(2, (scale - 1) / 2)  # pixels are places of their centres
    wide[:, :2] *= scale
    return wide


def _reduce(image: np.ndarray, factor: int) -> np.ndarray:
    """Antialiased bilinear reduction of uint8 [size, size, 3], as ``build_resizing`` has it.

    Its triangle is a mean over ``factor`` pixels, of pixels that are filtered before.
    """
    if factor == 1:
        return image
    box = np.ones(factor)
    filter_ = np.convolve(box, [1, 1]) if factor % 2 == 0 else box
    filter_ /= filter_.sum()
    smooth = cv2.sepFilter2D(image, -1, filter_, filter_, borderType=cv2.BORDER_REFLECT)
    side = len(image) // factor
    return cv2.resize(smooth, (side, side), interpolation=cv2.INTER_AREA)


def _colour_matrix(
    image: np.ndarray, brightness: float, contrast: float, saturation: float
) -> np.ndarray:
    """float32 [3, 4]: saturation about each pixel's grey, contrast about the mean grey, offset."""
    mean = float(GREY_WEIGHTS @ cv2.mean(image)[:3])
    matrix = contrast * (saturation * np.eye(3) + (1 - saturation) * np.tile(GREY_WEIGHTS, (3, 1)))
    offset = (1 - contrast) * mean + brightness
    return np.column_stack([matrix, np.full(3, offset)]).astype(np.float32)
