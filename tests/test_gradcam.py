"""Grad-CAM: heatmaps by hand, and overlays that are the same bytes every time."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pawprint.errors import ModelError
from pawprint.gradcam import GradCam, normalize_heatmap, render_overlay, score_gradient
from pawprint.networks import FEATURE_MAP, LOGITS, add_pooling, add_probs

# covers: R7, B7, B1

pytestmark = pytest.mark.usefixtures("tensorflow")

# The feature map is the picture's red and green channel, 2 x 2 places.
RED = [[1.0, 2.0], [3.0, 4.0]]
GREEN = [[8.0, 0.0], [0.0, 4.0]]
PICTURE = np.stack([RED, GREEN, np.full((2, 2), 9.0)], axis=-1)[None].astype(np.uint8)


def classifier(pooling: str, kernel: np.ndarray) -> keras.Model:
    """A picture's red and green channel, pooled, then a dense layer with this kernel."""
    pixels = keras.Input((2, 2, 3), name="pixels")
    choose = keras.layers.Conv2D(2, 1, use_bias=False, name="choose")
    backbone = add_pooling(keras.Model(pixels, choose(pixels)), pooling)
    choose.set_weights([np.array([[1.0, 0], [0, 1], [0, 0]]).reshape(1, 1, 3, 2)])
    logits = keras.layers.Dense(kernel.shape[1], name=LOGITS)
    model = add_probs(keras.Model(backbone.input, logits(backbone.output)))
    logits.set_weights([kernel, np.full(kernel.shape[1], 7.0)])
    return model


@pytest.mark.parametrize(
    ("class_", "expected"),
    [
        # d logit / d place = w / 4; red: 2, green: -1, in units of a quarter
        (0, [[0, 4], [6, 4]]),  # 2·1 - 8 < 0, 2·2, 2·3, 2·4 - 4
        (1, [[0, 0], [0, 0]]),  # red: -1, green: 0: nothing speaks for it
        (2, [[9, 2], [3, 8]]),  # red + green
    ],
)
def test_heatmap_of_a_pooled_head_by_hand(class_: int, expected: list[list[float]]) -> None:
    kernel = np.array([[2.0, -1, 1], [-1, 0, 1]])
    heatmap = GradCam(classifier("avg", kernel))(PICTURE, np.array([class_]))
    assert heatmap.dtype == np.float32
    expected_map = np.array(expected) / max(1, np.max(expected))
    np.testing.assert_allclose(heatmap, expected_map[None], atol=1e-6)


def test_heatmap_of_a_flattened_head_by_hand() -> None:
    """The weight of a channel is the mean of the weights of its places."""
    kernel = np.zeros((2, 2, 2, 2))  # row, column, channel, class
    kernel[..., 0, 0] = [[4, 0], [0, 0]]  # mean 1
    kernel[..., 1, 0] = [[0, 1], [1, -6]]  # mean -1
    heatmap = GradCam(classifier("flatten", kernel.reshape(8, 2)))(PICTURE, np.array([0]))
    # red - green: -7, 2, 3, 0
    np.testing.assert_allclose(heatmap[0], np.array([[0, 2 / 3], [1, 0]]), atol=1e-6)


def test_layers_between_the_map_and_the_logits_are_differentiated() -> None:
    """As in the baseline: a hidden unit that is off passes no evidence on."""
    pixels = keras.Input((2, 2, 3), name="pixels")
    x = keras.layers.Identity(name=FEATURE_MAP)(pixels)
    x = keras.layers.GlobalAveragePooling2D()(x)
    hidden = keras.layers.Dense(2, activation="relu", name="dense")
    logits = keras.layers.Dense(2, name=LOGITS)
    model = add_probs(keras.Model(pixels, logits(hidden(x))))
    # unit 0 sees red and is on; unit 1 sees green, but its bias keeps it off
    hidden.set_weights([np.array([[1.0, 0], [0, 1], [0, 0]]), np.array([0.0, -100])])
    logits.set_weights([np.array([[1.0, 0], [5, 0]]), np.zeros(2)])
    heatmap = GradCam(model)(PICTURE, np.array([0]))
    np.testing.assert_allclose(heatmap[0], np.array([[0.25, 0.5], [0.75, 1]]), atol=1e-6)


