"""Keras models as OpenVINO graphs, laid out as OpenVINO likes them.

Keras' own OpenVINO backend makes the graph. It keeps Keras' order of axes (channels last) between
layers and turns every convolution's input and output round, which costs more than the convolution
itself; here these transpositions are moved along the graph until they meet and cancel.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pawprint.networks.graph_files import read_graph

if TYPE_CHECKING:
    import keras
    import openvino as ov

_UNARY = ("Clamp", "Relu", "Sigmoid", "Swish", "HSwish", "HSigmoid", "Tanh", "Convert")
_BINARY = ("Add", "Multiply", "Subtract", "Divide", "Minimum", "Maximum")


def build_graph(model: keras.Model, batch_size: int) -> ov.Model:
    """Turn a Keras model into an OpenVINO graph for raw pixels.

    Keras must run on its OpenVINO backend, see ``pawprint.networks.runtime``.

    Args:
        model: float32 [n, size, size, 3] in 0...255 → one or several outputs.
        batch_size: n, fixed in the graph.

    Returns:
        uint8 [batch_size, size, size, 3] → the same outputs.
    """
    import keras
    import openvino as ov
    from openvino.preprocess import PrePostProcessor

    shape = (batch_size, *model.input_shape[1:])
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "model.xml")
        signature = [keras.InputSpec(shape=shape, dtype="float32")]
        model.export(str(path), format="openvino", input_signature=signature, verbose=False)
        graph = read_graph(path.read_bytes(), path.with_suffix(".bin").read_bytes())
    sink_transposes(graph)
    steps = PrePostProcessor(graph)
    steps.input().tensor().set_element_type(ov.Type.u8)
    return steps.build()


def sink_transposes(graph: ov.Model) -> None:
    """Move transpositions towards the outputs, in place, and drop those that cancel.

    What the graph computes stays the same. Handled are elementwise operations, batch norm, padding
    and means over axes; a transposition stops at anything else.
    """
    from openvino import opset14 as ops

    for node in graph.get_ordered_ops():
        kind = node.get_type_name()
        if kind == "Transpose":
            _merge(node)
        elif kind in _UNARY:
            _sink(node, [node.input_value(0)])
        elif kind in _BINARY:
            _sink(node, [node.input_value(0), node.input_value(1)])
        elif kind == "BatchNormInference":
            order = _order(node.input_value(0))
            if order and order[1] == 1:  # it works on axis 1
                _sink(node, [node.input_value(0)])
        elif kind == "Pad":
            order = _order(node.input_value(0))
            pads = [_constant(node.input_value(i)) for i in (1, 2)]
            if order and all(p is not None for p in pads):
                places = np.argsort(order)
                for i, pad in enumerate(pads, start=1):
                    assert pad is not None
                    node.input(i).replace_source_output(ops.constant(pad[places]).output(0))
                _sink(node, [node.input_value(0)])
        elif kind == "ReduceMean":
            _sink_mean(node)
    graph.validate_nodes_and_infer_types()


def average_mirrored(graph: ov.Model) -> ov.Model:
    """A graph of two pictures as one of a single picture, which it also shows its mirror image.

    The network stands in it once, and works on both at a time.

    Args:
        graph: uint8 [2, size, size, 3] → probabilities [2, classes], unlikeness [2, 1] where it
            has that, feature map [2, h, w, c], or several of an ensemble; it is used up.

    Returns:
        uint8 [1, size, size, 3] → the mean of both pictures' probabilities, float32 [1, classes],
        that of their unlikeness, float32 [1, 1], and the feature maps of the picture as it is,
        float32 [1, h, w, c].
    """
    import openvino as ov
    from openvino import opset14 as ops

    pair = graph.get_parameters()[0]
    pixels = ops.parameter([1, *pair.output(0).shape[1:]], ov.Type.u8)
    begin, end, step, columns = (np.array([i]) for i in (-1, np.iinfo(np.int64).min, -1, 2))
    mirrored = ops.slice(pixels, begin, end, step, columns)
    targets = pair.output(0).get_target_inputs()
    _redirect(targets, ops.concat([pixels, mirrored], 0).output(0))
    found = [result.input_value(0) for result in graph.get_results()]
    means = [
        ops.reduce_mean(output, np.array([0]), keep_dims=True).output(0)
        for output in found
        if len(output.shape) == 2
    ]
    plain = [
        ops.slice(feature_map, np.array([0]), np.array([1]), np.array([1]), np.array([0])).output(0)
        for feature_map in found[len(means) :]
    ]
    return ov.Model([*means, *plain], [pixels])


def number_names(graph: ov.Model) -> None:
    """Name a graph's nodes and tensors by their order, in place: equal graphs are equal files.

    OpenVINO's own names count what a process has made so far.
    """
    graph.set_friendly_name("model")
    for i, node in enumerate(graph.get_ordered_ops()):
        node.set_friendly_name(f"{node.get_type_name()}_{i}")
        for k, output in enumerate(node.outputs()):
            output.get_tensor().set_names({f"{i}.{k}"})


def _constant(value: ov.Output) -> np.ndarray | None:
    node = value.get_node()
    return node.get_data() if node.get_type_name() == "Constant" else None


def _order(value: ov.Output) -> list[int] | None:
    """The order of axes of a value that is a transposition by a constant."""
    node = value.get_node()
    if node.get_type_name() != "Transpose":
        return None
    order = _constant(node.input_value(1))
    return None if order is None or not order.size else [int(axis) for axis in order]


def _source(value: ov.Output) -> ov.Output:
    """What a transposition transposes."""
    return value.get_node().input_value(0)


def _redirect(targets: Iterable[ov.Input], value: ov.Output) -> None:
    for target in list(targets):
        target.replace_source_output(value)


def _merge(node: ov.Node) -> None:
    """Two transpositions in a row become one, or none."""
    from openvino import opset14 as ops

    outer, inner = _order(node.output(0)), _order(node.input_value(0))
    if outer is None or inner is None:
        return
    order = [inner[axis] for axis in outer]
    source = _source(node.input_value(0))
    targets = node.output(0).get_target_inputs()
    same = order == sorted(order)
    _redirect(targets, source if same else ops.transpose(source, order).output(0))


def _sink(node: ov.Node, values: Sequence[ov.Output]) -> None:
    """Let a node work on what its inputs were before their transposition, and transpose after it.

    Args:
        node: whose result's axes are those of its inputs.
        values: its first inputs; the others do not depend on the order of axes.
    """
    from openvino import opset14 as ops

    order = next((order for order in map(_order, values) if order), None)
    if order is None:
        return
    inverse = [int(axis) for axis in np.argsort(order)]
    before = []
    for value in values:
        constant = _constant(value)
        if _order(value) == order:
            before.append(_source(value))
        elif constant is not None and constant.ndim <= len(order):
            full = constant.reshape((1,) * (len(order) - constant.ndim) + constant.shape)
            before.append(ops.constant(np.ascontiguousarray(full.transpose(inverse))).output(0))
        elif len(value.partial_shape) == len(order):
            before.append(ops.transpose(value, inverse).output(0))
        else:
            return
    targets = node.output(0).get_target_inputs()
    for i, value in enumerate(before):
        node.input(i).replace_source_output(value)
    node.validate_and_infer_types()
    _redirect(targets, ops.transpose(node.output(0), order).output(0))


def _sink_mean(node: ov.Node) -> None:
    """A mean over axes: over the same axes before the transposition."""
    from openvino import opset14 as ops

    order, axes = _order(node.input_value(0)), _constant(node.input_value(1))
    if order is None or axes is None:
        return
    over = [order[axis] for axis in axes.reshape(-1)]
    keep = node.get_attributes()["keep_dims"]
    mean = ops.reduce_mean(_source(node.input_value(0)), over, keep).output(0)
    left = order if keep else [axis for axis in order if axis not in over]
    order = [int(axis) for axis in np.argsort(np.argsort(left))]
    targets = node.output(0).get_target_inputs()
    same = order == sorted(order)
    _redirect(targets, mean if same else ops.transpose(mean, order).output(0))
