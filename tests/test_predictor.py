"""Both engines give what Keras gives, whatever the batch; OpenVINO does so without TensorFlow."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from zipfile import ZipFile

import keras
import numpy as np
import pytest

from pawprint.backbones.build import build_backbone
from pawprint.networks.architectures import (
    add_pooling,
    add_probs,
    build_baseline,
    build_resizing,
    chain,
)
from pawprint.networks.config_bounds import INITIALIZERS, LAYER_KINDS, PART_KINDS
from pawprint.networks.graph_files import GRAPH_OPERATIONS
from pawprint.networks.model_files import ModelInfo, save_model
from pawprint.networks.predictor import (
    find_network,
    open_predictor,
    save_network,
)
from pawprint.registry.backbones import BACKBONES
from pawprint.runner.errors import ModelError
from pawprint.runner.params import Params
from pawprint.unlikeness.fit import Unlikeness
from pawprint.unlikeness.likeness import Likeness
from pawprint.unlikeness.network import add_unlikeness

# covers: R3, R20, B2, B6

SIZE = 64
PICTURES = np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE, 3)).astype(np.uint8)
# For each model: its outputs on the pictures, and its network saved for other processes
SCRIPT = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy as np
from pawprint.networks.runtime import start_engine
assert start_engine("openvino", 2) == "openvino"
from pawprint.networks.model_files import load_model
from pawprint.networks.predictor import build_predictor, save_network
pictures = np.load("pictures.npy")
for path in sorted(Path().glob("*.keras")):
    model = load_model(path)
    np.savez(path.with_suffix(".npz"), outputs=build_predictor(model)(pictures)[0])
    save_network(model, [model.layers[-1].name], path.with_suffix(""))
assert "tensorflow" not in sys.modules
"""


