"""OpenVINO graphs in files: read into memory, since OpenVINO itself would map the weights' file.

Mapped weights change with their file, or end the process if that gets shorter.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING
from xml.parsers import expat

import numpy as np

from pawprint.networks.costs import StepCost, check_costs
from pawprint.networks.runtime import openvino_core
from pawprint.runner.bounds import read_bounded
from pawprint.runner.errors import ModelError, one_line

if TYPE_CHECKING:
    import openvino as ov

MAX_XML_BYTES = 16 << 20
MAX_WEIGHTS_BYTES = 600_000_000  # six times those of ResNet50
# What the backbones and heads become. A further backbone may need a further name
GRAPH_OPERATIONS = frozenset(
    (
        *("Add", "BatchNormInference", "Clamp", "Const", "Convert", "Convolution", "Divide"),
        *("GroupConvolution", "HSwish", "MatMul", "MaxPool", "Multiply", "Pad", "Parameter"),
        *("ReLU", "ReduceMean", "Reshape", "Result", "Sigmoid", "SoftMax", "Subtract", "Swish"),
        "Transpose",
        # What the layers of pawprint/unlikeness become
        *("Minimum", "Power", "ReduceSum", "Sqrt", "Squeeze", "Unsqueeze"),
    )
)
# What openvino_graph.average_mirrored adds to them
MIRROR_OPERATIONS = frozenset(("Concat", "Slice"))
# Twice what EfficientNetV2B0 becomes: OpenVINO takes seconds for these, minutes for thrice as many
MAX_OPERATIONS = 1_200
_MAX_XML_LAYERS = 4 * MAX_OPERATIONS  # constants are layers as well
_SPARE_BYTES = 1 << 20  # equal small constants are one place in the file
_MAX_XML_DEPTH = 8  # a graph within a graph would be deeper


def read_graph(xml: bytes, weights: bytes) -> ov.Model:
    """The graph of an ``.xml`` file with the weights of its ``.bin`` file; it keeps neither.

    Raises:
        RuntimeError: OpenVINO cannot read them.
    """
    import openvino as ov

    tensor = ov.Tensor(np.frombuffer(weights, np.uint8), shared_memory=False)
    return openvino_core().read_model(xml, tensor)


def load_graph(path: Path) -> ov.Model:
    """Read a graph that a stage has written.

    Args:
        path: of the ``.xml`` file; the ``.bin`` file lies beside it.

    Raises:
        ModelError: one of them is missing, damaged or too large.
    """
    try:
        xml = read_bounded(path, MAX_XML_BYTES)
        return read_graph(xml, read_bounded(path.with_suffix(".bin"), MAX_WEIGHTS_BYTES))
    except (OSError, ValueError, RuntimeError) as error:
        reason = one_line(error)
        raise ModelError(f"{path}: cannot be read ({reason}); run dvc repro") from None


def check_xml(xml: bytes) -> int:
    """Look at a graph's text before OpenVINO builds what it tells.

    Returns:
        How many bytes of weights it refers to; the file of them has no more, and no less.

    Raises:
        ValueError: it is no XML, too deep or too long; it has an operation that no classifier here
            needs, or one of constants alone, which could make much of little; or its constants
            are more than the weights they are made of.
    """
    outline = _Outline()
    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = outline.begin, outline.end
    parser.StartDoctypeDeclHandler = outline.refuse_entities
    try:
        parser.Parse(xml, True)
    except expat.ExpatError as error:
        raise ValueError(f"not XML: {error}") from None
    outline.check()
    return max((end for _, end in outline.places), default=0)


class _Outline:
    """What a graph's text says of its layers, read as OpenVINO does.

    Attributes:
        kinds: layer's id → its operation.
        sources: (layer's id, its input) → the id of the layer whose output that is.
        places: first byte and end of each constant in the file of weights.
    """

    def __init__(self) -> None:
        self.kinds: dict[int, str] = {}
        self.sources: dict[tuple[int, int], int] = {}
        self.places: list[tuple[int, int]] = []
        self._path: list[str] = []
        self._sections: set[str] = set()
        self._kind = ""

    def begin(self, name: str, attributes: dict[str, str]) -> None:
        if len(self._path) == _MAX_XML_DEPTH:
            raise ValueError(f"XML of more than {_MAX_XML_DEPTH} levels")
        if self._path == ["net"]:
            if name in self._sections:
                raise ValueError(f"{name[:50]!r} twice")
            self._sections.add(name)
        elif name == "layer":
            self._begin_layer(attributes)
        elif name == "data" and self._kind == "Const":
            offset, size = (_number(attributes, key) for key in ("offset", "size"))
            self.places.append((offset, offset + size))
        elif self._path == ["net", "edges"]:
            source, *target = (
                _number(attributes, key) for key in ("from-layer", "to-layer", "to-port")
            )
            if (target[0], target[1]) in self.sources:
                raise ValueError(f"two edges to input {target[1]} of layer {target[0]}")
            self.sources[target[0], target[1]] = source
        self._path.append(name)

    def _begin_layer(self, attributes: dict[str, str]) -> None:
        self._kind, number = attributes.get("type", ""), _number(attributes, "id")
        if self._kind not in GRAPH_OPERATIONS | MIRROR_OPERATIONS:
            raise ValueError(f"the operation {self._kind[:50]!r}, which no classifier here has")
        if number in self.kinds:
            raise ValueError(f"two layers of id {number}")
        self.kinds[number] = self._kind
        if len(self.kinds) > _MAX_XML_LAYERS:
            raise ValueError(f"more than {_MAX_XML_LAYERS:,} layers")

    def end(self, name: str) -> None:
        self._path.pop()

    def refuse_entities(self, *declaration: object) -> None:
        raise ValueError("XML that declares its own type")

    def check(self) -> None:
        steps = {name for name, kind in self.kinds.items() if kind != "Const"}
        if len(steps) > MAX_OPERATIONS:
            raise ValueError(f"{len(steps):,} operations, more than {MAX_OPERATIONS:,}")
        fed = {target for (target, _), source in self.sources.items() if source in steps}
        for name in steps - fed:
            if self.kinds[name] != "Parameter":
                raise ValueError(f"the operation {self.kinds[name]!r} of constants alone")
        total = sum(end - offset for offset, end in self.places)
        most = max((end for _, end in self.places), default=0)
        if total > 2 * most + _SPARE_BYTES:
            raise ValueError(f"constants of {total:,} bytes, of {most:,} bytes of weights")


def _number(attributes: dict[str, str], key: str) -> int:
    text = attributes.get(key, "")
    if not text.isdecimal() or len(text) > 18 or str(int(text)) != text:
        raise ValueError(f"{key}: expected a whole number, found {text[:50]!r}")
    return int(text)


def check_graph(graph: ov.Model, size_px: int, views: int) -> None:
    """Look at a graph of ``save_classifier`` before memory is taken for it.

    Args:
        graph: one uint8 picture → probabilities, unlikeness where it has that, feature map; of an
            ensemble, several of the latter.
        size_px: side of the picture.
        views: of the picture, that run at a time: 2 with its mirror image; each may cost as much.

    Raises:
        ValueError: it takes or gives something else; an output is of no fixed size; it takes
            absurdly much memory or time; or a weight is not a finite number.
    """
    expected = [("u8", [1, size_px, size_px, 3])]
    found = [(port.element_type.get_type_name(), _shape(port)) for port in graph.inputs]
    if found != expected:
        raise ValueError(f"it takes {found}, expected {expected}")
    outputs = [(port.element_type.get_type_name(), _shape(port)) for port in graph.outputs]
    probs, rest = outputs[:1], outputs[1:]
    maps = rest[1:] if rest[:1] == [("f32", [1, 1])] else rest  # behind unlikeness
    if (
        not maps
        or {(kind, len(shape)) for kind, shape in maps} != {("f32", 4)}
        or [(kind, len(shape)) for kind, shape in probs] != [("f32", 2)]
    ):
        raise ValueError(f"it gives {outputs}, expected probabilities and a feature map")
    steps = []
    for node in graph.get_ordered_ops():
        if node.get_type_name() != "Constant":
            steps.append(_step(node))
        elif node.get_element_type().is_real() and not np.isfinite(node.data).all():
            raise ValueError("a weight that is not a finite number")
    check_costs(steps, views)


def _step(node: ov.Node) -> StepCost:
    kind, shapes = node.get_type_name(), [_shape(value) for value in node.input_values()]
    per_number = 0
    if kind == "Convolution":
        per_number = math.prod(shapes[1][1:])
    elif kind == "GroupConvolution":
        per_number = math.prod(shapes[1][2:])
    elif kind == "MatMul":
        axis = -2 if node.get_attributes()["transpose_a"] else -1
        per_number = shapes[0][axis] if len(shapes[0]) > 1 else shapes[0][0]
    elif kind == "MaxPool":
        per_number = math.prod(node.get_attributes()["kernel"])
    takes = [value.get_node().get_name() for value in node.input_values()]
    numbers = sum(math.prod(_shape(port)) for port in node.outputs())
    return StepCost(node.get_name(), takes, numbers, per_number)


def _shape(port: ov.Output) -> list[int]:
    if port.partial_shape.is_dynamic:
        raise ValueError(f"an output of no fixed shape, {port.partial_shape}")
    return list(port.shape)