def every_layer_of_a_tail() -> keras.Model:
    """All kinds of layers that may lie behind a feature map, with random weights."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((7, 6, 3))
    x = keras.layers.MaxPooling2D(2)(keras.layers.Identity()(inputs))
    x = keras.layers.Dropout(0.5)(keras.layers.Flatten()(x))
    x = keras.layers.Dense(9, activation="relu")(x)
    norm = keras.layers.BatchNormalization()
    x = keras.layers.ReLU()(norm(keras.layers.Dense(8, use_bias=False)(x)))
    rng = np.random.default_rng(0)
    norm.set_weights([rng.uniform(0.5, 2, 8) for _ in range(4)])
    return keras.Model(inputs, keras.layers.Dense(4)(x))


def test_gradients_equal_those_of_tensorflow() -> None:
    pooled = keras.Input((7, 6, 3))
    average = keras.layers.GlobalAveragePooling2D()(pooled)
    simple = keras.Model(pooled, keras.layers.Dense(4)(average))
    inputs = np.random.default_rng(1).normal(size=(5, 7, 6, 3)).astype(np.float32)
    classes = np.array([0, 3, 1, 2, 3])
    for model in (simple, every_layer_of_a_tail()):
        with tf.GradientTape() as tape:
            variable = tf.Variable(inputs)
            scores = tf.gather(model(variable, training=False), classes, axis=1, batch_dims=1)
            total = tf.reduce_sum(scores)
        gradient = score_gradient(model.layers[1:], inputs, classes)
        assert np.abs(gradient).max() > 1e-3
        np.testing.assert_allclose(gradient, tape.gradient(total, variable), atol=1e-6)


def test_a_layer_of_unknown_kind_is_named() -> None:
    layer = keras.layers.Softmax(name="odd")
    with pytest.raises(ModelError, match=r"no gradient of layer odd \(Softmax\)"):
        score_gradient([layer], np.ones((1, 2), np.float32), np.array([0]))


def test_pictures_of_a_batch_do_not_mix() -> None:
    cam = GradCam(classifier("avg", np.array([[2.0, -1, 1], [-1, 0, 1]])))
    batch = np.concatenate([PICTURE, PICTURE[:, ::-1], PICTURE])
    together = cam(batch, np.array([0, 2, 1]))
    for i, class_ in enumerate((0, 2, 1)):
        alone = cam(batch[i : i + 1], np.array([class_]))[0]
        np.testing.assert_allclose(together[i], alone, atol=1e-6)


def test_no_evidence_is_zero_not_nan() -> None:
    heatmap = normalize_heatmap(np.array([[[-1.0, 0.0]], [[0.0, 0.0]]]))
    assert heatmap.tolist() == [[[0, 0]], [[0, 0]]]


def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (48, 48, 3)).astype(np.uint8)


def test_an_overlay_shows_the_picture_beside_its_heatmap(tmp_path: Path) -> None:
    heatmap = np.zeros((6, 6), np.float32)
    heatmap[:2, :2] = 1
    render_overlay(tmp_path / "a.png", picture(), heatmap, 0.4, "head: Käfer 0.93")
    pixels = np.asarray(Image.open(tmp_path / "a.png"))
    assert pixels.shape == (68, 96, 3)
    np.testing.assert_array_equal(pixels[:48, :48], picture())
    right = pixels[:48, 48:]
    np.testing.assert_array_equal(right[32:, 32:], picture()[32:, 32:])  # no evidence, no colour
    # where the evidence is 1: 60 % picture, 40 % of inferno's last colour
    expected = 0.6 * picture()[4, 4] + 0.4 * np.array([252, 255, 164])
    np.testing.assert_allclose(right[4, 4], expected, atol=2)
    assert (pixels[48:] < 128).any()  # the caption


def test_an_overlay_is_the_same_bytes_every_time(tmp_path: Path) -> None:
    heatmap = np.random.default_rng(1).uniform(0, 1, (7, 7)).astype(np.float32)
    for name in ("a.png", "b.png"):
        render_overlay(tmp_path / name, picture(), heatmap, 0.4, "caption")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_no_opacity_leaves_the_picture_as_it_is(tmp_path: Path) -> None:
    render_overlay(tmp_path / "a.png", picture(), np.ones((3, 3), np.float32), 0.0, "caption")
    pixels = np.asarray(Image.open(tmp_path / "a.png"))
    np.testing.assert_array_equal(pixels[:48, 48:], picture())
