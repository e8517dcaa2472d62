# covers: B11
"""Properties that tell a label: found where they were planted, and not by chance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from suspicion import make_judged

from pawprint.runner.params import CrossvalParams
from pawprint.suspects.shortcuts import encode_categories, find_shortcuts, shared_folders

FOLDS = CrossvalParams(folds=5, seed=0)


def find(
    columns: np.ndarray, labels: Sequence[int], groups: Sequence[str] | None = None
) -> list[tuple[str, str]]:
    judged = make_judged(labels)
    names = groups or [str(row) for row in range(len(labels))]
    found = find_shortcuts({"origin": columns}, judged, names, FOLDS, 0.3)
    return [(shortcut.name, shortcut.class_name) for shortcut in found]


def test_a_number_that_tells_a_class_is_found_with_its_balanced_accuracy() -> None:
    """Of 100 dogs 80 are larger than any cat, of which there are 300."""
    labels = [0] * 300 + [1] * 100
    width = np.array([200.0] * 320 + [500.0] * 80)[:, None]
    judged = make_judged(labels)
    groups = [str(row) for row in range(400)]
    (found,) = find_shortcuts({"size": width}, judged, groups, FOLDS, 0.3)
    assert (found.name, found.class_name) == ("size", "cat")
    assert found.score == 0.9  # 80 of 100 dogs, all cats
    assert str(found).startswith("size alone tells cat, with a balanced accuracy of 0.90: a model")


def test_what_tells_one_of_many_classes_is_found() -> None:
    labels = list(range(8)) * 40
    formats = encode_categories(["PNG" if label == 5 else "JPEG" for label in labels])
    assert find(formats, labels) == [("origin", "class5")]


def test_chance_is_no_shortcut() -> None:
    """100 properties of 60 pictures, half of which are dogs: none of them tells anything."""
    rng = np.random.default_rng(0)
    labels = [0, 1] * 30
    found = [find(rng.normal(size=(60, 2)), labels) for _ in range(100)]
    assert sum(map(len, found)) == 0


def test_what_few_groups_share_is_no_shortcut() -> None:
    """Five patients a class, 50 pictures each, each patient with a camera of his own."""
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(10), 50)
    labels = (patients % 2).tolist()
    groups = [f"patient{patient}" for patient in patients]
    found = [find(rng.normal(size=10)[patients, None], labels, groups) for _ in range(20)]
    assert sum(map(len, found)) == 0


def test_a_weak_relation_is_not_told() -> None:
    rng = np.random.default_rng(0)
    labels = [0, 1] * 1000
    colour = rng.normal(size=2000) + np.array(labels) * 0.3  # balanced accuracy 0.56
    assert find(colour[:, None], labels) == []
    assert find(colour[:, None] + np.array(labels)[:, None], labels) == [("origin", "cat")]


def test_a_folder_of_one_class_is_a_part_of_it() -> None:
    breeds = ["cat/siamese__1.jpg", "cat/old__siamese__2.jpg", "dog/old__3.jpg", "train/dog/4.jpg"]
    sites = ["train/cat/site_a__5.jpg", "train/dog/site_a__6.jpg"]
    assert shared_folders([*breeds, *sites]) == ["", "", "", "", "site_a", "site_a"]
