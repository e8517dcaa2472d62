"""Grad-CAM: heatmaps by hand, and overlays that are the same bytes every time."""

from __future__ import annotations

import io
from pathlib import Path
from zipfile import ZipFile

import keras
import matplotlib
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pawprint.inference.gradcam import (
    TailLayer,
    check_tail,
    compute_heatmaps,
    normalize_heatmap,
    parse_tail,
    read_tail,
    save_tail,
    score_gradient,
)
from pawprint.inference.overlays import blend_heatmap, render_overlay
from pawprint.networks.architectures import (
    FEATURE_MAP,
    LOGITS,
    add_pooling,
    add_probs,
    cut_model,
    without_probs,
)
from pawprint.runner.errors import ModelError

# covers: R7, B7, B1

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


def heatmaps(model: keras.Model, images: np.ndarray, classes: list[int]) -> np.ndarray:
    trunk, tail = cut_model(without_probs(model), FEATURE_MAP)
    feature_map = trunk(images.astype(np.float32)).numpy()
    return compute_heatmaps(read_tail(tail.layers[1:]), feature_map, np.array(classes))


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
    heatmap = heatmaps(classifier("avg", kernel), PICTURE, [class_])
    assert heatmap.dtype == np.float32
    expected_map = np.array(expected) / max(1, np.max(expected))
    np.testing.assert_allclose(heatmap, expected_map[None], atol=1e-6)


def test_heatmap_of_a_flattened_head_by_hand() -> None:
    """Each place has weights of its own; in their mean over the map, they would cancel."""
    kernel = np.zeros((2, 2, 2, 2))  # row, column, channel, class
    kernel[..., 0, 0] = [[4, -3], [2, -3]]  # of red; mean 0
    kernel[..., 1, 0] = [[1, 5], [0, -6]]  # of green; mean 0
    heatmap = heatmaps(classifier("flatten", kernel.reshape(8, 2)), PICTURE, [0])
    # 4·1 + 1·8, -3·2 + 5·0, 2·3 + 0·0, -3·4 - 6·4
    np.testing.assert_allclose(heatmap[0], np.array([[1, 0], [0.5, 0]]), atol=1e-6)


def test_the_evidence_adds_up_to_the_score() -> None:
    """Of a tail without biases: what lies behind the map is linear around each picture."""
    rng = np.random.default_rng(5)
    tail = [
        TailLayer("max_pool", {"size": np.array([2, 2])}),
        TailLayer("flatten"),
        TailLayer("dense", {"kernel": rng.normal(size=(27, 8)), "bias": np.zeros(8)}),
        TailLayer("relu"),
        TailLayer("dense", {"kernel": rng.normal(size=(8, 4)), "bias": np.zeros(4)}),
    ]
    maps, classes = rng.normal(size=(5, 6, 6, 3)), np.array([0, 3, 1, 2, 3])
    pooled = maps.reshape(5, 3, 2, 3, 2, 3).max(axis=(2, 4)).reshape(5, 27)
    hidden = np.maximum(pooled @ tail[2].arrays["kernel"], 0)
    scores = (hidden @ tail[4].arrays["kernel"])[np.arange(5), classes]
    evidence = score_gradient(tail, maps, classes) * maps
    np.testing.assert_allclose(evidence.sum(axis=(1, 2, 3)), scores, atol=1e-9)
    shown = compute_heatmaps(tail, maps, classes)
    np.testing.assert_allclose(shown, normalize_heatmap(evidence.sum(axis=-1)), atol=1e-6)


def test_behind_average_pooling_this_is_grad_cam() -> None:
    """Equations 1 and 2: a channel's weight is the mean of its gradient over the map."""
    kernel = np.array([[2.0, -1, 1], [-1, 0, 1]])
    trunk, tail = cut_model(without_probs(classifier("avg", kernel)), FEATURE_MAP)
    layers, maps = read_tail(tail.layers[1:]), trunk(PICTURE.astype(np.float32)).numpy()
    for class_ in range(3):
        gradient = score_gradient(layers, maps, np.array([class_]))
        weights = gradient.mean(axis=(1, 2), keepdims=True)
        expected = normalize_heatmap((weights * maps).sum(axis=-1))
        found = compute_heatmaps(layers, maps, np.array([class_]))
        np.testing.assert_array_equal(found, expected)


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
    heatmap = heatmaps(model, PICTURE, [0])
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
        gradient = score_gradient(read_tail(model.layers[1:]), inputs, classes)
        assert np.abs(gradient).max() > 1e-3
        np.testing.assert_allclose(gradient, tape.gradient(total, variable), atol=1e-6)


def test_a_layer_of_unknown_kind_is_named() -> None:
    layer = keras.layers.Softmax(name="odd")
    with pytest.raises(ModelError, match=r"no gradient of layer odd \(Softmax\)"):
        read_tail([layer])


def test_a_saved_tail_is_the_same_to_the_bit_and_in_its_bytes(tmp_path: Path) -> None:
    tail = read_tail(every_layer_of_a_tail().layers[1:])
    for name in ("a.npz", "b.npz"):
        save_tail(tmp_path / name, tail)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    inputs = np.random.default_rng(1).normal(size=(5, 7, 6, 3)).astype(np.float32)
    classes = np.array([0, 3, 1, 2, 3])
    np.testing.assert_array_equal(
        score_gradient(parse_tail((tmp_path / "a.npz").read_bytes()), inputs, classes),
        score_gradient(tail, inputs, classes),
    )
    with ZipFile(tmp_path / "a.npz") as file:  # as written by every release of Python
        assert {entry.extract_version for entry in file.infolist()} == {20}


def saved(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, allow_pickle=True, **arrays)
    return file.getvalue()


