"""The form in which the baseline is trained is the baseline, in everything but its speed."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from pawprint.baseline.quick_form import FusedBatchNormalization, quick_form
from pawprint.networks.architectures import LOGITS, build_baseline
from pawprint.runner.params import BaselineParams, Params

# covers: R1, R8, B1

RNG = np.random.default_rng(0)
PIXELS = RNG.uniform(0, 255, (6, 16, 16, 3)).astype(np.float32)
LABELS = np.array([0, 1, 2, 0, 1, 2])


@pytest.fixture
def small(committed: Params) -> BaselineParams:
    changes = {"image_size": 16, "filters": [4, 6, 8], "dense": 5, "dropout": 0.0}
    return committed.baseline.model_copy(update=changes)


def trained_baseline(params: BaselineParams) -> keras.Model:
    """Weights and statistics of which no two are alike."""
    keras.utils.set_random_seed(0)
    model = build_baseline(params, 3)
    rng = np.random.default_rng(1)
    model.set_weights([w + rng.uniform(0.1, 0.3, w.shape) for w in model.get_weights()])
    return model


def step(model: keras.Model) -> tuple[float, list[np.ndarray]]:
    """The loss of a batch in training, and the gradients of all trainable weights."""
    with tf.GradientTape() as tape:
        logits = model(PIXELS, training=True)
        losses = keras.losses.sparse_categorical_crossentropy(LABELS, logits, from_logits=True)
        loss = tf.reduce_mean(losses)
    gradients = tape.gradient(loss, model.trainable_variables)
    return float(loss), [gradient.numpy() for gradient in gradients]


def test_its_losses_gradients_and_statistics_are_the_baselines(small: BaselineParams) -> None:
    model = trained_baseline(small)
    quick = quick_form(model, "float32")
    loss, gradients = step(model)
    quick_loss, quick_gradients = step(quick)
    assert quick_loss == pytest.approx(loss, rel=1e-5)
    assert [v.path for v in quick.trainable_variables] == [
        v.path for v in model.trainable_variables
    ]
    for one, other in zip(quick_gradients, gradients, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4 * np.abs(other).max() + 1e-7)
    for one, other in zip(quick.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)  # moving means and variances among them


@pytest.mark.parametrize(("precision", "close"), [("float32", 1e-5), ("bfloat16", 0.05)])
def test_it_classifies_as_the_baseline_does(
    precision: str, close: float, small: BaselineParams
) -> None:
    model = trained_baseline(small)
    quick = quick_form(model, precision)
    logits = model(PIXELS, training=False).numpy()
    found = quick(PIXELS, training=False)
    assert found.dtype == "float32"
    np.testing.assert_allclose(found, logits, atol=close * np.abs(logits).max())
    assert {weight.dtype for weight in quick.weights} == {"float32"}
    types = {layer.name: layer.compute_dtype for layer in quick.layers}
    assert types["block1_conv"] == types["block1_bn"] == types["block1_pool"] == precision
    assert types["scale"] == types["dense"] == types[LOGITS] == "float32"


def test_the_baseline_itself_is_not_changed(small: BaselineParams) -> None:
    model = trained_baseline(small)
    before = model.get_weights()
    quick = quick_form(model, "float32")
    step(quick)
    quick.set_weights([np.zeros_like(w) for w in before])
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not any(isinstance(layer, FusedBatchNormalization) for layer in model.layers)


def test_batch_norm_by_hand() -> None:
    """Of the values 1, 3, 5, 7: mean 4, variance 5."""
    layer = FusedBatchNormalization(momentum=0.9, epsilon=1e-3)
    values = np.array([1, 3, 5, 7], np.float32).reshape(1, 2, 2, 1)
    found = layer(values, training=True)
    expected = (values - 4) / np.sqrt(5.001)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert float(layer.moving_mean[0]) == pytest.approx(0.4)
    assert float(layer.moving_variance[0]) == pytest.approx(0.9 + 0.1 * 5)
    np.testing.assert_allclose(layer(values), (values - 0.4) / np.sqrt(1.4 + 1e-3), rtol=1e-5)
    layer.trainable = False
    still = layer(values, training=True)
    np.testing.assert_allclose(still, (values - 0.4) / np.sqrt(1.4 + 1e-3), rtol=1e-5)
