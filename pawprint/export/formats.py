"""One classifier in the forms of other programs: the same model and card give the same bytes.

    model.xml, model.bin, gradcam.npz, model.json   see pawprint/inference/classifier.py
    saved_model/                                    TensorFlow
    model.onnx                                      ONNX
    model.tflite, model_int8.tflite                 LiteRT (TensorFlow Lite)

The last three hold one and the same graph: ``pixels``, uint8 [n, size, size, 3], RGB in 0...255 →
``probs``, float32 [n, classes], and ``unlikeness``, float32 [n, 1], of a model that tells it: where
it is above the ``unlike_above`` of the metadata, a picture is unlike the training pictures. Each
says in its metadata which model it is and of which classes. Where the card's ``tta`` is 2, all of
them make the mirror image themselves and give means.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pawprint.export.calibration import calibration_pictures
from pawprint.inference.classifier import ModelCard, embedded
from pawprint.networks.model_files import read_model_info
from pawprint.registry.models import find_best
from pawprint.runner.files import file_digest
from pawprint.runner.params import AugmentParams, ExportParams, PreprocessParams
from pawprint.storage.shards import ShardedArray

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

EXPORT_LIBRARIES = ("ai-edge-litert", "keras", "onnx", "openvino", "tensorflow", "tf2onnx")
SAVED_MODEL, ONNX = "saved_model", "model.onnx"
TFLITE, TFLITE_INT8 = "model.tflite", "model_int8.tflite"
PIXELS, PROBABILITIES = "pixels", "probs"  # names of the input and the first output ...
RATIOS = "unlikeness"  # ... and of the second one, where a model has it
METADATA = "pawprint"


def choose_model(
    model: str, val_log_losses: Mapping[str, float]
) -> tuple[str, Mapping[str, float]]:
    """The name of the model to export, and what it was chosen by.

    Args:
        model: ``export.model``.
        val_log_losses: of each model.

    Returns:
        The name; these losses if it is the best by them, and none if ``export.model`` names it.
    """
    return (find_best(val_log_losses), val_log_losses) if model == "best" else (model, {})


def make_card(
    source: Path,
    data: Path,
    limits: PreprocessParams,
    augment: AugmentParams,
    metrics: Mapping[str, float],
    val_log_losses: Mapping[str, float],
    tta: int,
    unlike_above: float | None,
) -> ModelCard:
    """Describe the model of a ``.keras`` file.

    Args:
        source: the file.
        data: the list of all pictures, ``data/split.csv``. The hashes of both files are in
            dvc.lock, and so lead to the commit, the parameters and the pictures.
        limits: what pictures are refused, and which value of 16 bits is white.
        augment: how the model was trained.
        metrics: of the model on the test split.
        val_log_losses: what it was chosen by, see ``choose_model``.
        tta: how these metrics were measured, and so what is exported: 2, with the mirror image.
        unlike_above: ``unlikeness.k``; None of a model that does not tell unlikeness.
    """
    info = read_model_info(source)
    return ModelCard(
        name=source.stem,
        class_names=info.class_names,
        image_size=info.image_size,
        resize=info.resize,
        max_pixels=limits.max_pixels,
        max_value=limits.max_value,
        augment=augment.model_dump(),
        hashes={path.as_posix(): file_digest(path, "md5") for path in (source, data)},
        metrics=dict(metrics),
        versions={name: metadata.version(name) for name in EXPORT_LIBRARIES},
        val_log_losses=dict(val_log_losses),
        tta=tta,
        unlike_above=unlike_above,
    )


def write_formats(
    source: Path,
    model: keras.Model,
    card: ModelCard,
    directory: Path,
    train: ShardedArray,
    config: ExportParams,
    workers: Executor,
) -> None:
    """Write all forms of a model. Keras must run on TensorFlow.

    Args:
        source: the ``.keras`` file.
        model: what it holds: a classifier, pixels → probabilities.
        card: of the model.
        directory: where; it exists.
        train: training pictures; some of them, evenly spaced, calibrate the int8 file.
        config: whether there is one, and how many pictures calibrate it.
        workers: fresh processes: Keras on OpenVINO needs one of its own.

    Raises:
        ModelError: the model is not a classifier of Pawprint.
    """
    workers.submit(_write_openvino, source, card, directory).result()
    network = freeze(model, card.tta)
    saved_model = directory / SAVED_MODEL
    write_saved_model(network, card, saved_model)
    write_onnx(network, card, directory / ONNX)
    write_tflite(saved_model, card, directory / TFLITE)
    if config.int8:
        examples = calibration_pictures(train, config.calibration, card.unlike_above is not None)
        write_tflite(saved_model, card, directory / TFLITE_INT8, examples)


def _write_openvino(path: Path, card: ModelCard, directory: Path) -> None:
    from pawprint.networks.runtime import start_engine

    start_engine("openvino", 1)
    from pawprint.inference.classifier import save_classifier
    from pawprint.networks.model_files import load_model

    save_classifier(load_model(path), card, directory)


def freeze(model: keras.Model, views: int) -> tf.types.experimental.ConcreteFunction:
    """A model as one TensorFlow graph, weights as constants: uint8 ``pixels`` → its outputs.

    Args:
        model: a classifier.
        views: 2: the mirror images run as further pictures of the batch, and means come out.
    """
    import keras
    import tensorflow as tf

    # Not public, and nothing public does it: see tests/test_private_sides.py
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    def serve(pixels: tf.Tensor) -> list[tf.Tensor]:
        both = pixels if views == 1 else tf.concat([pixels, tf.reverse(pixels, [2])], axis=0)
        found = keras.tree.flatten(model(tf.cast(both, tf.float32), training=False))
        if views == 1:
            return found
        pairs = [tf.reshape(output, (2, -1, output.shape[1])) for output in found]
        return [tf.reduce_mean(pair, axis=0) for pair in pairs]

    shape = (None, *model.input_shape[1:])
    function = tf.function(serve, autograph=False, jit_compile=False)
    concrete = function.get_concrete_function(tf.TensorSpec(shape, tf.uint8, PIXELS))
    return convert_variables_to_constants_v2(concrete)


def write_saved_model(
    network: tf.types.experimental.ConcreteFunction, card: ModelCard, directory: Path
) -> None:
    """Write a frozen graph as a SavedModel with the signature ``serving_default``.

    ``tf.saved_model.save`` never writes the same bytes twice; a graph with a signature needs no
    more than what is written here. The metadata is where TensorFlow Serving leaves room for it.
    """
    # Not public: see tests/test_private_sides.py
    from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

    def describe(tensor: tf.Tensor) -> meta_graph_pb2.TensorInfo:
        return meta_graph_pb2.TensorInfo(
            name=tensor.name,
            dtype=tensor.dtype.as_datatype_enum,
            tensor_shape=tensor.shape.as_proto(),
        )

    content = saved_model_pb2.SavedModel(saved_model_schema_version=1)
    graph = content.meta_graphs.add()
    graph.meta_info_def.tags.append("serve")
    frozen = network.graph.as_graph_def()
    # Of a network with two outputs TensorFlow orders its nodes now so, now otherwise
    nodes = sorted(frozen.node, key=lambda node: node.name)
    del frozen.node[:]
    graph.graph_def.CopyFrom(frozen)
    graph.graph_def.node.extend(nodes)
    signature = graph.signature_def["serving_default"]
    signature.method_name = "tensorflow/serving/predict"
    signature.inputs[PIXELS].CopyFrom(describe(network.inputs[0]))
    for tensor, name in _outputs(network).items():
        signature.outputs[name].CopyFrom(describe(network.graph.get_tensor_by_name(tensor)))
    extra = directory / "assets.extra"
    extra.mkdir(parents=True)
    (directory / "saved_model.pb").write_bytes(content.SerializeToString(deterministic=True))
    text = json.dumps(embedded(card), indent=2, ensure_ascii=False)
    (extra / f"{METADATA}.json").write_text(f"{text}\n", encoding="utf-8")


def _outputs(network: tf.types.experimental.ConcreteFunction) -> dict[str, str]:
    """The names of a frozen graph's outputs → those in exported files."""
    names = PROBABILITIES, RATIOS
    return {tensor.name: name for tensor, name in zip(network.outputs, names, strict=False)}


