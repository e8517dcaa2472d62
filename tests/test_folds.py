# covers: B4, B14, B15, R18
"""Folds: groups whole, classes even, the same for any order of the pictures."""

from __future__ import annotations

import numpy as np
import pytest

from pawprint.choosing.folds import assign_folds
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
    found = table(labels, assign_folds(labels, groups, k_folds(5), [str(i) for i in range(20)]))
    assert {tuple(sorted(row)) for row in found.tolist()} == {(1, 1, 1, 2, 2)}
    assert found.sum(axis=0).tolist() == [28] * 5


def test_groups_stay_whole_and_classes_even() -> None:
    """Half of the pictures in groups of up to 12, some with pictures of two classes."""
    groups = list(ALONE)
    sizes = RNG.integers(2, 13, 70)
    for number, rows in enumerate(np.split(RNG.permutation(1000), np.cumsum(sizes))[:-1]):
        for row in rows:
            groups[row] = f"patient {number}"
    folds = assign_folds(SINGLE, groups, k_folds(5), NAMES)
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
    counts = table(labels, assign_folds(labels, groups, k_folds(5), NAMES[:2]))
    assert counts.tolist() == [[11] * 5] * 2


def test_the_order_of_the_pictures_does_not_matter_and_the_seed_does() -> None:
    groups = [f"pair {i // 2}" if i < 300 else name for i, name in enumerate(ALONE)]
    folds = assign_folds(SINGLE, groups, k_folds(4), NAMES)
    order = RNG.permutation(len(SINGLE))
    turned = assign_folds(SINGLE[order], [groups[i] for i in order], k_folds(4), NAMES)
    assert turned.tolist() == folds[order].tolist()
    other = assign_folds(SINGLE, groups, k_folds(4, 1), NAMES)
    assert np.mean(other == folds) == pytest.approx(1 / 4, abs=0.06)


def test_an_added_picture_moves_few_others() -> None:
    before = assign_folds(SINGLE, ALONE, k_folds(5), NAMES)
    after = assign_folds(np.append(SINGLE, 0), [*ALONE, "new"], k_folds(5), NAMES)
    assert np.mean(after[:-1] != before) < 0.01


@pytest.mark.parametrize(
    ("labels", "groups", "message"),
    [
        (
            [0] * 5 + [1] * 5 + [2] * 3,
            [*ALONE[:13]],
            "expected at least 5 pictures of each class in train and val, one for each fold, "
            "found 3 of owl; set crossval.folds=3, or add pictures of it",
        ),
        (
            [0] * 5 + [1] * 5 + [2] * 6,
            [*ALONE[:10], *(f"patient {i // 3}" for i in range(6))],
            "expected at least 5 groups of pictures of each class in train and val, one for each "
            "fold, found 2 of owl; set crossval.folds=2, or add pictures of it",
        ),
        (
            [0] * 5 + [1] * 5 + [2],
            [*ALONE[:11]],
            "expected at least 5 pictures of each class in train and val, one for each fold, "
            "found 1 of owl; add pictures of it",
        ),
    ],
    ids=["pictures", "groups", "one"],
)
def test_too_few_for_the_folds_is_said_in_one_line(
    labels: list[int], groups: list[str], message: str
) -> None:
    with pytest.raises(DataError, match=f"^crossval.folds: {message}$"):
        assign_folds(np.array(labels), groups, k_folds(5), NAMES)
