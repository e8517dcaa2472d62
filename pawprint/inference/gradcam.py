"""Where a classifier looks: Grad-CAM heatmaps.

The score of a class is differentiated with respect to the last feature map, whatever lies behind
it (average pooling, or flattening and dense layers). The evidence at a place is the sum over the
channels of gradient times activation; its positive part is shown. Behind average pooling the
gradient of a channel is the same at all places, and this is Grad-CAM. Behind flattening each place
has weights of its own, of both signs. Grad-CAM takes their mean over the map, in which they cancel:
an eighth of the baseline's was left, and most of its heatmaps were blank or nearly so. HiResCAM
takes no mean, and the evidence of all places adds up to the score, but for what the biases add.

Engines for inference run the network up to the map, but have no gradients; so the few layers behind
it, the tail, are read from the Keras model as plain arrays and differentiated here.

Source: Selvaraju et al., Grad-CAM (2017), equations 1 and 2, for pooled maps. Draelos & Carin, Use
HiResCAM instead of Grad-CAM for faithful explanations of convolutional neural networks (2020), for
all: the sum over the channels k of dy/dA_k * A_k, element by element, which generalizes CAM.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile, ZipInfo

import numpy as np

from pawprint.runner.bounds import open_stored_zip
from pawprint.runner.errors import ModelError
from pawprint.runner.files import atomic_write

if TYPE_CHECKING:
    import keras

KINDS = "kinds"  # the entry of a saved tail that lists its layers
# A layer's outputs, and the function from the gradient of its outputs to that of its inputs
Step = tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]


@dataclass(frozen=True)
class TailLayer:
    """A layer behind the feature map, in inference mode.

    Attributes:
        kind: ``average_pool``, ``max_pool`` (array ``size``: rows and columns of its tiles),
            ``flatten``, ``relu``, ``batch_norm`` (``mean``, ``scale``, ``shift``) or ``dense``
            (``kernel``, ``bias``).
        arrays: by name.
    """

    kind: str
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


def read_tail(layers: Sequence[keras.Layer]) -> list[TailLayer]:
    """Take Keras layers, a row from the feature map to the logits, as plain arrays.

    Raises:
        ModelError: one of the layers is of a kind whose gradient is not known here.
    """
    return [part for layer in layers for part in _read_layer(layer)]


def _read_layer(layer: keras.Layer) -> list[TailLayer]:
    import keras

    match layer:
        case keras.layers.GlobalAveragePooling2D():
            return [TailLayer("average_pool")]
        case keras.layers.Flatten():
            return [TailLayer("flatten")]
        case keras.layers.Dropout() | keras.layers.Identity():
            return []
        case keras.layers.ReLU() if layer.max_value is None:
            return [TailLayer("relu")]
        case keras.layers.BatchNormalization():
            gamma, beta, mean, variance = layer.get_weights()
            scale = gamma / np.sqrt(variance + layer.epsilon)
            return [TailLayer("batch_norm", {"mean": mean, "scale": scale, "shift": beta})]
        case keras.layers.MaxPooling2D() if layer.pool_size == layer.strides:
            return [TailLayer("max_pool", {"size": np.array(layer.pool_size)})]
        case keras.layers.Dense() if layer.activation in (
            keras.activations.linear,
            keras.activations.relu,
        ):
            kernel, *bias = layer.get_weights()
            bias = bias[0] if bias else np.zeros(kernel.shape[1], kernel.dtype)
            dense = TailLayer("dense", {"kernel": kernel, "bias": bias})
            linear = layer.activation is keras.activations.linear
            return [dense] if linear else [dense, TailLayer("relu")]
    raise ModelError(f"Grad-CAM knows no gradient of layer {layer.name} ({type(layer).__name__})")


def save_tail(path: Path, tail: Sequence[TailLayer]) -> None:
    """Write a tail as an ``.npz`` file that needs no pickle; equal tails are equal bytes.

    Not by ``np.savez``, whose bytes differ between releases of Python 3.11.
    """
    arrays: dict[str, Any] = {KINDS: np.array([layer.kind for layer in tail], np.str_)}
    for i, layer in enumerate(tail):
        arrays |= {f"{i}.{name}": array for name, array in layer.arrays.items()}
    with atomic_write(path) as file, ZipFile(file, "w") as target:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, array, allow_pickle=False)
            target.writestr(ZipInfo(f"{name}.npy"), content.getvalue())


def parse_tail(content: bytes) -> list[TailLayer]:
    """Read the bytes of a file that ``save_tail`` wrote.

    Raises:
        ValueError: they are damaged.
    """
    try:
        with open_stored_zip(io.BytesIO(content)) as archive:
            arrays = {name: _parse_array(archive.read(name)) for name in archive.namelist()}
        tail = [TailLayer(str(kind)) for kind in arrays.pop(f"{KINDS}.npy")]
        for key, array in arrays.items():
            i, name, _ = key.split(".")
            tail[int(i)].arrays[name] = array
    except ValueError:
        raise
    except Exception as error:  # any byte can be damaged
        raise ValueError(f"{type(error).__name__}: {error}") from None
    return tail


def _parse_array(content: bytes) -> np.ndarray:
    """The array of an ``.npy`` file, whose header must not promise more than there is."""
    file = io.BytesIO(content)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("an array of another version of the format")
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    if math.prod(shape) * dtype.itemsize != len(content) - file.tell():
        raise ValueError(f"an array of shape {shape} in {len(content):,} bytes")
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)


def check_tail(tail: Sequence[TailLayer], map_shape: tuple[int, ...], num_classes: int) -> None:
    """See that each layer takes what the one before it gives.

    Args:
        tail: the layers from the feature map to the logits.
        map_shape: (h, w, channels) of the feature map.
        num_classes: how many logits there must be.

    Raises:
        ValueError: they do not fit, or a weight is not a finite number.
    """
    shape = map_shape
    for layer in tail:
        if not all(np.isfinite(a).all() for a in layer.arrays.values() if a.dtype.kind == "f"):
            raise ValueError(f"layer {layer.kind}: a weight that is not a finite number")
        shape = _output_shape(layer, shape)
    if shape != (num_classes,):
        raise ValueError(f"its layers give {shape}, expected {num_classes} logits")


def _output_shape(layer: TailLayer, shape: tuple[int, ...]) -> tuple[int, ...]:
    shapes = {name: array.shape for name, array in layer.arrays.items()}
    kinds = {array.dtype.kind for array in layer.arrays.values()}
    match layer.kind, shapes:
        case ("average_pool", _) if not shapes and len(shape) == 3:
            return shape[2:]
        case ("flatten", _) if not shapes:
            return (math.prod(shape),)
        case ("relu", _) if not shapes:
            return shape
        case "batch_norm", {"mean": mean, "scale": scale, "shift": shift} if kinds == {"f"}:
            if mean == scale == shift == shape[-1:]:
                return shape
        case "max_pool", {"size": (2,)} if len(shape) == 3 and kinds <= {"i", "u"}:
            rows, columns = (int(side) for side in layer.arrays["size"])
            if 1 <= rows <= shape[0] and 1 <= columns <= shape[1]:
                return shape[0] // rows, shape[1] // columns, shape[2]
        case "dense", {"kernel": (inputs, outputs), "bias": bias} if kinds == {"f"}:
            if (inputs,) == shape and bias == (outputs,):
                return bias
    raise ValueError(f"layer {layer.kind[:50]!r} of {shapes} does not fit an input of {shape}")


def compute_heatmaps(
    tail: Sequence[TailLayer], feature_map: np.ndarray, classes: np.ndarray
) -> np.ndarray:
    """Heatmaps of a batch.

    Args:
        tail: the layers from the feature map to the logits.
        feature_map: float32 [n, h, w, channels].
        classes: int [n], the class whose evidence is asked for.

    Returns:
        float32 [n, h, w] in 0...1; the largest value of a map is 1, unless nothing speaks for the
        class: then all of it is 0.
    """
    gradient = score_gradient(tail, feature_map, classes)
    if tail[0].kind == "average_pool":  # the same at all places: Grad-CAM, to the last bit
        gradient = gradient.mean(axis=(1, 2), keepdims=True)
    return normalize_heatmap((gradient * feature_map).sum(axis=-1))


def score_gradient(
    tail: Sequence[TailLayer], inputs: np.ndarray, classes: np.ndarray
) -> np.ndarray:
    """The gradient of each row's score of its class with respect to the row's inputs.

    Args:
        tail: inputs → logits.
        inputs: float32 [n, ...].
        classes: int [n].

    Returns:
        float32 [n, ...].
    """
    values, steps = inputs, []
    for layer in tail:
        values, back = _differentiate(layer, values)
        steps.append(back)
    gradient = np.zeros_like(values)
    gradient[np.arange(len(classes)), classes] = 1
    for back in reversed(steps):
        gradient = back(gradient)
    return gradient


def _differentiate(layer: TailLayer, x: np.ndarray) -> Step:
    match layer.kind, layer.arrays:
        case "average_pool", _:
            area = x.shape[1] * x.shape[2]
            return x.mean(axis=(1, 2)), lambda g: np.broadcast_to(
                g[:, None, None] / area, x.shape
            ).copy()
        case "flatten", _:
            return x.reshape(len(x), -1), lambda g: g.reshape(x.shape)
        case "relu", _:
            return np.maximum(x, 0), lambda g: g * (x > 0)
        case "batch_norm", {"mean": mean, "scale": scale, "shift": shift}:
            return (x - mean) * scale + shift, lambda g: g * scale
        case "max_pool", {"size": size}:
            return _differentiate_max_pooling(x, *(int(side) for side in size))
        case "dense", {"kernel": kernel, "bias": bias}:
            return x @ kernel + bias, lambda g: g @ kernel.T
    raise ModelError(f"Grad-CAM: unknown layer {layer.kind!r}; export the model again")


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
