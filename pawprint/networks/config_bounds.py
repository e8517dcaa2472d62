"""What a ``.keras`` file may ask Keras to build: known layers, no larger than the file's weights.

Keras takes memory for a layer's weights before it looks into the file for them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pawprint.networks.costs import StepCost, check_costs

if TYPE_CHECKING:
    import keras

MAX_LAYERS = 600  # twice those of EfficientNetV2B0; Keras fails on chains of thousands
MAX_OBJECTS = 100_000
SPARE_WEIGHT_BYTES = 1 << 20  # small files are mostly HDF5's own
# What the networks of the pipeline are made of. A further backbone may need a further name
LAYER_KINDS = frozenset(
    (
        *("Activation", "Add", "BatchNormalization", "Conv2D", "Dense", "DepthwiseConv2D"),
        *("Dot", "Dropout", "Flatten", "GlobalAveragePooling2D", "Identity", "InputLayer"),
        *("MaxPooling2D", "Multiply", "Normalization", "Permute", "ReLU", "Rescaling", "Reshape"),
        *("Softmax", "Subtract", "UnitNormalization", "ZeroPadding2D"),
    )
)
PART_KINDS = frozenset(("DTypePolicy", "__keras_tensor__"))
INITIALIZERS = "keras.initializers"  # the module of what fills new weights, whose size layers tell


def check_config(config: Any, weights_bytes: int) -> None:
    """Look at a network's ``config.json`` before Keras builds what it tells.

    Args:
        config: its JSON.
        weights_bytes: size of the file of its weights.

    Raises:
        ValueError: it is no network of known layers, or these have more weights than the file.
    """
    try:
        if config["class_name"] != "Functional":
            raise ValueError(f"a network of class {config['class_name']!r}, expected Functional")
        layers = config["config"]["layers"]
        kinds = [layer["class_name"] for layer in layers]
        parts = list(_objects(config["config"]))
    except (KeyError, TypeError):
        raise ValueError("config.json tells of no network") from None
    if len(layers) > MAX_LAYERS or len(parts) > MAX_OBJECTS:
        raise ValueError(f"a network of {len(layers):,} layers and {len(parts):,} objects")
    kinds += [part["class_name"] for part in parts if part.get("module") != INITIALIZERS]
    kinds += [part["class_name"] for part in parts if str(part["class_name"]).startswith("__")]
    for kind in map(str, kinds):
        if kind not in LAYER_KINDS | PART_KINDS:
            raise ValueError(f"a layer or object {kind[:50]!r}, which no model here has")
    weights = 0
    for layer in layers:
        try:
            weights += _count_weights(layer)
        except (KeyError, TypeError, IndexError):
            raise ValueError(f"layer {layer.get('name')!r} is not told in full") from None
    if 4 * weights > 2 * weights_bytes + SPARE_WEIGHT_BYTES:
        raise ValueError(f"layers of {weights:,} weights, but {weights_bytes:,} bytes of them")


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """All that a configuration tells Keras to make an object of."""
    left = [value]
    while left:
        item = left.pop()
        if isinstance(item, dict):
            if "class_name" in item:
                yield item
            left += item.values()
        elif isinstance(item, list):
            left += item


def _count_weights(layer: dict[str, Any]) -> int:
    """How many numbers Keras takes memory for; those of layers without weights are few."""
    config, kind = layer["config"], layer["class_name"]
    if config.get("lora_rank") or config.get("quantization_config"):
        raise ValueError(f"layer {layer['name']!r} has weights that no model here has")
    if kind not in ("Conv2D", "DepthwiseConv2D", "Dense", "BatchNormalization", "Normalization"):
        return 0
    shape = layer["build_config"]["input_shape"]
    if kind in ("BatchNormalization", "Normalization"):
        axes = config["axis"] if isinstance(config["axis"], list) else [config["axis"]]
        return 4 * math.prod(_whole(shape[axis]) for axis in axes)
    channels = _whole(shape[-1])
    if kind == "Dense":
        return (channels + 1) * _whole(config["units"])
    if config["data_format"] != "channels_last":
        raise ValueError(f"layer {layer['name']!r} is not of channels_last")
    area = math.prod(_whole(side) for side in config["kernel_size"])
    if kind == "DepthwiseConv2D":
        return (area + 1) * channels * _whole(config["depth_multiplier"])
    return (area * channels + 1) * _whole(config["filters"])


def _whole(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"expected a whole number, found {repr(value)[:50]}")
    return value


def check_outputs(model: keras.Model) -> None:
    """See that a model takes a sane amount of memory and time.

    Args:
        model: just built; no memory is taken for its outputs yet.

    Raises:
        ValueError: it takes too much, or an output has no fixed size.
    """
    check_costs([_step(operation) for operation in model.operations], 1)


def _step(operation: keras.Operation) -> StepCost:
    import keras

    shape, kind = operation.output.shape[1:], type(operation).__name__
    if None in shape:
        raise ValueError(f"layer {operation.name!r} gives {shape}")
    per_number = 0
    if kind == "Conv2D":
        per_number = math.prod(operation.kernel.shape[:3])
    elif kind == "DepthwiseConv2D":
        per_number = math.prod(operation.kernel.shape[:2])
    elif kind == "Dense":
        per_number = operation.kernel.shape[0]
    elif kind == "MaxPooling2D":
        per_number = math.prod(operation.pool_size)
    # An input is the very object that another layer gives
    takes = [id(tensor) for tensor in keras.tree.flatten(operation.input)]
    return StepCost(id(operation.output), takes, math.prod(shape), per_number)
