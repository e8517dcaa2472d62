"""Shortcuts: what tells the label of a picture without what the picture shows.

If all dogs came from one camera, a network may learn the camera. Each property is tried by itself:
a small decision tree learns the labels from it, and is judged on groups that it has not seen.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm
from sklearn.tree import DecisionTreeClassifier

from pawprint.choosing.folds import assign_folds
from pawprint.runner.params import CrossvalParams
from pawprint.suspects.pictures import JudgedPictures

_LEVEL = 1e-3  # of all properties and classes together: chance in a thousand data sets, ...
_CAUTION = 1.25  # ... and more standard errors: out of fold, chance spreads 1.2 times as far
_LEAVES = 8  # for each two classes
_CATEGORIES = 50  # the most frequent ones of a property
_JOINT = "__"


@dataclass(frozen=True)
class Shortcut:
    """A property that tells one class from all others.

    Printed, it is a sentence for a person.

    Attributes:
        name: of the property.
        class_name: the class that is best told.
        score: the balanced accuracy with which it is told, on groups that were not learned from.
    """

    name: str
    class_name: str
    score: float

    def __str__(self) -> str:
        return (
            f"{self.name} alone tells {self.class_name}, with a balanced accuracy of "
            f"{self.score:.2f}: a model may learn this instead of what the pictures show"
        )


def find_shortcuts(
    properties: Mapping[str, np.ndarray],
    judged: JudgedPictures,
    groups: Sequence[str],
    crossval: CrossvalParams,
    least_gain: float,
) -> list[Shortcut]:
    """Find the properties that tell a class, the strongest first; of each, its best class.

    A class is told if the share of its own pictures that are taken for it exceeds that of the
    others by ``least_gain``, and by more than chance: by a test of two proportions over groups,
    at a level of 0.001 for all properties and classes together.

    Args:
        properties: name → float64 [n, columns].
        judged: n pictures.
        groups: of each, the name of what belongs together.
        crossval: into how many folds they are divided.
        least_gain: in 0...1: from chance, 0, to always, 1.
    """
    labels, class_names = judged.labels, judged.class_names
    folds = assign_folds(labels, groups, crossval, len(class_names))
    counts = _count_groups(labels, groups, len(class_names))
    least_z = _CAUTION * norm.isf(_LEVEL / (len(properties) * len(class_names)))
    found = []
    for name, columns in properties.items():
        said = predict_out_of_fold(columns, labels, folds)
        gains, errors = _compare(said, labels, counts)
        told = np.where(gains > least_z * errors, gains, 0)
        best = int(told.argmax())
        if told[best] >= least_gain:
            found.append(Shortcut(name, class_names[best], (1 + float(gains[best])) / 2))
    return sorted(found, key=lambda shortcut: (-shortcut.score, shortcut.name))


def predict_out_of_fold(columns: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """The label that a small tree tells from a property, learned on the other folds, int64 [n].

    Args:
        columns: float64 [n, columns].
        labels: int64 [n].
        folds: int64 [n].
    """
    said = np.empty_like(labels)
    leaves = _LEAVES * len(np.unique(labels)) // 2
    for fold in np.unique(folds):
        held_out = folds == fold
        least = max(2, (~held_out).sum() // 200)
        tree = DecisionTreeClassifier(
            max_leaf_nodes=leaves, min_samples_leaf=least, class_weight="balanced", random_state=0
        )
        said[held_out] = tree.fit(columns[~held_out], labels[~held_out]).predict(columns[held_out])
    return said


def _compare(
    said: np.ndarray, labels: np.ndarray, counts: Sequence[tuple[float, float]]
) -> tuple[np.ndarray, np.ndarray]:
    """Of each class, the shares of its own and of others that are taken for it: how far apart.

    Returns:
        The differences, and the standard error that each would have by chance.
    """
    gains, errors = [], []
    for label, (own, others) in enumerate(counts):
        taken, is_own = said == label, labels == label
        gains.append(taken[is_own].mean() - taken[~is_own].mean() if own and others else 0.0)
        share = taken.mean()
        error = np.sqrt(share * (1 - share) * (1 / own + 1 / others)) if own and others else 0.0
        errors.append(error)
    return np.array(gains), np.array(errors)


def _count_groups(
    labels: np.ndarray, groups: Sequence[str], num_classes: int
) -> list[tuple[float, float]]:
    """How many independent pictures a class is worth, and all others.

    Source: Kish 1965, Survey Sampling, section 8.2: the square of the sum of the sizes over the sum
    of their squares.
    """

    def worth(chosen: np.ndarray) -> float:
        sizes = np.array(list(Counter(groups[row] for row in chosen).values()), np.float64)
        return float(sizes.sum() ** 2 / np.square(sizes).sum()) if len(sizes) else 0.0

    own = [np.flatnonzero(labels == label) for label in range(num_classes)]
    others = [np.flatnonzero(labels != label) for label in range(num_classes)]
    return [(worth(a), worth(b)) for a, b in zip(own, others, strict=True)]


def encode_categories(values: Sequence[str]) -> np.ndarray:
    """One column for each of the most frequent values, float64 [n, k], 1 where it is that one.

    >>> encode_categories(["PNG", "JPEG", "PNG"]).tolist()
    [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]
    """
    ranked = sorted(Counter(values).items(), key=lambda item: (-item[1], item[0]))[:_CATEGORIES]
    named = np.array(values, object)
    return np.stack([named == value for value, _ in ranked], axis=1).astype(np.float64)


def shared_folders(paths: Sequence[str]) -> list[str]:
    """The folder of each picture below its class's; empty where it came with one class alone.

    A folder of one class may be a part of the class, such as a breed, and says nothing.

    Args:
        paths: in the canonical archive, which joins folders and name by two underscores.

    >>> shared_folders(["cat/siamese__1.jpg", "cat/a__2.jpg", "dog/a__3.jpg", "dog/4.jpg"])
    ['', 'a', 'a', '']
    """
    folders = [path.rsplit("/", 1)[1].rpartition(_JOINT)[0] for path in paths]
    came_as: dict[str, set[str]] = defaultdict(set)  # the folder of the class, not today's label
    for folder, path in zip(folders, paths, strict=True):
        came_as[folder].add(path.rsplit("/", 2)[-2])
    return [folder if len(came_as[folder]) > 1 else "" for folder in folders]
