# covers: B11
"""The distance in frozen features, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pawprint.unlikeness.likeness import Moments, fit_likeness, measure_unlikeness, sum_moments

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
