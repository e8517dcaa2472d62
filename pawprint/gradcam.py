"""Where a classifier looks: Grad-CAM heatmaps, and their overlays on the pictures."""

from __future__ import annotations

from pathlib import Path

import keras
import matplotlib
import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw, ImageFont

from pawprint.networks import FEATURE_MAP, cut_model, without_probs
from pawprint.predictor import Predictor


class GradCam:
    """Grad-CAM of one classifier.

    The score of a class is differentiated with respect to the last feature map, whatever lies
    behind it (average pooling, or flattening and dense layers): a channel's weight is the mean
    of its gradient over the map.

    Source: Selvaraju et al., Grad-CAM (2017), equations 1 and 2.

    Args:
        model: a saved classifier, pixels → probabilities.
    """

    def __init__(self, model: keras.Model) -> None:
        trunk, tail = cut_model(without_probs(model), FEATURE_MAP)
        self._trunk = Predictor(trunk)
        self._tail = tf.function(tail, jit_compile=False)

    def __call__(self, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Heatmaps of a batch.

        Args:
            images: [n, size, size, 3], any real type, RGB in 0...255.
            classes: int [n], the class whose evidence is asked for.

        Returns:
            float32 [n, h, w] in 0...1, h x w being the size of the feature map; the largest value
            of a map is 1, unless nothing speaks for the class: then all of it is 0.
        """
        feature_map = tf.constant(self._trunk(images)[0])
        with tf.GradientTape() as tape:
            tape.watch(feature_map)
            logits = self._tail(feature_map, training=False)
            score = tf.reduce_sum(tf.gather(logits, classes, axis=1, batch_dims=1))
        weights = tf.reduce_mean(tape.gradient(score, feature_map), axis=(1, 2), keepdims=True)
        return normalize_heatmap(tf.reduce_sum(weights * feature_map, axis=-1).numpy())


def normalize_heatmap(evidence: np.ndarray) -> np.ndarray:
    """Evidence float [n, h, w] → its positive part, float32 in 0...1; all 0 where there is none.

    >>> normalize_heatmap(np.array([[[-1.0, 2.0, 4.0]], [[-3.0, -2.0, 0.0]]])).tolist()
    [[[0.0, 0.5, 1.0]], [[0.0, 0.0, 0.0]]]
    """
    positive = np.maximum(evidence, 0).astype(np.float32)
    peak = positive.max(axis=(1, 2), keepdims=True)
    return np.divide(positive, peak, out=np.zeros_like(positive), where=peak > 0)


def render_overlay(
    path: Path, image: np.ndarray, heatmap: np.ndarray, opacity: float, caption: str
) -> None:
    """Write a PNG: the picture, beside it the same under its heatmap, and a caption below.

    Args:
        path: of the PNG.
        image: uint8 [size, size, 3].
        heatmap: float32 [h, w] in 0...1.
        opacity: of the heatmap where it is 1, in 0...1; it fades with the evidence.
        caption: one line; cut off where it is too long.
    """
    size = image.shape[0]
    scaled = Image.fromarray(heatmap).resize((size, size), Image.Resampling.BICUBIC)
    heat = np.clip(np.asarray(scaled), 0, 1)
    colours = matplotlib.colormaps["inferno"](heat)[..., :3] * 255
    alpha = (opacity * np.sqrt(heat))[..., None]
    overlay = (image * (1 - alpha) + colours * alpha + 0.5).astype(np.uint8)

    font_file = Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf")
    font = ImageFont.truetype(str(font_file), 12)
    canvas = Image.new("RGB", (2 * size, size + 20), "white")
    canvas.paste(Image.fromarray(image), (0, 0))
    canvas.paste(Image.fromarray(overlay), (size, 0))
    ImageDraw.Draw(canvas).text((4, size + 3), caption, fill="black", font=font)
    canvas.save(path)
