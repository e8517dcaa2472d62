"""Random changes of training pictures that leave their class as it is.

What happens to a picture depends on a seed, a round (an epoch, or a view) and its row alone:
neither on its batch nor on what ran before. The random numbers are drawn with NumPy, the pictures
are changed with TensorFlow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pawprint.params import AugmentParams

if TYPE_CHECKING:
    import tensorflow as tf

TRANSFORM_SIZE = 11  # eight numbers of a projective transform, then three of colour


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
        float32 [n, 11]: the 3x3 matrix that maps a place of the result to a place of the source,
        row by row without its last element (1); then brightness (added, in 0...255 units),
        contrast and saturation (factors).
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
        np.zeros(num_images),
        np.zeros(num_images),
    ]
    colour = [
        255 * params.brightness * u[:, 5],
        1 + params.contrast * u[:, 6],
        1 + params.saturation * u[:, 7],
    ]
    return np.stack(matrix + colour, axis=1).astype(np.float32)


def apply_transforms(images: tf.Tensor, transforms: tf.Tensor) -> tf.Tensor:
    """Change a batch of pictures.

    Args:
        images: [n, size, size, 3], any real type, 0...255.
        transforms: float32 [n, 11], see ``draw_transforms``.

    Returns:
        float32 [n, size, size, 3] in 0...255. Places from outside the picture mirror its inside.
    """
    import tensorflow as tf

    pixels = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images, tf.float32),
        transforms=transforms[:, :8],
        output_shape=tf.shape(images)[1:3],
        interpolation="BILINEAR",
        fill_mode="REFLECT",
        fill_value=0.0,
    )
    brightness, contrast, saturation = (
        transforms[:, 8 + k, tf.newaxis, tf.newaxis, tf.newaxis] for k in range(3)
    )
    grey = tf.reduce_sum(pixels * tf.constant([0.299, 0.587, 0.114]), axis=-1, keepdims=True)
    pixels = grey + (pixels - grey) * saturation
    mean = tf.reduce_mean(grey, axis=(1, 2), keepdims=True)
    pixels = mean + (pixels - mean) * contrast + brightness
    return tf.clip_by_value(pixels, 0.0, 255.0)
