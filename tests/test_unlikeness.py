# covers: B11, B12
"""The distance in a network's features, by hand, and the same as layers of a network."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from pawprint.networks.architectures import (
    add_pooling,
    add_probs,
    build_head,
    chain,
    with_precision,
    without_probs,
)
from pawprint.networks.model_files import ModelInfo, load_model, save_model
from pawprint.runner.params import Params
from pawprint.unlikeness.fit import Unlikeness, find_threshold, fit_unlikeness
from pawprint.unlikeness.likeness import (
    Likeness,
    Moments,
    fit_likeness,
    measure_unlikeness,
    sum_moments,
)
from pawprint.unlikeness.network import add_unlikeness, average_features

RNG = np.random.default_rng(0)


def test_distance_is_mahalanobis_with_the_small_eigenvalues_as_one() -> None:
    """Mean 0, variances 4, 1.5 and 0.5, of which the last two become their mean, 1."""
    likeness = fit_likeness(Moments(10, np.zeros(3), 10 * np.diag([4, 1.5, 0.5])), rank=1)
    assert likeness.residual == pytest.approx(1)
    assert np.abs(likeness.factors[:, 0]) == pytest.approx([np.sqrt(3 / 4), 0, 0])
    found = measure_unlikeness(likeness, np.array([[1.0, 0, 0], [0, 1, 0], [3, 0, 4]]))
    assert found == pytest.approx([1 / 4, 1, 0.6**2 / 4 + 0.8**2], rel=1e-6)


def test_the_mean_is_taken_off() -> None:
    mean = np.array([0.5, 0.0])
    products = 4 * (np.diag([0.02, 0.01]) + np.outer(mean, mean))
    likeness = fit_likeness(Moments(4, 4 * mean, products), rank=1)
    assert measure_unlikeness(likeness, np.array([[1.0, 0.0]])) == pytest.approx([0.25 / 0.02])


def test_only_the_direction_of_features_counts() -> None:
    features = RNG.normal(size=(50, 6)).astype(np.float32)
    likeness = fit_likeness(sum_moments(features))
    once, larger = (measure_unlikeness(likeness, scale * features) for scale in (1, 1000))
    assert once == pytest.approx(larger, rel=1e-4)
    assert (once > 0).all()


def test_moments_without_a_part_are_those_of_the_rest() -> None:
    features = RNG.normal(size=(5000, 8)).astype(np.float32)
    rest = sum_moments(features).without(sum_moments(features[:1000]))
    expected = sum_moments(features[1000:])
    assert rest.count == expected.count == 4000
    assert rest.total == pytest.approx(expected.total, abs=1e-3)
    assert rest.products == pytest.approx(expected.products, abs=1e-3)


def test_what_lies_elsewhere_is_far() -> None:
    """Features that fill 3 of 20 directions; another kind lies in the other ones."""
    kind, other = np.zeros((400, 20)), np.zeros((5, 20))
    kind[:, :3] = RNG.normal(5, 1, (400, 3))
    other[:, 3:6] = RNG.normal(5, 1, (5, 3))
    likeness = fit_likeness(sum_moments(kind[:300] + RNG.normal(0, 0.1, (300, 20))), rank=2)
    own = measure_unlikeness(likeness, kind[300:] + RNG.normal(0, 0.1, (100, 20)))
    assert measure_unlikeness(likeness, other).min() > 10 * own.max()


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_pictures_that_are_all_one_have_finite_distances(value: float) -> None:
    features = np.full((7, 5), value, np.float32)
    likeness = fit_likeness(sum_moments(features))
    assert measure_unlikeness(likeness, features) == pytest.approx(np.zeros(7), abs=1e-3)
    assert np.isfinite(measure_unlikeness(likeness, np.eye(5, dtype=np.float32))).all()


def test_the_threshold_rejects_the_wanted_share_of_further_pictures() -> None:
    """Of 20,000 pictures of the same kind, after a threshold by 199 of them, 1,000 times."""
    rejected = [
        (RNG.exponential(size=100) > find_threshold(RNG.exponential(size=199), 0.05)).mean()
        for _ in range(1000)
    ]
    assert np.mean(rejected) == pytest.approx(0.05, abs=0.005)


def fitted(rank: int) -> Unlikeness:
    """On 300 pictures of 6 channels, its threshold by 99 others."""
    features = np.abs(RNG.normal(1, [0.1, 0.2, 0.3, 0.1, 0.1, 0.2], (399, 6)))
    parts = np.split(features.astype(np.float32), [100, 300])
    return fit_unlikeness(iter(parts[:2]), iter(parts[2:]), rank, 0.1)


def test_pictures_come_in_batches_and_the_threshold_is_of_validation() -> None:
    found = fitted(2)
    assert found.pictures == (300, 99)
    assert found.likeness.factors.shape == (6, 2)
    whole = fit_unlikeness([np.ones((8, 3)), np.eye(3)], [np.eye(3), np.ones((1, 3))], "auto", 0.5)
    assert whole.pictures == (11, 4)
    own = measure_unlikeness(whole.likeness, np.concatenate([np.eye(3), np.ones((1, 3))]))
    assert whole.threshold == pytest.approx(np.sort(own)[2])  # the third of four: 5 * 0.5, up


def test_too_few_validation_pictures_are_said() -> None:
    found = fit_unlikeness([np.eye(5)], [np.eye(5)], "auto", 0.01)
    line, warning = found.describe(0.01).splitlines()
    assert "5 training pictures, rank 1" in line
    assert warning.startswith(
        "warning: unlikeness.reject: 0.01 needs 99 validation pictures, found 5"
    )
    assert len(fitted(1).describe(0.1).splitlines()) == 1


def classifier(pooling: str, committed: Params) -> keras.Model:
    """On pictures of 8 px: a map of 6 channels, 3 x 3 places, and a head of 3 classes."""
    pixels = keras.Input((8, 8, 3), name="pixels")
    x = keras.layers.Rescaling(1 / 255, name="scale")(pixels)
    x = keras.layers.Conv2D(6, 4, strides=2, activation="relu", name="conv")(x)
    backbone = add_pooling(keras.Model(pixels, x), pooling)
    head = build_head(committed.head, backbone.output_shape[-1], 3)
    return add_probs(chain(backbone, head, "classifier"))


@pytest.mark.parametrize("pooling", ["avg", "flatten"])
def test_the_layers_give_the_distance_over_the_threshold(
    pooling: str, committed: Params, tmp_path: Path
) -> None:
    keras.utils.set_random_seed(5)
    plain, pictures = classifier(pooling, committed), RNG.uniform(0, 255, (7, 8, 8, 3))
    pictures[0] = 0  # features of zeros
    features = average_features(plain)(pictures).numpy()
    found = fitted(2)
    model = add_unlikeness(plain, found)
    save_model(model, tmp_path / "model.keras", ModelInfo(["a", "b", "c"], 8))
    loaded = load_model(tmp_path / "model.keras")
    probs, ratios = (output.numpy() for output in loaded(pictures))
    assert probs == pytest.approx(plain(pictures).numpy())
    assert ratios.shape == (7, 1)
    expected = measure_unlikeness(found.likeness, features) / found.threshold
    assert ratios[:, 0] == pytest.approx(expected, rel=1e-4)
    assert np.ptp(expected) > 0.1  # pictures matter
    assert without_probs(loaded)(pictures).shape == (7, 3)


def test_a_copy_in_another_precision_leaves_unlikeness_as_it_is(committed: Params) -> None:
    model = add_unlikeness(classifier("avg", committed), fitted(2))
    kinds = {layer.name: layer.compute_dtype for layer in with_precision(model, "bfloat16").layers}
    assert kinds["conv"] == "bfloat16"
    told = {kind for name, kind in kinds.items() if name.startswith("unlikeness")}
    assert told == {"float32"}


def test_by_hand() -> None:
    """A direction (0.6, 0.8), the mean (0.6, 0), variance 1 along the first axis, else 0.16."""
    pixels = keras.Input((1, 1, 2), name="pixels")
    backbone = add_pooling(keras.Model(pixels, keras.layers.Identity()(pixels)), "avg")
    plain = add_probs(keras.Model(backbone.input, keras.layers.Dense(2)(backbone.output)))
    gain = np.sqrt(1 / 0.16 - 1)
    likeness = Likeness(np.array([0.6, 0]), np.array([[gain], [0]]), 0.16)
    model = add_unlikeness(plain, Unlikeness(likeness, 2.0, (10, 10)))
    _, ratios = model(np.array([[[[3.0, 4.0]]], [[[5.0, 0.0]]]]))
    # (0, 0.8): 0.64 / 0.16 / 2; (0.4, 0): 0.16 / 1 / 2
    assert ratios.numpy()[:, 0] == pytest.approx([2.0, 0.08], rel=1e-5)
