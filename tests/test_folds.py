# covers: B4, B14, B15, R18
"""Folds: groups whole, classes even, the same for any order of the pictures."""

from __future__ import annotations

import numpy as np
import pytest

from pawprint.choosing.folds import assign_folds, find_scarce_classes, warn_of_scarce_classes
from pawprint.runner.errors import DataError
from pawprint.runner.params import CrossvalParams

RNG = np.random.default_rng(0)
NAMES = ["cat", "dog", "owl"]
SINGLE = RNG.choice(3, 1000, p=[0.6, 0.3, 0.1])
ALONE = [f"picture {i}" for i in range(len(SINGLE))]


def k_folds(folds: int, seed: int = 0) -> CrossvalParams:
    return CrossvalParams(folds=folds, seed=seed)


def table(labels: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Pictures by class and fold."""
    counts = np.zeros((labels.max() + 1, folds.max() + 1), int)
    np.add.at(counts, (labels, folds), 1)
    return counts


def test_classes_and_folds_are_even_to_a_picture() -> None:
    """Of 7 pictures of each class, two folds have two: not always the same folds."""
    labels = np.repeat(np.arange(20), 7)
    groups = [str(i) for i in range(len(labels))]
    found = table(labels, assign_folds(labels, groups, k_folds(5), 20))
    assert {tuple(sorted(row)) for row in found.tolist()} == {(1, 1, 1, 2, 2)}
    assert found.sum(axis=0).tolist() == [28] * 5


def test_groups_stay_whole_and_classes_even() -> None:
    """Half of the pictures in groups of up to 12, some with pictures of two classes."""
    groups = list(ALONE)
    sizes = RNG.integers(2, 13, 70)
    for number, rows in enumerate(np.split(RNG.permutation(1000), np.cumsum(sizes))[:-1]):
        for row in rows:
            groups[row] = f"patient {number}"
    folds = assign_folds(SINGLE, groups, k_folds(5), len(NAMES))
    of_group: dict[str, set[int]] = {}
    for group, fold in zip(groups, folds.tolist(), strict=True):
        of_group.setdefault(group, set()).add(fold)
    assert max(map(len, of_group.values())) == 1
    counts = table(SINGLE, folds)
    assert (counts.max(axis=1) - counts.min(axis=1)).max() <= 1


def test_large_groups_alone_are_spread_by_class() -> None:
    """Ten patients of each of two classes, of 1 to 10 pictures."""
    labels = np.repeat([0, 1], 55)
    groups = [f"{kind} {i}" for kind in "ab" for i in range(1, 11) for _ in range(i)]
    counts = table(labels, assign_folds(labels, groups, k_folds(5), 2))
    assert counts.tolist() == [[11] * 5] * 2


def test_the_order_of_the_pictures_does_not_matter_and_the_seed_does() -> None:
    groups = [f"pair {i // 2}" if i < 300 else name for i, name in enumerate(ALONE)]
    folds = assign_folds(SINGLE, groups, k_folds(4), len(NAMES))
    order = RNG.permutation(len(SINGLE))
    turned = assign_folds(SINGLE[order], [groups[i] for i in order], k_folds(4), len(NAMES))
    assert turned.tolist() == folds[order].tolist()
    other = assign_folds(SINGLE, groups, k_folds(4, 1), len(NAMES))
    assert np.mean(other == folds) == pytest.approx(1 / 4, abs=0.06)


def test_an_added_picture_moves_few_others() -> None:
    before = assign_folds(SINGLE, ALONE, k_folds(5), len(NAMES))
    after = assign_folds(np.append(SINGLE, 0), [*ALONE, "new"], k_folds(5), len(NAMES))
    assert np.mean(after[:-1] != before) < 0.01


def test_too_few_for_the_folds_is_said_in_one_line() -> None:
    message = (
        r"^crossval\.folds: expected at least 5 pictures in train and val, one for each fold, "
        r"found 4; add pictures, or set it lower \(at least 2\)$"
    )
    with pytest.raises(DataError, match=message):
        assign_folds(np.array([0, 1, 0, 1]), ALONE[:4], k_folds(5), 2)
    with pytest.raises(DataError, match=r"expected at least 5 groups of pictures .* found 2;"):
        assign_folds(np.array([0, 1] * 10), ["a", "b"] * 10, k_folds(5), 2)


def test_a_class_of_fewer_groups_than_folds_is_spread_as_far_as_it_goes() -> None:
    labels = np.array([0] * 9 + [1] * 6 + [2] * 2)
    groups = [*ALONE[:9], *(f"patient {i // 3}" for i in range(6)), *ALONE[9:11]]
    counts = table(labels, assign_folds(labels, groups, k_folds(5), 3))
    assert sorted(counts[1].tolist()) == [0, 0, 0, 3, 3]
    assert sorted(counts[2].tolist()) == [0, 0, 0, 1, 1]
    assert counts.sum(axis=0).min() > 0
    scarce = find_scarce_classes(labels, groups, 5, ["cat", "dog", "owl"])
    assert scarce == {"dog": 2, "owl": 2}
    assert "crossval.folds = 5: dog 2, owl 2; some folds" in warn_of_scarce_classes(scarce, 5)
    many = {f"class {i}": 1 for i in range(9)}
    assert "class 3 1, class 4 1 and 4 more; " in warn_of_scarce_classes(many, 5)
