"""TensorFlow graphs as ONNX: the same graph gives the same bytes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx
    import tensorflow as tf

OPSET = 17  # of 2022: ONNX Runtime 1.12 and later, and whatever else reads ONNX by now


def build_onnx(
    graph: tf.compat.v1.GraphDef, inputs: Mapping[str, str], outputs: Mapping[str, str]
) -> onnx.ModelProto:
    """Turn a frozen TensorFlow graph into an ONNX model.

    Args:
        graph: its variables are constants.
        inputs: name of a tensor in it, such as ``pixels:0`` → name in the ONNX model.
        outputs: the same.
    """
    import tf2onnx

    # Of functions that TensorFlow will drop, and of optimizations that do not fit a network
    for name in ("tensorflow", "tf2onnx"):
        logging.getLogger(name).setLevel(logging.ERROR)
    model, _ = tf2onnx.convert.from_graph_def(
        graph, name="pawprint", input_names=list(inputs), output_names=list(outputs), opset=OPSET
    )
    drop_idle_reshapes(model)
    number_names(model.graph, {**inputs, **outputs})
    return model


def drop_idle_reshapes(model: onnx.ModelProto) -> None:
    """Take out what leaves a shape as it was, in place.

    tf2onnx leaves a Reshape behind for many a transposition of maps of one pixel; for the same
    graph it leaves now one more, now one fewer.

    Args:
        model: without subgraphs; at most the first number of a shape is unknown.
    """
    from onnx import numpy_helper, shape_inference

    graph = model.graph
    outputs = {value.name for value in graph.output}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    known = {
        value.name: [-1, *(number.dim_value for number in value.type.tensor_type.shape.dim[1:])]
        for value in (*shape_inference.infer_shapes(model).graph.value_info, *graph.input)
    }
    same: dict[str, str] = {}  # the output of an idle node → its input
    for node in graph.node:
        node.input[:] = [same.get(name, name) for name in node.input]
        if node.op_type == "Reshape" and node.output[0] not in outputs:
            before, shape = known.get(node.input[0]), constants.get(node.input[1])
            if before and shape and before == numpy_helper.to_array(shape).tolist():
                same[node.output[0]] = node.input[0]


def number_names(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Order nodes and constants by their use, and name them by their place, in place.

    tf2onnx names and orders them by counters and by sets, which differ from process to process.

    Args:
        graph: without subgraphs.
        names: the names that its inputs and outputs shall have.
    """
    nodes = list(_ordered(graph))
    constants = {tensor.name: tensor for tensor in graph.initializer}
    used = list(dict.fromkeys(name for node in nodes for name in node.input if name in constants))
    new = {"": "", **names}  # an optional input that is left out has no name
    new |= {name: f"constant_{i}" for i, name in enumerate(used)}
    for i, node in enumerate(nodes):
        node.name = f"{node.op_type}_{i}"
        for k, name in enumerate(node.output):
            new.setdefault(name, f"{node.name}:{k}")
    for node in nodes:
        node.input[:] = [new[name] for name in node.input]
        node.output[:] = [new[name] for name in node.output]
    for name in used:
        constants[name].name = new[name]
    for value in (*graph.input, *graph.output):
        value.name = new[value.name]
        value.type.tensor_type.shape.dim[0].dim_param = "n"
    _replace(graph.initializer, [constants[name] for name in used])
    _replace(graph.node, nodes)
    del graph.value_info[:]


def _ordered(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """The nodes that the outputs need, each behind those that it needs."""
    makers = {name: node for node in graph.node for name in node.output}
    done: set[str] = set()
    pending = [(value.name, False) for value in reversed(graph.output)]
    while pending:
        name, inputs_done = pending.pop()
        if name not in makers or name in done:
            continue
        node = makers[name]
        if inputs_done:
            done.update(node.output)
            yield node
        else:
            pending.append((name, True))
            pending += [(value, False) for value in reversed(node.input)]


def _replace(field: object, items: Iterable[object]) -> None:
    copies = [type(item).FromString(item.SerializeToString()) for item in items]  # type: ignore[attr-defined]
    del field[:]  # type: ignore[attr-defined]
    field.extend(copies)  # type: ignore[attr-defined]
