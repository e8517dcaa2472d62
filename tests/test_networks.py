"""The trained networks: their layers, how they are joined, cut and calibrated."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from PIL import Image

from pawprint.networks.architectures import (
    FEATURE_MAP,
    LOGITS,
    PROBS,
    add_pooling,
    add_probs,
    build_baseline,
    build_head,
    build_resizing,
    chain,
    cut_model,
    scale_logits,
    unfreeze,
    with_precision,
    without_probs,
)
from pawprint.runner.errors import ModelError
from pawprint.runner.params import Params

# covers: R1, R16, R8, R11, B6


def run(model: keras.Model, inputs: np.ndarray) -> np.ndarray:
    return model(inputs, training=False).numpy()


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits.astype(np.float64))
    return powers / powers.sum(-1, keepdims=True)


def small_backbone(size: int = 8) -> keras.Model:
    pixels = keras.Input((size, size, 3), name="pixels")
    x = keras.layers.Conv2D(4, 3, padding="same", name="block1_conv")(pixels)
    x = keras.layers.BatchNormalization(name="block1_bn")(x)
    x = keras.layers.ReLU(name="block1_activation")(x)
    return keras.Model(pixels, keras.layers.DepthwiseConv2D(3, name="block2_conv")(x))


def pixels(count: int, size: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (count, size, size, 3)).astype(np.float32)


def test_baseline_is_the_network_asked_for(committed: Params) -> None:
    model = build_baseline(committed.baseline, 7)
    assert model.input_shape == (None, 96, 96, 3)
    assert model.output_shape == (None, 7)
    kinds = [type(layer).__name__ for layer in model.layers]
    block = ["Conv2D", "BatchNormalization", "ReLU", "MaxPooling2D"]
    assert kinds == [
        "InputLayer",
        "Rescaling",
        *(3 * block),
        "Flatten",
        "Dense",
        "Dropout",
        "Dense",
    ]
    assert [model.get_layer(f"block{i}_conv").filters for i in (1, 2, 3)] == [32, 64, 128]
    assert model.get_layer(FEATURE_MAP).output.shape == (None, 24, 24, 128)
    assert model.get_layer("flatten").output.shape == (None, 12 * 12 * 128)
    assert model.get_layer("dense").units == 128
    assert model.get_layer("dropout").rate == 0.5


def test_baseline_follows_its_parameters(committed: Params) -> None:
    changes = {"image_size": 32, "filters": [4, 8], "dense": 5, "dropout": 0.1}
    model = build_baseline(committed.baseline.model_copy(update=changes), 2)
    assert model.get_layer("flatten").output.shape == (None, 8 * 8 * 8)
    assert model.get_layer("dense").units == 5
    assert model.get_layer("dropout").rate == 0.1


def test_pooling_is_the_mean_of_the_map_or_all_of_it() -> None:
    backbone, inputs = small_backbone(), pixels(2, 8)
    feature_map = run(backbone, inputs)
    averaged, flattened = (add_pooling(backbone, kind) for kind in ("avg", "flatten"))
    np.testing.assert_allclose(run(averaged, inputs), feature_map.mean((1, 2)), rtol=1e-5)
    np.testing.assert_array_equal(run(flattened, inputs), feature_map.reshape(2, -1))
    assert averaged.get_layer(FEATURE_MAP).output.shape == (None, 6, 6, 4)


def test_the_plainest_head_is_a_dropout_and_a_dense_layer(committed: Params) -> None:
    head = build_head(committed.head, 10, 3)
    assert [type(layer).__name__ for layer in head.layers] == ["InputLayer", "Dropout", "Dense"]
    assert head.count_params() == 10 * 3 + 3


def test_head_with_hidden_layers_and_batch_norm(committed: Params) -> None:
    changes = {"hidden": [6, 5], "batch_norm": True, "dropout": 0.5}
    head = build_head(committed.head.model_copy(update=changes), 10, 3)
    hidden = ["Dense", "BatchNormalization", "ReLU"]
    kinds = [type(layer).__name__ for layer in head.layers]
    assert kinds == ["InputLayer", *hidden, *hidden, "Dropout", "Dense"]
    # kernels; four numbers for each normalized unit, in place of a bias; the last bias
    assert head.count_params() == 10 * 6 + 4 * 6 + 6 * 5 + 4 * 5 + 5 * 3 + 3
    assert head.get_layer("head_dropout").rate == 0.5


def test_a_chain_is_one_flat_model_that_shares_its_layers(committed: Params) -> None:
    backbone, inputs = add_pooling(small_backbone(), "avg"), pixels(2, 8)
    head = build_head(committed.head, 4, 3)
    model = chain(backbone, head, "classifier")
    np.testing.assert_allclose(run(model, inputs), run(head, run(backbone, inputs)), rtol=1e-5)
    assert model.get_layer(LOGITS) is head.get_layer(LOGITS)
    assert not any(isinstance(layer, keras.Model) for layer in model.layers)


def test_resizing_stands_before_the_baseline(committed: Params) -> None:
    baseline = build_baseline(
        committed.baseline.model_copy(update={"image_size": 32, "filters": [4]}), 2
    )
    resizing = build_resizing(64, 32)
    checks = np.indices((64, 64)).sum(0) % 2 * 255.0
    shrunk = run(resizing, np.broadcast_to(checks[None, ..., None], (1, 64, 64, 3)))
    np.testing.assert_allclose(shrunk, 127.5, atol=3)  # averaged, not sampled
    inputs = pixels(2, 64)
    whole = chain(resizing, baseline, "baseline")
    np.testing.assert_allclose(run(whole, inputs), run(baseline, run(resizing, inputs)), rtol=1e-5)


@pytest.mark.parametrize(("size_px", "target_px"), [(64, 32), (64, 24), (32, 48)])
def test_resizing_equals_pillows(size_px: int, target_px: int) -> None:
    picture = pixels(1, size_px)[0].astype(np.float32)
    resized = run(build_resizing(size_px, target_px), picture[None])[0]
    for channel in range(3):
        expected = Image.fromarray(picture[..., channel]).resize(
            (target_px, target_px), Image.Resampling.BILINEAR
        )
        np.testing.assert_allclose(resized[..., channel], np.asarray(expected), atol=0.01)


def test_probs_are_the_softmax_of_logits_and_can_be_taken_off(committed: Params) -> None:
    head, inputs = build_head(committed.head, 4, 3), pixels(1, 2).reshape(3, 4) / 100
    model = add_probs(head)
    assert model.layers[-1].name == PROBS
    np.testing.assert_allclose(run(model, inputs), softmax(run(head, inputs)), atol=1e-6)
    np.testing.assert_array_equal(run(without_probs(model), inputs), run(head, inputs))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_a_temperature_divides_the_logits(temperature: float, committed: Params) -> None:
    head, inputs = build_head(committed.head, 4, 3), pixels(1, 2).reshape(3, 4) / 100
    head.get_layer(LOGITS).bias.assign([1.0, -2.0, 3.0])
    before = run(head, inputs)
    scale_logits(head, temperature)
    np.testing.assert_allclose(run(head, inputs), before / temperature, rtol=1e-5)


def test_a_branch_that_passes_the_cut_by_is_refused() -> None:
    pixels_ = keras.Input((8, 8, 3), name="pixels")
    stem = keras.layers.Conv2D(3, 1, name="stem")(pixels_)
    inner = keras.layers.ReLU(name="inner")(stem)
    model = keras.Model(pixels_, keras.layers.Add(name="add")([stem, inner]))
    with pytest.raises(ModelError, match="cannot be cut behind inner: a branch passes it by"):
        cut_model(model, "inner")
    with pytest.raises(ModelError, match=r"cannot be cut behind add: .* nothing follows"):
        cut_model(model, "add")
    trunk, tail = cut_model(model, "stem")
    inputs = pixels(1, 8)
    np.testing.assert_array_equal(run(tail, run(trunk, inputs)), run(model, inputs))


def test_unfreezing_leaves_batch_norm_and_preprocessing_frozen() -> None:
    inputs = keras.Input((8, 8, 3))
    scaling = keras.Model(inputs, keras.layers.Conv2D(3, 1, name="scale")(inputs))
    model = chain(scaling, small_backbone(), "backbone")
    model.trainable = False
    unfreeze(model, freeze_depthwise=False)
    assert trainable_layers(model) == {"block1_conv", "block2_conv"}
    unfreeze(model, freeze_depthwise=True)
    assert trainable_layers(model) == {"block1_conv"}  # the other one is depthwise


def trainable_layers(model: keras.Model) -> set[str]:
    return {weight.path.split("/")[0] for weight in model.trainable_weights}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_copy_in_another_precision_keeps_weights_and_logits_in_float32(
    precision: str, committed: Params
) -> None:
    head = build_head(committed.head.model_copy(update={"hidden": [16]}), 4, 3)
    model = chain(add_pooling(small_backbone(), "avg"), head, "classifier")
    model.get_layer("block1_conv").trainable = False
    copy = with_precision(model, precision)
    assert {weight.dtype for weight in copy.weights} == {"float32"}
    inputs = pixels(2, 8)
    logits = copy(inputs, training=False)
    assert logits.dtype == "float32"
    np.testing.assert_allclose(logits, run(model, inputs), rtol=0.05, atol=1)
    work = {layer.name: layer.compute_dtype for layer in copy.layers}
    assert work["block1_conv"] == work["head1_dense"] == precision
    assert work["block2_conv"] == work[LOGITS] == "float32"  # depthwise; the result
    assert not copy.get_layer("block1_conv").trainable
    for one, other in zip(copy.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_copy_shares_no_weights(committed: Params) -> None:
    head = build_head(committed.head, 4, 3)
    copy = with_precision(head, "float32")
    copy.get_layer(LOGITS).bias.assign([9.0, 9.0, 9.0])
    assert head.get_layer(LOGITS).bias.numpy().tolist() == [0, 0, 0]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_copy_has_the_operations_that_are_no_layers(precision: str) -> None:
    """Such as MobileNetV3's gates: clip(x + 3, 0, 6) / 6."""
    features = keras.Input((4,), name="features")
    gate = keras.layers.ReLU(6.0)(keras.layers.Dense(4, name="gate")(features) + 3.0) * (1 / 6)
    x = keras.layers.Multiply(name="gated")([features, gate])
    model = keras.Model(features, keras.layers.Dense(2, name=LOGITS)(x))
    copy = with_precision(model, precision)
    for layer, weights in (("gate", 2 * np.eye(4)), (LOGITS, np.eye(4)[:, :2])):
        copy.get_layer(layer).set_weights([weights, np.zeros(weights.shape[1])])
    logits = copy(np.array([[-2.0, 1.0, 0.0, 0.0]]), training=False)
    assert logits.dtype == "float32"
    np.testing.assert_allclose(logits, [[0, 5 / 6]], atol=0.004)  # bfloat16 has 8 bits
    assert not {id(op) for op in copy.operations} & {id(op) for op in model.operations}