def write_onnx(
    network: tf.types.experimental.ConcreteFunction, card: ModelCard, path: Path
) -> None:
    """Write a frozen graph as ONNX; its ``metadata_props`` say what it is."""
    from pawprint.export.onnx_graph import build_onnx

    inputs = {network.inputs[0].name: PIXELS}
    model = build_onnx(network.graph.as_graph_def(), inputs, _outputs(network))
    for key, value in embedded(card).items():
        model.metadata_props.add(key=key, value=value)
    path.write_bytes(model.SerializeToString(deterministic=True))


def write_tflite(
    saved_model: Path, card: ModelCard, path: Path, examples: Iterator[np.ndarray] | None = None
) -> None:
    """Turn a SavedModel into a file for LiteRT, with a metadata buffer ``pawprint`` (JSON).

    Args:
        saved_model: the directory.
        card: of the model.
        path: of the new file.
        examples: pictures, uint8 [1, size, size, 3] each, that show the range of every activation:
            the network then calculates with integers of 8 bits. Without them it stays float32.
    """
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model))
    if examples is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ({PIXELS: example} for example in examples)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # tf.lite warns of its own interpreter
        content = converter.convert()
    path.write_bytes(_with_metadata(content, embedded(card)))


def _with_metadata(content: bytes, values: Mapping[str, str]) -> bytes:
    """Add a named buffer to a TFLite model."""
    import flatbuffers

    # Made from LiteRT's schema, and told of nowhere: see tests/test_private_sides.py
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    text = json.dumps(values, ensure_ascii=False).encode()
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = np.frombuffer(text, np.uint8)
    entry.name, entry.buffer = METADATA, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), entry]
    builder = flatbuffers.Builder(len(content) + len(text) + 1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
