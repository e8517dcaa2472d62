"""The registry of backbones: blocks, cuts, preprocessing, and where weights come from."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from keras.src.applications import mobilenet_v2
from keras.src.backend import config as keras_config
from keras.src.legacy.saving import legacy_h5_format

from pawprint.backbones import (
    BACKBONES,
    INPUT,
    block_end,
    build_backbone,
    check_cut,
    find_backbone,
)
from pawprint.errors import ParamsError, WeightsError
from pawprint.networks import add_pooling, cut_model
from tests.servers import Reply, serve

# covers: R3, R2, R16, R13

pytestmark = pytest.mark.usefixtures("tensorflow")

NAMES = [backbone.name for backbone in BACKBONES]
SIZE = 64
PIXELS = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3)).astype(np.float32)
WAYS_OUT = r"-S model\.weights=PATH .* -S model\.backbone=EfficientNetLite0 -S model\.cut=block5c"


@cache
def random_backbone(name: str) -> keras.Model:
    """With distinct batch statistics: those of a new network would hide what they are for."""
    keras.utils.set_random_seed(1)
    return spread_statistics(build_backbone(name, SIZE, "none"))


def spread_statistics(model: keras.Model) -> keras.Model:
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            gamma, beta, mean, variance = layer.get_weights()
            shape = gamma.shape
            layer.set_weights(
                [
                    rng.uniform(0.5, 1.5, shape),
                    rng.normal(0, 0.1, shape),
                    rng.normal(0, 0.1, shape),
                    rng.uniform(0.5, 1.5, shape),
                ]
            )
    return model


def run(model: keras.Model, inputs: np.ndarray = PIXELS) -> np.ndarray:
    return model(inputs, training=False).numpy()


def save_legacy(model: keras.Model, path: Path) -> Path:
    """In the format of the files that Keras downloads."""
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)
    return path


def application(name: str) -> keras.Model:
    keras.utils.set_random_seed(2)
    network = getattr(keras.applications, name)
    return spread_statistics(network(include_top=False, weights=None, input_shape=(SIZE, SIZE, 3)))


@pytest.mark.parametrize("name", NAMES)
def test_every_block_is_a_place_to_cut(name: str) -> None:
    backbone, model = find_backbone(name), add_pooling(random_backbone(name), "avg")
    order = [layer.name for layer in model.layers]
    ends = [block_end(backbone, model, block) for block in backbone.blocks]
    assert [order.index(end) for end in ends] == sorted({order.index(end) for end in ends})
    for end in ends:
        trunk, tail = cut_model(model, end)
        assert len(trunk.layers) + len(tail.layers) == len(model.layers) + 1  # the tail's input


@pytest.mark.parametrize("name", NAMES)
def test_trunk_and_tail_together_are_the_whole(name: str) -> None:
    backbone, model = find_backbone(name), add_pooling(random_backbone(name), "avg")
    middle = backbone.blocks[len(backbone.blocks) // 2]
    trunk, tail = cut_model(model, block_end(backbone, model, middle))
    whole = run(model)
    assert whole.std() > 1e-4
    np.testing.assert_allclose(run(tail, run(trunk)), whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_a_new_backbone_is_trainable(name: str) -> None:
    assert random_backbone(name).trainable_weights == []


@pytest.mark.parametrize(
    ("name", "module"), [("ResNet50", "resnet"), ("VGG16", "vgg16"), ("MobileNetV2", "mobilenet_v2")]
)
def test_preprocessing_inside_equals_that_of_keras(name: str, module: str) -> None:
    """And a file of Keras' own weights, legacy or new, is a file for model.weights."""
    plain = application(name)
    preprocess_input = getattr(keras.applications, module).preprocess_input
    expected = run(plain, preprocess_input(PIXELS.copy()))
    ours = random_backbone(name)
    names = {layer.name for layer in ours.layers}
    for layer in plain.layers:
        if layer.weights:
            assert layer.name in names
            ours.get_layer(layer.name).set_weights(layer.get_weights())
    np.testing.assert_allclose(run(ours), expected, rtol=1e-4, atol=1e-4 * expected.std())


@pytest.mark.parametrize("name", [name for name in NAMES if name != "EfficientNetLite0"])
@pytest.mark.parametrize("kind", ["legacy", "new"])
def test_weights_are_read_from_a_file_of_keras(name: str, kind: str, tmp_path: Path) -> None:
    plain = application(name)
    if kind == "legacy":
        path = save_legacy(plain, tmp_path / "notop.h5")
    else:
        path = tmp_path / "notop.weights.h5"
        plain.save_weights(path)
    loaded = [w for w in build_backbone(name, SIZE, str(path)).weights if "scale/" not in w.path]
    assert len(loaded) == len(plain.weights)
    for ours, theirs in zip(loaded, plain.weights, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    assert loaded
