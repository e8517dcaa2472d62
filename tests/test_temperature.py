"""The temperature of logits, against values found by hand."""

import math

import numpy as np
import pytest

from pawprint.runner.errors import DataError, ModelError
from pawprint.training.temperature import fit_temperature

# covers: B6


def test_temperature_by_hand() -> None:
    # A gap of 2 between two logits, three of four right: the best probability is 3/4, which is
    # sigmoid(2/T), so T = 2 / ln 3.
    logits = np.array([[2.0, 0.0]] * 4)
    found = fit_temperature(logits, np.array([0, 0, 0, 1]))
    assert found == pytest.approx(2 / math.log(3), abs=1e-4)


@pytest.mark.parametrize(
    ("gap", "y_true", "temperature"),
    [
        (5.0, [0, 0, 0], 1.0),  # all right: nothing to fit
        (5.0, [1, 1, 1], 20.0),  # all wrong: as flat as allowed
        (0.01, [0, 0, 0, 1], 0.05),  # too timid: as sharp as allowed
        (0.0, [0, 1, 1], 1.0),  # all tied: the temperature changes nothing
    ],
)
def test_temperature_stays_within_its_bounds(
    gap: float, y_true: list[int], temperature: float
) -> None:
    logits = np.array([[gap, 0.0]] * len(y_true), dtype=np.float32)
    assert fit_temperature(logits, np.array(y_true)) == pytest.approx(temperature, abs=1e-4)


def test_temperature_undoes_a_known_scale() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 5)) * 2
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    y_true = (probs.cumsum(axis=1) < rng.random((4000, 1))).sum(axis=1)
    assert fit_temperature(3 * logits, y_true) == pytest.approx(3, rel=0.05)


def test_temperature_refuses_a_diverged_network() -> None:
    with pytest.raises(ModelError, match=r"logits: .* NaN or infinity.* lower its lr"):
        fit_temperature(np.array([[np.inf, 0.0]]), np.array([0]))
    with pytest.raises(DataError, match=r"found 0; raise split\.val"):
        fit_temperature(np.zeros((0, 2)), np.zeros(0, dtype=int))
