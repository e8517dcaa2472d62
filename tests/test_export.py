"""Stage export: each format says what Keras says, on its own runtime, in the same bytes."""

from __future__ import annotations

import hashlib
import json
import random
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf
import yaml
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from bench.export import time_network
from pawprint.data.labels import write_labels
from pawprint.evaluation.predictions import make_predictions, write_predictions
from pawprint.export import formats as export
from pawprint.export import parity, ratios
from pawprint.export.calibration import repeat_patch
from pawprint.export.onnx_graph import drop_idle_reshapes, number_names
from pawprint.inference.classifier import ModelCard
from pawprint.networks.architectures import FEATURE_MAP, LOGITS, add_probs
from pawprint.networks.model_files import ModelInfo, load_model, save_model
from pawprint.pictures.images import decode_image
from pawprint.registry.resizing import Resize
from pawprint.runner.errors import DataError, ModelError
from pawprint.runner.params import ExportParams, Params
from pawprint.storage.shards import shard_name, write_shard
from pawprint.storage.tables import write_csv, write_json
from pawprint.unlikeness.fit import fit_unlikeness
from pawprint.unlikeness.network import add_unlikeness, average_features

# covers: R9, R11, B1, B6

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs/export.md"
CLASS_NAMES = ["cat", "żółw", "🐶"]
SIZE, PICTURES = 32, 40
FLOATS = ["openvino", "saved_model", "onnx", "tflite"]
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (PICTURES, SIZE, SIZE, 3)).astype(np.uint8)
IMAGES[:, :, :, 0] //= np.arange(1, PICTURES + 1, dtype=np.uint8)[:, None, None]  # no two alike
IMAGES[-1], IMAGES[-1, :, : SIZE // 2] = 0, 255  # white on the left
LABELS = np.arange(PICTURES) % len(CLASS_NAMES)
PATHS = [f"{CLASS_NAMES[label]}/{i}.jpg" for i, label in enumerate(LABELS)]


def build_model() -> keras.Model:
    """A small network with what large ones have: a branch, batch norm, ReLU6, pooling."""
    keras.utils.set_random_seed(3)
    layers = keras.layers
    pixels = keras.Input((SIZE, SIZE, 3), name="pixels")
    x = layers.Rescaling(1 / 128, offset=-1, name="scale")(pixels)
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="stem")(x)
    short = x = layers.ReLU(6.0, name="stem_activation")(layers.BatchNormalization(name="bn")(x))
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = layers.ReLU(6.0, name="activation")(x)
    x = layers.Conv2D(8, 1, name="pointwise")(x)
    x = layers.Identity(name=FEATURE_MAP)(layers.Add(name="add")([x, short]))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    logits = layers.Dense(len(CLASS_NAMES), kernel_initializer="he_normal", name=LOGITS)(x)
    model = keras.Model(pixels, logits, name="classifier")
    dense = model.get_layer(LOGITS)
    dense.set_weights([4 * dense.get_weights()[0], dense.get_weights()[1]])
    plain = add_probs(model)
    means = average_features(plain)(IMAGES.astype(np.float32)).numpy()
    return add_unlikeness(plain, fit_unlikeness([means[:30]], [means[30:]], 2, 0.2))


def write_split(processed: Path, split: str) -> None:
    write_shard(processed / split / shard_name(0), IMAGES[:25])
    write_shard(processed / split / shard_name(1), IMAGES[25:])
    rows = zip(PATHS, [CLASS_NAMES[label] for label in LABELS], map(int, LABELS), strict=True)
    write_labels(processed, split, rows)


