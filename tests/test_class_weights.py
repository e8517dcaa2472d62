# covers: R8, C5, B8
"""How much each class weighs, and the one line that refuses what does not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from pawprint.runner.errors import ParamsError
from pawprint.runner.params import HeadParams, Params
from pawprint.training.class_weights import weigh_classes

LABELS = np.array([0, 1, 1, 1, 2, 2])
NAMES = ["cat", "dog", "Füchse"]


def section(committed: Params, weights: Any) -> HeadParams:
    return committed.head.model_copy(update={"class_weights": weights})


def test_balanced_by_hand_and_as_scikit_learn(committed: Params) -> None:
    found = weigh_classes(section(committed, "balanced"), "head", LABELS, NAMES)
    assert found is not None
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [6 / 3, 6 / 9, 6 / 6], rtol=1e-6)  # n / (c * n_k)
    same = compute_class_weight("balanced", classes=np.arange(3), y=LABELS)
    np.testing.assert_allclose(found, same, rtol=1e-6)
    assert found[LABELS].mean() == pytest.approx(1)


def test_none_is_no_weights_and_the_default(committed: Params) -> None:
    for params in (committed.baseline, committed.head, committed.finetune):
        assert weigh_classes(params, "head", LABELS, NAMES) is None


def test_a_list_is_taken_as_it_is(committed: Params) -> None:
    found = weigh_classes(section(committed, [1.0, 2.5, 3]), "head", LABELS, NAMES)
    assert found is not None
    assert found.tolist() == [1.0, 2.5, 3.0]


def test_a_class_without_training_pictures_has_a_finite_weight(committed: Params) -> None:
    found = weigh_classes(section(committed, "balanced"), "head", LABELS, [*NAMES, "owl"])
    assert found is not None
    assert np.isfinite(found).all()


def test_a_list_of_another_length_is_refused_in_one_line(committed: Params) -> None:
    with pytest.raises(ParamsError) as caught:
        weigh_classes(section(committed, [1.0, 2.0]), "finetune", LABELS, NAMES)
    assert str(caught.value) == (
        "params.yaml: finetune.class_weights: expected 3 numbers, one for each of "
        "cat, dog, Füchse, in this order; found 2: [1.0, 2.0]"
    )
    many = [str(k) for k in range(1000)]
    with pytest.raises(ParamsError, match=r"1000 numbers, .* 18, 19, \.\.\., in this order"):
        weigh_classes(section(committed, [1.0, 2.0]), "finetune", LABELS, many)
