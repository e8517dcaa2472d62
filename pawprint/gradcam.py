"""Where a classifier looks: Grad-CAM heatmaps, and their overlays on the pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pawprint.errors import ModelError
from pawprint.networks import FEATURE_MAP, cut_model, without_probs
from pawprint.predictor import build_predictor

# A layer's outputs, and the function from the gradient of its outputs to that of its inputs
Step = tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]


class GradCam:
    """Grad-CAM of one classifier.

    The score of a class is differentiated with respect to the last feature map, whatever lies
    behind it (average pooling, or flattening and dense layers): a channel's weight is the mean
    of its gradient over the map. The network before the map runs on this process's engine; the
    few layers behind it are differentiated here, since engines for inference have no gradients.

    Source: Selvaraju et al., Grad-CAM (2017), equations 1 and 2.

    Args:
        model: a saved classifier, pixels → probabilities.
    """

    def __init__(self, model: keras.Model) -> None:
        trunk, tail = cut_model(without_probs(model), FEATURE_MAP)
        self._trunk = build_predictor(trunk)
        self._tail = tail.layers[1:]

    def __call__(self, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Heatmaps of a batch.

        Args:
            images: uint8 [n, size, size, 3], RGB in 0...255.
            classes: int [n], the class whose evidence is asked for.

        Returns:
            float32 [n, h, w] in 0...1, h x w being the size of the feature map; the largest value
            of a map is 1, unless nothing speaks for the class: then all of it is 0.
        """
        feature_map = self._trunk(images)[0]
        gradient = score_gradient(self._tail, feature_map, classes)
        weights = gradient.mean(axis=(1, 2), keepdims=True)
        return normalize_heatmap((weights * feature_map).sum(axis=-1))


def score_gradient(
    layers: list[keras.Layer], inputs: np.ndarray, classes: np.ndarray
) -> np.ndarray:
    """The gradient of each row's score of its class with respect to the row's inputs.

    Args:
        layers: a row of layers, inputs → logits, in inference mode.
        inputs: float32 [n, ...].
        classes: int [n].

    Returns:
        float32 [n, ...].

    Raises:
        ModelError: one of the layers is of a kind whose gradient is not known here.
    """
    values, steps = inputs, []
    for layer in layers:
        values, back = _differentiate(layer, values)
        steps.append(back)
    gradient = np.zeros_like(values)
    gradient[np.arange(len(classes)), classes] = 1
    for back in reversed(steps):
        gradient = back(gradient)
    return gradient


def _differentiate(layer: keras.Layer, x: np.ndarray) -> Step:
    match layer:
        case keras.layers.GlobalAveragePooling2D():
            area = x.shape[1] * x.shape[2]
            return x.mean(axis=(1, 2)), lambda g: np.broadcast_to(
                g[:, None, None] / area, x.shape
            ).copy()
        case keras.layers.Flatten():
            return x.reshape(len(x), -1), lambda g: g.reshape(x.shape)
        case keras.layers.Dropout() | keras.layers.Identity():
            return x, lambda g: g
        case keras.layers.ReLU() if layer.max_value is None:
            return np.maximum(x, 0), lambda g: g * (x > 0)
        case keras.layers.BatchNormalization():
            gamma, beta, mean, variance = layer.get_weights()
            scale = gamma / np.sqrt(variance + layer.epsilon)
            return (x - mean) * scale + beta, lambda g: g * scale
        case keras.layers.MaxPooling2D() if layer.pool_size == layer.strides:
            return _differentiate_max_pooling(x, *layer.pool_size)
        case keras.layers.Dense():
            kernel, *bias = layer.get_weights()
            y = x @ kernel + (bias[0] if bias else 0)
            if layer.activation is keras.activations.linear:
                return y, lambda g: g @ kernel.T
            if layer.activation is keras.activations.relu:
                return np.maximum(y, 0), lambda g: (g * (y > 0)) @ kernel.T
    raise ModelError(f"Grad-CAM knows no gradient of layer {layer.name} ({type(layer).__name__})")


def _differentiate_max_pooling(x: np.ndarray, rows: int, columns: int) -> Step:
    """Of tiles that do not overlap; what remains at the edge is not looked at."""
    n, h, w, c = x.shape
    inner = x[:, : h - h % rows, : w - w % columns]
    shape = (n, h // rows, rows, w // columns, columns, c)
    tiles = inner.reshape(shape).transpose(0, 1, 3, 5, 2, 4).reshape(-1, rows * columns)
    largest = tiles.argmax(axis=1)
    pooled = tiles[np.arange(len(tiles)), largest].reshape(n, h // rows, w // columns, c)

    def back(gradient: np.ndarray) -> np.ndarray:
        spread = np.zeros_like(tiles)
        spread[np.arange(len(tiles)), largest] = gradient.reshape(-1)
        split = spread.reshape(n, h // rows, w // columns, c, rows, columns)
        result = np.zeros_like(x)
        result[:, : h - h % rows, : w - w % columns] = split.transpose(0, 1, 4, 2, 5, 3).reshape(
            inner.shape
        )
        return result

    return pooled, back


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