def build_left_model() -> keras.Model:
    """Sees the left half alone: its mean, of 0...1, four times, speaks for the first class."""
    layers = keras.layers
    pixels = keras.Input((SIZE, SIZE, 3), name="pixels")
    x = layers.Rescaling(1 / 255, name="scale")(pixels)
    x = layers.Conv2D(1, SIZE // 2, strides=SIZE // 2, use_bias=False, name="quarters")(x)
    x = layers.Identity(name=FEATURE_MAP)(x)
    logits = layers.Dense(3, use_bias=False, name=LOGITS)(layers.Flatten(name="flatten")(x))
    model = keras.Model(pixels, logits, name="classifier")
    model.get_layer("quarters").set_weights(
        [np.full((SIZE // 2, SIZE // 2, 3, 1), 4 / SIZE**2 / 3)]
    )
    kernel = np.zeros((4, 3))
    kernel[[0, 2], 0] = 2  # of the upper left quarter and of the lower left one
    model.get_layer(LOGITS).set_weights([kernel])
    return add_probs(model)


def write_project(
    root: Path,
    model: keras.Model,
    probs: np.ndarray,
    ratios: np.ndarray | None,
    values: dict[str, Any],
    tta: int,
    resize: Resize,
) -> None:
    """What stage export reads, as the other stages would have written it."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["export"] |= values
    root.mkdir(parents=True)
    (root / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    for split in ("train", "test"):
        write_split(root / "data/processed", split)
    shutil.copy(ROOT / "dvc.yaml", root)
    write_csv(root / "data/split.csv", ("path",), [(path,) for path in PATHS])
    save_model(model, root / "models/head.keras", ModelInfo(CLASS_NAMES, SIZE, resize))
    losses = {"train_baseline": 0.5, "train_head": 0.25, "finetune": 0.375}
    for stage, loss in losses.items():
        write_json(root / f"metrics/{stage}.json", {"val_log_loss": loss})
    said = make_predictions(PATHS, LABELS, {"head": probs}, CLASS_NAMES)
    details = {"tta": tta, "models": {"head": {"metrics": {"accuracy": 0.5}}}}
    write_json(root / "metrics/evaluate/details.json", details)
    write_predictions(root / "metrics/evaluate/predictions.csv", said)
    write_shard(root / "metrics/evaluate/probabilities/head.npy", probs.astype(np.float32))
    columns = [PATHS] if ratios is None else [PATHS, ratios.tolist()]
    names = ("path", "head")[: len(columns)]
    promise = {"model": "head", "precision": 0.99, "confidence": 0.95, "threshold": 0.9}
    write_json(root / "metrics/deciding/service.json", promise)
    write_csv(root / "metrics/judged/unlikeness.csv", names, list(zip(*columns, strict=True)))


def start_stage(root: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "stages.export"],
        cwd=root,
        env={"PYTHONPATH": str(ROOT), "TQDM_DISABLE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def left_means(images: np.ndarray) -> np.ndarray:
    """What ``build_left_model`` says of uint8 [n, SIZE, SIZE, 3] and their mirror images, averaged.

    Returns:
        float64 [n, 3].
    """
    left, right = images[:, :, : SIZE // 2], images[:, :, SIZE // 2 :]
    first = [np.exp(4 / 255 * half.mean(axis=(1, 2, 3))) for half in (left, right)]
    mean = (first[0] / (first[0] + 2) + first[1] / (first[1] + 2)) / 2
    return np.stack([mean, (1 - mean) / 2, (1 - mean) / 2], axis=1)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Path]]:
    """Two equal projects in different places, and one of a model of letterboxes, averaging.

    Each is exported by a process of its own.
    """
    roots = [tmp_path_factory.mktemp("one") / "a", tmp_path_factory.mktemp("two") / "other place"]
    roots.append(tmp_path_factory.mktemp("three") / "averaged")
    model, left = build_model(), build_left_model()
    values = {"int8": True, "calibration": 8, "int8_min_agreement": 0.5}
    for root in roots[:2]:
        probs, ratios = (output.numpy() for output in model(IMAGES.astype(np.float32)))
        write_project(root, model, probs, ratios[:, 0], values, 1, "stretch")
    write_project(roots[2], left, left_means(IMAGES), None, values, 2, "letterbox")
    stages = [start_stage(root) for root in roots]
    for stage in stages:
        out, err = stage.communicate(timeout=300)
        assert stage.returncode == 0, err[-3000:]
        assert [name for name in parity.FORMATS if f"\n{name} " not in out] == []
    yield roots
    for root in roots:
        shutil.rmtree(root)


@pytest.fixture(scope="module")
def directory(exported: list[Path]) -> Path:
    return exported[0] / "models/export"


@pytest.fixture(scope="module")
def expected(exported: list[Path]) -> np.ndarray:
    """Keras' probabilities of all pictures."""
    return load_model(exported[0] / "models/head.keras")(IMAGES.astype(np.float32))[0].numpy()


def checksums(root: Path) -> dict[str, str]:
    places = ("models/export", "plots/export", "metrics/export.json")
    files = [file for place in places for file in (root / place, *(root / place).rglob("*"))]
    return {
        file.relative_to(root).as_posix(): hashlib.md5(file.read_bytes()).hexdigest()
        for file in sorted(files)
        if file.is_file()
    }


def test_another_process_in_another_place_writes_the_same_bytes(exported):
    one, other = map(checksums, exported[:2])
    assert len(one) == 11
    assert one == other


@pytest.mark.parametrize("form", [*FLOATS, "tflite_int8"])
def test_raw_pixels_in_any_batch_give_probabilities(directory, expected, form):
    network = parity.FORMATS[form].open(directory, 2)
    for rows in ([0, 1, 2, 3, 4], [3], [4, 0, 3]):
        probs, _ = network(IMAGES[rows])
        assert probs.dtype == np.float32
        # steps of a 256th are all that 8 bits can tell apart
        atol = 0.05 if form == "tflite_int8" else 1e-5
        np.testing.assert_allclose(probs, expected[rows], atol=atol)
    assert np.ptp(expected[:5], axis=0).max() > 0.1  # the pictures do matter


@pytest.mark.parametrize("form", FLOATS)
def test_each_format_tells_unlikeness_as_keras_does(exported, directory, form):
    keras_model = load_model(exported[0] / "models/head.keras")
    expected = keras_model(IMAGES.astype(np.float32))[1].numpy()
    assert 0 < (expected > 1).mean() < 1  # some are unlike, others not
    network = parity.FORMATS[form].open(directory, 2)
    for rows in ([0, 1, 2, 3, 4], [3], list(range(PICTURES))):
        ratios = network(IMAGES[rows])[1]
        np.testing.assert_allclose(ratios, expected[rows], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", [*FLOATS, "tflite_int8"])
def test_each_format_averages_a_picture_and_its_mirror_image_by_itself(exported, form):
    images = np.concatenate([IMAGES[-1:], IMAGES[-1:, :, ::-1], IMAGES[:3]])
    by_hand = (np.exp(4) / (np.exp(4) + 2) + 1 / 3) / 2  # of the white half, and of the black one
    atol = 0.05 if form == "tflite_int8" else 1e-5
    network = parity.FORMATS[form].open(exported[2] / "models/export", 2)
    for rows in ([0, 1, 2, 3, 4], [1], [4, 0]):
        (probs,) = network(images[rows])
        np.testing.assert_allclose(probs, left_means(images[rows]), atol=atol)
        of_halves = [row < 2 for row in rows]
        np.testing.assert_allclose(probs[of_halves, 0], by_hand, atol=atol)


def test_weights_stand_once_in_a_graph_that_averages(tmp_path):
    """OpenVINO's: see tests/test_classifier.py."""
    pixels = keras.Input((SIZE, SIZE, 3))
    dense = keras.layers.Dense(16, activation="softmax")(keras.layers.Flatten()(pixels))
    model, weights_bytes = keras.Model(pixels, dense), 4 * 16 * SIZE * SIZE * 3
    for tta in (1, 2):
        out, network = tmp_path / str(tta), export.freeze(model, tta)
        card = ModelCard("wide", [], SIZE, 1, {}, {}, {}, {}, tta=tta)
        export.write_saved_model(network, card, out / "saved_model")
        export.write_onnx(network, card, out / "model.onnx")
        export.write_tflite(out / "saved_model", card, out / "model.tflite")
        for form in FLOATS[1:]:
            found = parity.size_bytes(out, parity.FORMATS[form])
            assert weights_bytes < found < 1.1 * weights_bytes, (tta, form)


def saved_model_metadata(directory: Path) -> dict[str, str]:
    content = (directory / "saved_model/assets.extra/pawprint.json").read_text(encoding="utf-8")
    return json.loads(content)


def onnx_metadata(directory: Path) -> dict[str, str]:
    import onnxruntime as ort

    return ort.InferenceSession(directory / "model.onnx").get_modelmeta().custom_metadata_map


def tflite_metadata(name: str, directory: Path) -> dict[str, str]:
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs((directory / name).read_bytes(), 0)
    entries = [model.Metadata(i) for i in range(model.MetadataLength())]
    (entry,) = [entry for entry in entries if entry.Name() == b"pawprint"]
    return json.loads(bytes(model.Buffers(entry.Buffer()).DataAsNumpy()))


def openvino_metadata(directory: Path) -> dict[str, str]:
    import openvino as ov

    graph = ov.Core().read_model(directory / "model.xml")
    keys = list(graph.get_rt_info()["pawprint"])
    return {key: graph.get_rt_info(["pawprint", key]).value for key in keys}


@pytest.mark.parametrize(
    "read",
    [
        saved_model_metadata,
        onnx_metadata,
        openvino_metadata,
        lambda directory: tflite_metadata("model.tflite", directory),
        lambda directory: tflite_metadata("model_int8.tflite", directory),
    ],
    ids=["saved_model", "onnx", "openvino", "tflite", "tflite_int8"],
)
def test_each_file_says_which_model_it_is(exported, directory, read):
    found = read(directory)
    told = {"name", "class_names", "image_size", "resize", "tta", "hashes"}
    assert set(found) == told | {"unlike_above"}
    assert json.loads(found["tta"]) == 1
    assert json.loads(found["resize"]) == "stretch"
    of_third = read(exported[2] / "models/export")
    assert [json.loads(of_third[key]) for key in ("resize", "tta")] == ["letterbox", 2]
    assert found["name"] == "head"  # of the lowest validation log loss
    assert json.loads(found["class_names"]) == CLASS_NAMES
    assert json.loads(found["image_size"]) == SIZE
    card = json.loads((directory / "model.json").read_bytes())
    assert card["val_log_losses"] == {"baseline": 0.5, "head": 0.25, "finetuned": 0.375}
    assert json.loads(found["hashes"]) == {
        path: hashlib.md5((exported[0] / path).read_bytes()).hexdigest()
        for path in ("models/head.keras", "data/split.csv")
    }


def test_the_program_in_the_docs_says_what_pawprint_says(exported, monkeypatch):
    code = re.search(r"^    import json.*?(?=^\S)", DOCS.read_text(encoding="utf-8"), re.M | re.S)
    assert code is not None
    long = IMAGES[:8, :10].reshape(80, SIZE, 3)
    found, unlike = {}, {}
    ways: tuple[tuple[Path, Resize], ...] = (exported[0], "stretch"), (exported[2], "letterbox")
    for root, resize in ways:
        monkeypatch.chdir(root)
        Image.fromarray(long).save("cat.jpg", "PNG")  # what a file is, its first bytes tell
        of_program: dict[str, Any] = {}
        exec(textwrap.dedent(code[0]), of_program)
        assert of_program["names"] == CLASS_NAMES
        pixels = decode_image(Path("cat.jpg").read_bytes(), SIZE, 10_000, resize=resize)[None]
        np.testing.assert_array_equal(of_program["pixels"], pixels)
        found[resize] = of_program["probs"], pixels
        unlike[resize] = of_program["unlike"]
    probs, pixels = found["letterbox"]
    np.testing.assert_allclose(probs, left_means(pixels), atol=1e-5)
    probs, pixels = found["stretch"]
    of_keras, ratio = load_model(exported[0] / "models/head.keras")(pixels.astype(np.float32))
    np.testing.assert_allclose(probs, of_keras, atol=1e-5)
    assert unlike == {"stretch": bool(ratio[0, 0] > 1), "letterbox": None}


def test_names_of_inputs_and_outputs_are_ours(directory):
    from ai_edge_litert.interpreter import Interpreter

    model = onnx.load(directory / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in model.graph.input] == ["pixels"]
    assert [value.name for value in model.graph.output] == ["probs", "unlikeness"]
    signatures = Interpreter(str(directory / "model.tflite")).get_signature_list()
    names = {"inputs": ["pixels"], "outputs": ["probs", "unlikeness"]}
    assert signatures == {"serving_default": names}
    signature = tf.saved_model.load(str(directory / "saved_model")).signatures["serving_default"]
    assert signature.structured_input_signature[1] == {
        "pixels": tf.TensorSpec((None, SIZE, SIZE, 3), tf.uint8, "pixels")
    }
    assert sorted(signature.structured_outputs) == ["probs", "unlikeness"]


def test_metrics_hold_what_can_be_compared_between_runs(exported, directory, expected):
    found = json.loads((exported[0] / "metrics/export.json").read_text(encoding="utf-8"))
    assert found.pop("model") == "head"
    assert list(found) == ["keras", *FLOATS, "tflite_int8"]
    accuracy = round(float((expected.argmax(axis=1) == LABELS).mean()), 6)
    for form in ("keras", *FLOATS):
        assert found[form]["accuracy"] == accuracy
        assert 0 <= found[form]["accuracy_low"] <= accuracy <= found[form]["accuracy_high"] <= 1
    for form in FLOATS:
        assert found[form]["agreement"] == 1
        assert found[form]["largest_difference"] < 1e-5
        assert found[form]["ratio_difference"] < 1e-4
        # A picture may lie on the limit, to rounding, which then calls it either
        assert found[form]["unlike_agreement"] >= 1 - 1 / PICTURES
        assert found[form]["unlike"] == pytest.approx(found["keras"]["unlike"], abs=1 / PICTURES)
        assert found[form]["unlike"] > 0
    assert found["onnx"]["size_bytes"] == (directory / "model.onnx").stat().st_size
    files = [file for file in (directory / "saved_model").rglob("*") if file.is_file()]
    assert found["saved_model"]["size_bytes"] == sum(file.stat().st_size for file in files)


@pytest.mark.parametrize(("name", "kind"), [("model", np.float32), ("model_int8", np.int8)])
def test_tflite_weights_are_floats_or_bytes(directory, name, kind):
    from ai_edge_litert.interpreter import Interpreter

    details = Interpreter(str(directory / f"{name}.tflite")).get_tensor_details()
    (kernel,) = [tensor for tensor in details if tuple(tensor["shape"]) == (8, 3, 3, 3)]
    assert kernel["dtype"] == kind


def break_a_weight(path: Path) -> None:
    """Change the largest constant of an ONNX file a little."""
    model = onnx.load(path)
    tensor = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * 1.5, tensor.name))
    onnx.save(model, path)


def test_a_wrong_weight_stops_the_stage_and_leaves_the_last_export(
    exported, committed, monkeypatch
):
    import stages.export

    root, write = exported[1], export.write_onnx

    def write_and_break(*arguments: Any) -> None:
        write(*arguments)
        break_a_weight(arguments[-1])

    monkeypatch.chdir(root)
    monkeypatch.setattr(export, "write_onnx", write_and_break)
    before = checksums(root)
    with pytest.raises(ModelError, match=r"^export: onnx: a probability of \S+/\d+\.jpg differs"):
        stages.export.main(committed)
    assert checksums(root) == before
    assert [path.name for path in (root / "models").iterdir() if path.suffix == ".tmp"] == []


def test_best_is_the_lowest_validation_loss():
    losses = {"baseline": 0.7, "head": 0.2, "finetuned": 0.3}
    assert export.choose_model("best", losses) == ("head", losses)
    assert export.choose_model("baseline", losses) == ("baseline", {})
    assert export.choose_model("best", losses | {"finetuned": 0.1})[0] == "finetuned"


# Four pictures, of which Keras takes three for what they are
KERAS = np.array([[0.9, 0.1], [0.2, 0.8], [0.50002, 0.49998], [0.3, 0.7]], np.float32)
TRUTH = np.array([0, 1, 0, 0])
FOUR = ["a/1.jpg", "b/2.jpg", "a/3.jpg", "a/4.jpg"]


def changed(row: int, first: float) -> np.ndarray:
    probs = KERAS.copy()
    probs[row] = first, 1 - first
    return probs


def judge(config: ExportParams, **formats: np.ndarray) -> dict[str, dict[str, float]]:
    predictions = {"keras": KERAS, "openvino": KERAS, **formats}
    sizes = dict.fromkeys(predictions, 5)
    scores = parity.compare(predictions, TRUTH, sizes, confidence=0.95)
    parity.check_formats(predictions, scores, FOUR, config)
    return scores


def demands(committed: Params, **values: Any) -> ExportParams:
    return committed.export.model_copy(update=values)


def test_scores_by_hand(committed):
    scores = judge(committed.export, onnx=changed(2, 0.4999))
    # Wilson's interval of 3 of 4, and of 2 of 4
    assert scores["keras"] == {
        "size_bytes": 5,
        "accuracy": 0.75,
        "accuracy_low": 0.300642,
        "accuracy_high": 0.954413,
    }
    assert scores["onnx"]["accuracy"] == 0.5
    assert scores["onnx"]["agreement"] == 0.75  # two probabilities 4e-5 apart changed places
    assert scores["onnx"]["largest_difference"] == 0.0002  # 0.00012, rounded up
    assert scores["openvino"]["largest_difference"] == 0
    assert "agreement" not in scores["keras"]


def test_ratios_by_hand(committed):
    """Of four pictures; int8 takes one for unlike that is not."""
    told = {
        "keras": np.array([0.5, 0.9, 2.0, 4.0], np.float32),
        "onnx": np.array([0.50035, 0.9, 2.0, 4.001], np.float32),
        "tflite_int8": np.array([0.5, 1.1, 2.5, 4.0], np.float32),
    }
    scores: dict[str, dict[str, float]] = {form: {} for form in told}
    ratios.add_scores(scores, told, 1.0)
    assert scores == {
        "keras": {"unlike": 0.5},
        "onnx": {"unlike": 0.5, "unlike_agreement": 1.0, "ratio_difference": 0.0004},
        "tflite_int8": {"unlike": 0.75, "unlike_agreement": 0.75, "ratio_difference": 0.3},
    }
    ratios.check(told, scores, FOUR, demands(committed, int8_min_agreement=0.75))
    with pytest.raises(
        ModelError, match=r"tflite_int8: of 0\.7500 of the test pictures .* = 0\.95"
    ):
        ratios.check(told, scores, FOUR, committed.export)
    told["onnx"][2] = 2.01
    with pytest.raises(ModelError, match=r"onnx: the unlikeness of a/3\.jpg is 2\.01, Keras' 2, "):
        ratios.check(told, scores, FOUR, committed.export)
    told["onnx"][2] = np.nan
    with pytest.raises(ModelError, match=r"the unlikeness of a/3\.jpg is nan"):
        ratios.check(told, scores, FOUR, committed.export)


def test_int8_tells_pictures_that_no_training_picture_is_like(directory):
    """Its integers end at the largest ratio of what calibrates it: that of patterns."""
    network = parity.FORMATS["tflite_int8"].open(directory, 2)
    patterns = np.concatenate([repeat_patch(image[None]) for image in IMAGES[:8]])
    expected = parity.FORMATS["onnx"].open(directory, 2)(patterns)[1]
    assert expected.max() > 1.5
    found = network(patterns)[1]
    assert ((found > 1) == (expected > 1)).mean() > 0.8


def test_a_pattern_is_the_middle_of_a_picture_again_and_again() -> None:
    picture = np.arange(20 * 20).reshape(1, 20, 20, 1)
    found = repeat_patch(picture)[0, :, :, 0]
    assert found.shape == (20, 20)
    assert found[:2, :4].tolist() == [[168, 169, 168, 169], [188, 189, 188, 189]]
    assert (found[::2, ::2] == 168).all()


def test_graphs_that_average_give_the_mean_of_both_ratios(tmp_path):
    model = build_model()
    path = tmp_path / "model.onnx"
    card = ModelCard("told", CLASS_NAMES, SIZE, 1, {}, {}, {}, {}, tta=2, unlike_above=1.0)
    export.write_onnx(export.freeze(model, 2), card, path)
    plain, mirrored = (
        model(images.astype(np.float32))[1].numpy() for images in (IMAGES, IMAGES[:, :, ::-1])
    )
    assert np.abs(plain - mirrored).max() > 1e-3
    means = parity.FORMATS["onnx"].open(tmp_path, 1)(IMAGES)[1]
    np.testing.assert_allclose(means, (plain + mirrored) / 2, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("form", "probs", "values", "message"),
    [
        (
            *("onnx", changed(0, 0.898), {}),
            r"^export: onnx: a probability of a/1\.jpg differs from Keras' by 0\.002, more than "
            r"export\.tolerance = 0\.001; ",
        ),
        (
            *("saved_model", changed(3, np.nan), {}),
            r"^export: saved_model: a probability of a/4\.jpg differs from Keras' by 1, ",
        ),
        (
            *("tflite", changed(2, 0.4999), {"tie": 1e-5}),
            r"^export: tflite: another class than Keras' for a/3\.jpg, although the two "
            r"probabilities lie 4e-05 apart, more than export\.tie = 1e-05; ",
        ),
        (
            *("onnx", changed(2, 0.4999), {"min_accuracy": 0.6}),
            r"^export: onnx: accuracy 0\.5000 on the test split, below export\.min_accuracy = 0\.6",
        ),
        (
            *("tflite_int8", changed(1, 0.7), {"int8_min_agreement": 0.8}),
            r"^export: tflite_int8: 0\.7500 of the test pictures have Keras' class, fewer than "
            r"export\.int8_min_agreement = 0\.8; ",
        ),
    ],
    ids=["tolerance", "not a number", "class", "accuracy", "int8"],
)
def test_what_is_not_the_trained_model_is_refused(committed, form, probs, values, message):
    with pytest.raises(ModelError, match=message) as caught:
        judge(demands(committed, **values), **{form: probs})
    assert "\n" not in str(caught.value)


def test_int8_may_differ_as_far_as_its_classes_agree(committed):
    config = demands(committed, int8_min_agreement=0.75)
    assert judge(config, tflite_int8=changed(1, 0.7))["tflite_int8"]["agreement"] == 0.75


def test_formats_are_compared_with_what_was_evaluated():
    back = slice(None, None, -1)  # pictures are found by their paths, whatever their order
    found = parity.find_evaluated(KERAS[back], FOUR[back], FOUR)
    np.testing.assert_array_equal(found, KERAS)
    with pytest.raises(DataError, match=r"^export: expected the 3 test pictures .* found 4, 3 of"):
        parity.find_evaluated(KERAS, FOUR, FOUR[:3])


@pytest.mark.parametrize(
    ("value", "rounded"), [(1.85e-06, 2e-06), (2e-06, 2e-06), (0.95, 1.0), (9.1e-7, 1e-06), (0, 0)]
)
def test_differences_are_rounded_up_to_one_digit(value, rounded):
    assert parity.round_up(value) == rounded


def onnx_graph(seed: int) -> onnx.GraphProto:
    """relu(x) + relu(x) * c, its names and its order drawn by lot; one node nobody needs."""
    lots = random.Random(seed)
    pool = lots.sample(range(1000), 9)
    x, y, once, twice, product, factor, unused, spare, name = (f"t{i}" for i in pool)
    constants = [(factor, 3.0), (unused, 4.0)]
    nodes = [
        helper.make_node("Relu", [x], [once], name=f"{name}a"),
        helper.make_node("Relu", [x], [twice], name=f"{name}b"),
        helper.make_node("Mul", [twice, factor], [product], name=f"{name}c"),
        helper.make_node("Neg", [x], [spare], name=f"{name}d"),
        helper.make_node("Add", [once, product], [y], name=f"{name}e"),
    ]
    lots.shuffle(constants)
    lots.shuffle(nodes)
    values = [helper.make_tensor_value_info(key, TensorProto.FLOAT, [name, 2]) for key in (x, y)]
    tensors = [
        numpy_helper.from_array(np.array([value], np.float32), key) for key, value in constants
    ]
    graph = helper.make_graph(nodes, "graph", values[:1], values[1:], tensors)
    number_names(graph, {x: "pixels", y: "probs"})
    return graph


def test_onnx_names_and_order_do_not_depend_on_the_converters():
    graphs = [onnx_graph(seed) for seed in range(20)]
    assert len({graph.SerializeToString(deterministic=True) for graph in graphs}) == 1
    assert [node.op_type for node in graphs[0].node] == ["Relu", "Relu", "Mul", "Add"]
    assert [tensor.name for tensor in graphs[0].initializer] == ["constant_0"]
    from onnx.reference import ReferenceEvaluator

    opsets = [helper.make_opsetid("", 17)]
    evaluator = ReferenceEvaluator(helper.make_model(graphs[0], opset_imports=opsets))
    (found,) = evaluator.run(None, {"pixels": np.array([[1, -1]], np.float32)})
    np.testing.assert_array_equal(found, [[4, 0]])


@pytest.mark.parametrize("idle", [[], [0], [0, 1]])
def test_an_onnx_graph_has_no_node_that_leaves_a_shape_as_it_was(idle):
    """relu(relu(x)) of maps [n, 2, 1, 1] as rows, with and without Reshapes to the same shape."""
    nodes, last = [], "x"
    for k in range(2):
        nodes.append(helper.make_node("Relu", [last], [f"relu_{k}"]))
        last = f"relu_{k}"
        if k in idle:
            nodes.append(helper.make_node("Reshape", [last, "maps"], [f"idle_{k}"]))
            last = f"idle_{k}"
    nodes.append(helper.make_node("Reshape", [last, "rows"], ["y"]))
    shapes = {"maps": [-1, 2, 1, 1], "rows": [-1, 2]}
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *shape])
        for name, shape in (("x", [2, 1, 1]), ("y", [2]))
    )
    tensors = [numpy_helper.from_array(np.array(value), name) for name, value in shapes.items()]
    graph = helper.make_graph(nodes, "graph", [x], [y], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    drop_idle_reshapes(model)
    number_names(model.graph, {"x": "pixels", "y": "probs"})
    assert [node.op_type for node in model.graph.node] == ["Relu", "Relu", "Reshape"]
    from onnx.reference import ReferenceEvaluator

    maps = np.array([[[[-1]], [[2]]]], np.float32)
    (found,) = ReferenceEvaluator(model).run(None, {"pixels": maps})
    np.testing.assert_array_equal(found, [[0, 2]])


def test_speed_is_that_of_the_network(monkeypatch):
    """A lone picture takes 3 ms, the second one 9; a batch of five takes 8 ms, one of two 4."""
    clock = [0.0]
    took_s = {1: iter([0.003, 0.009, 0.003]), 5: iter([0.008] * 2), 2: iter([0.004])}

    def network(images: np.ndarray) -> None:
        clock[0] += next(took_s[len(images)])

    monkeypatch.setattr("bench.export.time", SimpleNamespace(perf_counter=lambda: clock[0]))
    found = time_network(network, IMAGES[:12], batch_size=5, singles=3)
    assert found["latency_ms"] == pytest.approx(3)
    assert found["images_per_s"] == pytest.approx(12 / 0.02)