def with_header(header: str) -> bytes:
    """An ``.npz`` file of one array that has this header, and no numbers."""
    array, file = io.BytesIO(), io.BytesIO()
    text = header.encode().ljust(117) + b"\n"
    array.write(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text)
    with ZipFile(file, "w") as archive:
        archive.writestr("kinds.npy", array.getvalue())
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a zip"),
        (b"hello" * 20, "not a zip"),
        (saved(kinds=np.array(["relu", {}], object)), "array of shape"),
        (saved(a=np.ones(3)), "KeyError"),
        (saved(kinds=np.array(["relu"]), **{"3.kernel": np.ones(3)}), "IndexError"),
        (saved(kinds=np.array(["relu"]), **{"a.kernel": np.ones(3)}), "invalid literal"),
        (
            with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (10000000000000,), }"),
            r"array of shape \(10000000000000,\)",
        ),
        (with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }"), "shape"),
        (with_header("(" * 117), "header|Error"),
    ],
)
def test_a_damaged_tail_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_tail(content)


def test_a_tail_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    save_tail(tmp_path / "gradcam.npz", read_tail(every_layer_of_a_tail().layers[1:]))
    content = (tmp_path / "gradcam.npz").read_bytes()
    for length in range(0, len(content), 97):
        with pytest.raises(ValueError, match="zip"):
            parse_tail(content[:length])


POOL, RELU = TailLayer("average_pool"), TailLayer("relu")


def dense(inputs: int, outputs: int, bias: int | None = None) -> TailLayer:
    shift = np.zeros(outputs if bias is None else bias)
    return TailLayer("dense", {"kernel": np.ones((inputs, outputs)), "bias": shift})


def test_the_layers_of_a_tail_fit_each_other() -> None:
    check_tail([POOL, dense(5, 4), RELU, dense(4, 3)], (7, 6, 5), 3)
    check_tail(read_tail(every_layer_of_a_tail().layers[1:]), (7, 6, 3), 4)


@pytest.mark.parametrize(
    "tail",
    [
        [],
        [POOL],
        [POOL, dense(5, 2)],
        [POOL, dense(4, 3)],
        [POOL, dense(5, 3, bias=1)],
        [dense(5, 3)],
        [POOL, POOL, dense(5, 3)],
        [POOL, TailLayer("dense", {"kernel": np.ones((5, 3))})],
        [POOL, TailLayer("dense", {"kernel": np.array("text"), "bias": np.zeros(3)})],
        [POOL, TailLayer("relu", {"kernel": np.ones(5)}), dense(5, 3)],
        [POOL, TailLayer("batch_norm", {key: np.ones(1) for key in ("mean", "scale", "shift")})],
        [TailLayer("max_pool", {"size": np.array([0, 2])}), POOL, dense(5, 3)],
        [TailLayer("max_pool", {"size": np.array([8, 2])}), POOL, dense(5, 3)],
        [TailLayer("max_pool", {"size": np.array([2.0, 2.0])}), POOL, dense(5, 3)],
        [TailLayer("odd"), POOL, dense(5, 3)],
    ],
)
def test_layers_of_a_tail_that_do_not_fit_are_refused(tail: list[TailLayer]) -> None:
    with pytest.raises(ValueError, match=r"does not fit|its layers give"):
        check_tail(tail, (7, 6, 5), 3)


def test_a_weight_of_a_tail_is_a_finite_number() -> None:
    layer = dense(5, 3)
    layer.arrays["kernel"][2, 1] = np.nan
    with pytest.raises(ValueError, match="not a finite number"):
        check_tail([POOL, layer], (7, 6, 5), 3)


def test_pictures_of_a_batch_do_not_mix() -> None:
    model = classifier("avg", np.array([[2.0, -1, 1], [-1, 0, 1]]))
    batch = np.concatenate([PICTURE, PICTURE[:, ::-1], PICTURE])
    together = heatmaps(model, batch, [0, 2, 1])
    for i, class_ in enumerate((0, 2, 1)):
        alone = heatmaps(model, batch[i : i + 1], [class_])[0]
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


def test_an_empty_heatmap_is_said_to_be_empty(tmp_path: Path) -> None:
    """Without a colour in the picture; with evidence, the caption is as it was given."""
    for name, heatmap in {"none": np.zeros((3, 3)), "some": np.eye(3)}.items():
        for caption in ("c", "no positive evidence | c"):
            path = tmp_path / f"{name} {len(caption)}.png"
            render_overlay(path, picture(), heatmap.astype(np.float32), 0.4, caption)
    pixels = {path.stem: np.asarray(Image.open(path)) for path in tmp_path.iterdir()}
    np.testing.assert_array_equal(pixels["none 1"][:48, 48:], picture())
    np.testing.assert_array_equal(pixels["none 1"][48:], pixels["some 24"][48:])
    assert (pixels["some 1"][48:] != pixels["none 1"][48:]).any()


def test_no_opacity_leaves_the_picture_as_it_is(tmp_path: Path) -> None:
    render_overlay(tmp_path / "a.png", picture(), np.ones((3, 3), np.float32), 0.0, "caption")
    pixels = np.asarray(Image.open(tmp_path / "a.png"))
    np.testing.assert_array_equal(pixels[:48, 48:], picture())


def test_the_colours_are_those_of_matplotlibs_inferno() -> None:
    ramp = np.linspace(0, 1, 256, dtype=np.float32)[None].repeat(256, axis=0)
    black = np.zeros((256, 256, 3), np.uint8)
    drawn = blend_heatmap(black, ramp, 1.0).astype(float)
    heat = matplotlib.colormaps["inferno"](ramp)[..., :3] * 255 * np.sqrt(ramp)[..., None]
    np.testing.assert_allclose(drawn, heat, atol=2)
