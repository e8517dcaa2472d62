# covers: R12, B16
from __future__ import annotations

import pytest

from pawprint.sources.splits import read_split_name


@pytest.mark.parametrize(
    ("names", "split"),
    [
        (
            "train TRAINING Train-Set training_set trainset train2017 train_images TrainImages",
            "train",
        ),
        ("seg_train dataset_train 01_train Final_Training images-train train.data", "train"),
        ("val valid Validation validation_set val2017 dev Dev-Set imgs_val", "val"),
        (
            "test Testing test1 test_set TEST_IMAGES eval evaluation holdout hold-out hold_out",
            "test",
        ),
    ],
)
def test_names_of_splits(names, split):
    for name in names.split():
        found = read_split_name(name)
        assert found is not None, name
        assert (found.split, found.rest) == (split, ()), name


@pytest.mark.parametrize(
    "name",
    [
        "contest",
        "strain",
        "latest",
        "device",
        "trainer",
        "attestation",
        "devil",
        "invalid",
        "evaluator",
        "protest",
        "medieval",
        "trains",
        "restraining",
        "validator",
        "cat",
        "testament",
        "trainval",
        "train_test",
    ],
)
def test_names_that_only_contain_such_a_word(name):
    assert read_split_name(name) is None


def test_other_words_are_told():
    found = read_split_name("Stanford-Cars train_images")
    assert found is not None
    assert found.rest == ("stanford", "cars")
