"""Model files: equal weights are equal bytes, and a file says what it is for."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import keras
import numpy as np
import pytest

from pawprint.networks.architectures import add_pooling, add_probs, build_head, chain
from pawprint.networks.model_files import ModelInfo, load_model, read_model_info, save_model
from pawprint.networks.predictor import build_predictor, predict
from pawprint.registry.resizing import RESIZES
from pawprint.runner.errors import ModelError
from pawprint.runner.params import Params

# covers: B1, R11, R10

INFO = ModelInfo(["Käfer", "犬", 'a "b"/c'], 8)
ROOT = Path(__file__).resolve().parent.parent


def classifier(params: Params, seed: int = 0) -> keras.Model:
    keras.utils.set_random_seed(seed)
    pixels = keras.Input((8, 8, 3), name="pixels")
    x = keras.layers.Conv2D(4, 3, name="conv")(pixels)
    x = keras.layers.BatchNormalization(name="bn")(x)
    x = keras.layers.ReLU(6.0, name="activation")(x)
    backbone = add_pooling(keras.Model(pixels, x), "avg")
    return add_probs(chain(backbone, build_head(params.head, 4, 3), "classifier"))


def pixels(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3)).astype(np.uint8)


def test_equal_models_are_equal_files(tmp_path: Path, committed: Params) -> None:
    save_model(classifier(committed), tmp_path / "one.keras", INFO)
    time.sleep(2.1)  # zip entries count time in steps of two seconds
    save_model(classifier(committed), tmp_path / "elsewhere/two.keras", INFO)
    one = (tmp_path / "one.keras").read_bytes()
    assert one == (tmp_path / "elsewhere/two.keras").read_bytes()


def test_other_weights_or_classes_are_another_file(tmp_path: Path, committed: Params) -> None:
    for name, seed, info in (
        ("a", 0, INFO),
        ("b", 1, INFO),
        ("c", 0, ModelInfo(["x", "y", "z"], 8)),
    ):
        save_model(classifier(committed, seed), tmp_path / f"{name}.keras", info)
    assert len({(tmp_path / f"{name}.keras").read_bytes() for name in "abc"}) == 3


def test_a_model_comes_back_with_its_probabilities_and_class_names(
    tmp_path: Path, committed: Params
) -> None:
    model, path = classifier(committed), tmp_path / "model.keras"
    save_model(model, path, INFO)
    assert read_model_info(path) == INFO
    inputs = pixels(3).astype(np.float32)
    expected = model(inputs, training=False).numpy()
    np.testing.assert_array_equal(load_model(path)(inputs, training=False), expected)


def test_a_file_says_how_a_picture_becomes_a_square_where_it_is_not_stretched(
    tmp_path: Path, committed: Params
) -> None:
    for resize in RESIZES:
        path = tmp_path / f"{resize}.keras"
        save_model(classifier(committed), path, replace(INFO, resize=resize))
        assert read_model_info(path).resize == resize
        with ZipFile(path) as archive:
            said = json.loads(archive.read("metadata.json"))["pawprint"]
        older = {"class_names": INFO.class_names, "image_size": 8}
        assert said == (older if resize == "stretch" else {**older, "resize": resize})


def test_the_file_is_an_ordinary_keras_file(tmp_path: Path, committed: Params) -> None:
    path = tmp_path / "model.keras"
    save_model(classifier(committed), path, INFO)
    inputs = pixels(2).astype(np.float32)
    loaded = keras.models.load_model(path)
    np.testing.assert_allclose(loaded(inputs), classifier(committed)(inputs), rtol=1e-6)


def test_class_names_are_read_without_tensorflow(tmp_path: Path, committed: Params) -> None:
    save_model(classifier(committed), tmp_path / "model.keras", INFO)
    code = (
        "import sys; from pathlib import Path\n"
        "from pawprint.networks.model_files import read_model_info\n"
        "print(read_model_info(Path('model.keras')).image_size, 'keras' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.split() == ["8", "False"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"absent\.keras: no such file; run dvc repro"):
        load_model(tmp_path / "absent.keras")


def test_a_keras_file_of_others_is_refused(tmp_path: Path, committed: Params) -> None:
    path = tmp_path / "plain.keras"
    classifier(committed).save(path)
    with pytest.raises(ModelError, match=r"plain\.keras: not a model of Pawprint"):
        load_model(path)


@pytest.mark.parametrize("damage", ["html", "empty", "cut off", "no weights", "garbled weights"])
def test_a_damaged_file_is_refused_in_one_line(
    damage: str, tmp_path: Path, committed: Params
) -> None:
    path = tmp_path / "model.keras"
    save_model(classifier(committed), path, INFO)
    content = path.read_bytes()
    if damage in ("html", "empty", "cut off"):
        path.write_bytes({"html": b"<html>", "empty": b"", "cut off": content[:-200]}[damage])
    else:
        with ZipFile(path) as source:
            files = {name: source.read(name) for name in source.namelist()}
        files.pop("model.weights.h5")
        with ZipFile(path, "w") as target:
            for name, part in files.items():
                target.writestr(name, part)
            if damage == "garbled weights":
                target.writestr("model.weights.h5", b"garbage")
    with pytest.raises(ModelError, match=r"model\.keras: .*; run dvc repro") as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, committed: Params) -> None:
    path = tmp_path / "model.keras"
    save_model(classifier(committed), path, INFO)
    content = path.read_bytes()
    with pytest.raises(ModelError, match=r"model\.keras: .* surrogates not allowed"):
        save_model(classifier(committed), path, ModelInfo(["\ud800"], 8))
    assert path.read_bytes() == content
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.keras"]


def test_a_predictor_equals_the_model_it_was_made_of(committed: Params) -> None:
    model = classifier(committed)
    statistics = [np.full(4, value) for value in (1.5, 0.1, 20.0, 900.0)]
    model.get_layer("bn").set_weights(statistics)
    predictor = build_predictor(model)
    for count in (1, 5):
        expected = model(pixels(count).astype(np.float32), training=False).numpy()
        (probs,) = predictor(pixels(count))
        assert probs.dtype == np.float32
        np.testing.assert_allclose(probs, expected, atol=1e-5)


def test_a_predictor_has_every_output_and_keeps_the_order_of_batches(committed: Params) -> None:
    model = classifier(committed)
    outputs = [model.get_layer("conv").output, model.output]
    both = build_predictor(keras.Model(model.input, outputs))
    batches = list(predict(both, (pixels(5)[start : start + 2] for start in (0, 2, 4))))
    assert [[output.shape for output in batch] for batch in batches] == [
        [(2, 6, 6, 4), (2, 3)],
        [(2, 6, 6, 4), (2, 3)],
        [(1, 6, 6, 4), (1, 3)],
    ]
    together = np.concatenate([probs for _, probs in batches])
    np.testing.assert_allclose(together, both(pixels(5))[1], atol=1e-6)