@pytest.fixture(scope="module")
def models(
    tmp_path_factory: pytest.TempPathFactory, committed: Params
) -> dict[str, tuple[Path, keras.Model]]:
    """Every backbone, the baseline, and a classifier with two outputs.

    They are saved by Keras on TensorFlow and run by OpenVINO.
    """
    directory = tmp_path_factory.mktemp("engines")
    built = {backbone.name: random_backbone(backbone.name) for backbone in BACKBONES}
    baseline = build_baseline(committed.baseline.model_copy(update={"image_size": 48}), 3)
    built["baseline"] = add_probs(chain(build_resizing(SIZE, 48), baseline, "baseline"))
    built["telling unlikeness"] = telling_unlikeness(built["MobileNetV2"])
    for name, model in built.items():
        save_model(model, directory / f"{name}.keras", ModelInfo([], SIZE))
    np.save(directory / "pictures.npy", PICTURES)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=directory,
        env={"PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return {name: (directory / name, model) for name, model in built.items()}


def random_backbone(name: str) -> keras.Model:
    """A backbone with random weights, whose batch norm has the statistics of other pictures."""
    keras.utils.set_random_seed(5)
    model = build_backbone(name, SIZE, "none")
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in norms:
        layer.momentum = 0.0
    model.trainable = True
    rng = np.random.default_rng(5)
    model(rng.integers(0, 256, (32, SIZE, SIZE, 3)).astype(np.float32), training=True)
    for layer in norms:
        noise = [rng.uniform(0.9, 1.1, w.shape) for w in layer.get_weights()]
        layer.set_weights([w * n for w, n in zip(layer.get_weights(), noise, strict=True)])
    return add_pooling(model, "avg")


def telling_unlikeness(backbone: keras.Model) -> keras.Model:
    """A classifier with its second output."""
    width = backbone.output_shape[-1]
    plain = add_probs(keras.Model(backbone.input, keras.layers.Dense(2)(backbone.output)))
    likeness = Likeness(np.zeros(width), np.eye(width, 2), 1.0)
    return add_unlikeness(plain, Unlikeness(likeness, 1.0, (10, 10)))


NAMES = [*(backbone.name for backbone in BACKBONES), "baseline"]


@pytest.mark.parametrize("name", NAMES)
def test_openvino_gives_what_keras_gives(
    models: dict[str, tuple[Path, keras.Model]], name: str
) -> None:
    path, model = models[name]
    outputs = np.load(path.with_suffix(".npz"))["outputs"]
    expected = model(PICTURES.astype(np.float32), training=False).numpy()
    assert outputs.dtype == np.float32
    assert np.ptp(expected, axis=0).max() > 1e-3 * np.abs(expected).max()  # pictures matter
    np.testing.assert_allclose(outputs, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("name", NAMES)
def test_hardly_a_transposition_is_left(
    models: dict[str, tuple[Path, keras.Model]], name: str
) -> None:
    """One at the input, one before flattening, and tiny ones of squeeze-and-excitation."""
    path, _ = models[name]
    gates = sum(isinstance(layer, keras.layers.Multiply) for layer in models[name][1].layers)
    layers = ElementTree.parse(path.with_suffix(".xml")).iter("layer")
    kinds = [layer.get("type") for layer in layers]
    assert 1 <= kinds.count("Transpose") <= 12 + gates


def parts_of(value: Any) -> set[str]:
    """The classes of all objects in a network's configuration, but for its initializers."""
    if isinstance(value, list):
        return set().union(*map(parts_of, value))
    if not isinstance(value, dict):
        return set()
    own = {value["class_name"]} if "class_name" in value else set()
    initializer = value.get("module") == INITIALIZERS
    return (set() if initializer else own) | parts_of([*value.values()])


def test_what_files_may_hold_is_what_networks_are_made_of(
    models: dict[str, tuple[Path, keras.Model]],
) -> None:
    """No further name, and none less; a further backbone may need a further one."""
    layers, parts, operations = set(), set(), set()
    for path, _ in models.values():
        with ZipFile(path.with_suffix(".keras")) as archive:
            config = json.loads(archive.read("config.json"))["config"]
        layers |= {layer["class_name"] for layer in config["layers"]}
        parts |= parts_of(config)
        xml = ElementTree.parse(path.with_suffix(".xml"))
        operations |= {str(layer.get("type")) for layer in xml.iter("layer")}
    assert layers == LAYER_KINDS
    assert parts - layers == PART_KINDS
    assert operations == GRAPH_OPERATIONS


@pytest.mark.parametrize("cores", [1, 2])
def test_a_saved_network_gives_the_same_bits_for_any_batch_and_number_of_cores(
    models: dict[str, tuple[Path, keras.Model]], cores: int
) -> None:
    path, _ = models["EfficientNetLite0"]
    expected = np.load(path.with_suffix(".npz"))["outputs"]
    predictor = open_predictor(path.with_suffix(".xml"), "float32", cores)
    for rows in ([0, 1, 2, 3, 4], [3], [4, 0, 3]):
        np.testing.assert_array_equal(predictor(PICTURES[rows])[0], expected[rows])


@pytest.mark.parametrize("damage", ["absent", "empty", "half"])
def test_a_damaged_network_is_one_line(
    models: dict[str, tuple[Path, keras.Model]], tmp_path: Path, damage: str
) -> None:
    saved, _ = models["baseline"]
    for suffix in (".xml", ".bin"):
        content = saved.with_suffix(suffix).read_bytes()
        if damage != "absent":
            content = content[: len(content) // 2 if damage == "half" else 0]
            (tmp_path / "trunk").with_suffix(suffix).write_bytes(content)
    with pytest.raises(ModelError, match=r"^\S+trunk\.xml: cannot be read .*; run dvc repro$"):
        open_predictor(tmp_path / "trunk.xml", "float32", 1)


def test_bf16_is_near_and_not_the_same(models: dict[str, tuple[Path, keras.Model]]) -> None:
    path, _ = models["MobileNetV2"]
    expected = np.load(path.with_suffix(".npz"))["outputs"]
    (outputs,) = open_predictor(path.with_suffix(".xml"), "bfloat16", 1)(PICTURES)
    cosine = (outputs * expected).sum() / np.linalg.norm(outputs) / np.linalg.norm(expected)
    assert cosine > 0.95
    assert outputs.dtype == np.float32


def test_a_network_is_saved_and_opened_by_the_engine_of_the_process(tmp_path: Path) -> None:
    model = random_backbone("MobileNetV2")
    saved = save_network(model, [model.layers[3].name, model.layers[-1].name], tmp_path / "net")
    assert saved == find_network(tmp_path / "net") == tmp_path / "net.keras"
    inner, outer = open_predictor(saved, "float32", 1)(PICTURES)
    assert inner.shape[0] == outer.shape[0] == len(PICTURES)
    expected = model(PICTURES.astype(np.float32), training=False).numpy()
    np.testing.assert_allclose(outer, expected, atol=1e-4 * np.abs(expected).max())


def test_threads_share_a_network_and_each_gets_its_own_results(
    models: dict[str, tuple[Path, keras.Model]],
) -> None:
    """More of them than pictures can be at work, as in a server that also draws heatmaps."""
    path, _ = models["baseline"]
    predictor = open_predictor(path.with_suffix(".xml"), "float32", 2)
    pictures = np.concatenate([PICTURES, PICTURES[::-1]])
    expected = predictor(pictures)[0]

    def ask(start: int) -> bool:
        (found,) = predictor(pictures[start : start + 5])
        return bool((found == expected[start : start + 5]).all())

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(ask, [start % 6 for start in range(120)]))


def test_a_network_answers_on_after_pictures_that_it_cannot_take(
    models: dict[str, tuple[Path, keras.Model]],
) -> None:
    path, _ = models["baseline"]
    predictor = open_predictor(path.with_suffix(".xml"), "float32", 1)
    (expected,) = predictor(PICTURES)
    for _ in range(5):
        with pytest.raises(RuntimeError, match="shape"):
            predictor(PICTURES[:, :-1])
    assert (predictor(PICTURES)[0] == expected).all()
