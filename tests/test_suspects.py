# covers: B7, B11
"""Which pictures are suspects, why, and in which order."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from suspicion import make_judged

from pawprint.runner.params import Params
from pawprint.suspects.copies import find_conflicts
from pawprint.suspects.facts import Facts
from pawprint.suspects.labels import DoubtedLabels, doubt_labels, estimate_wrong
from pawprint.suspects.looks import COLUMNS_OF_LOOKS, look_at_picture
from pawprint.suspects.pictures import NOT_IN_A_FOLD
from pawprint.suspects.quality import find_bad_pictures
from pawprint.suspects.ranking import RankedPicture, rank_suspects
from pawprint.suspects.reasons import Reason
from pawprint.suspects.shortcuts import Shortcut
from pawprint.suspects.strangers import find_strangers, measure_pictures
from pawprint.suspects.tables import write_suspects
from pawprint.suspects.words import describe_suspects
from pawprint.unlikeness.likeness import average_map, fit_likeness, sum_moments

RNG = np.random.default_rng(0)


def directions(features: np.ndarray) -> np.ndarray:
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def test_labels_are_doubted_where_another_class_is_likelier_the_surest_first() -> None:
    judged = make_judged([0, 1, 0, 1], own=[0.9, 0.3, 0.1, 0.6])
    found = doubt_labels(judged)
    assert [str(reason) for reason in found.reasons] == ["label: dog 0.900", "label: cat 0.700"]
    assert [(r.row, r.suggested) for r in found.reasons] == [(2, 1), (1, 0)]
    assert found.reasons[0].score == pytest.approx(0.9)


def test_of_many_classes_the_likeliest_is_suggested() -> None:
    probs = np.eye(3)[[0, 1, 2, 0, 1, 2]]
    probs[:3] = [[0.1, 0.2, 0.7], [0.2, 0.5, 0.3], [0.6, 0.35, 0.05]]
    found = doubt_labels(make_judged([0, 1, 2, 0, 1, 2], probs=probs, folds=[0, 0, 0, 1, 1, 1]))
    assert [(r.row, r.suggested) for r in found.reasons] == [(2, 0), (0, 2)]


def test_a_class_that_one_fold_alone_has_is_not_judged() -> None:
    """Its heads have never seen it; those of the model of test have."""
    judged = make_judged(
        [0, 0, 1, 1, 1], own=[0.9, 0.9, 0.0, 0.0, 0.2], folds=[0, 1, 1, 1, NOT_IN_A_FOLD]
    )
    found = doubt_labels(judged)
    assert [reason.row for reason in found.reasons] == [4]
    assert found.unjudged == 2


def test_wrong_labels_are_estimated_from_sure_contradictions_and_hard_pictures_do_not_count() -> (
    None
):
    """Of 1,000 pictures 40 labels are wrong, and 50 pictures are hard."""
    own = RNG.uniform(0.9, 1, 1000)
    labels = np.arange(1000) % 2
    own[:40] = 1 - own[:40]
    own[40:90] = RNG.uniform(0.2, 0.8, 50)
    probs = np.stack([np.where(labels == 0, own, 1 - own), np.where(labels == 1, own, 1 - own)], 1)
    assert 30 <= estimate_wrong(probs, labels, np.full(1000, True)) <= 56
    assert estimate_wrong(probs[40:], labels[40:], np.full(960, True)) == 0


def label(row: int) -> Reason:
    return Reason(row, "label", "dog 0.9", 0.9, 1)


def other(row: int) -> Reason:
    return Reason(row, "unlike", "far", 2.0)


def test_labels_and_others_take_turns_where_no_label_is_expected_to_be_wrong() -> None:
    doubted = DoubtedLabels([label(0), label(1), label(2)], 0, 0, 9)
    found = rank_suspects(doubted, [], [other(7), other(1), other(8)])
    assert [suspect.row for suspect in found] == [0, 7, 1, 8, 2]


def test_a_picture_stands_once_with_all_its_reasons_the_one_of_its_place_first() -> None:
    found = rank_suspects(DoubtedLabels([label(3), label(4)], 0, 0, 9), [], [other(4), other(3)])
    assert found == [
        RankedPicture(3, (label(3), other(3))),
        RankedPicture(4, (other(4), label(4))),
    ]
    assert found[1].suggested == 1


def test_nine_labels_come_for_each_other_while_wrong_ones_are_expected() -> None:
    """12 are expected to be wrong, so 18 stand early, and then both take turns again."""
    doubted = DoubtedLabels([label(row) for row in range(30)], 12, 0, 30)
    found = [s.row for s in rank_suspects(doubted, [], [other(row) for row in range(100, 120)])]
    assert found[:24] == [*range(9), 100, *range(9, 18), 101, 18, 102, 19, 103]


def test_copies_with_two_labels_stand_first_where_the_model_doubts_the_label() -> None:
    conflicts = [Reason(9, "duplicate", "like x", 1.0, 0), Reason(1, "duplicate", "like y", 1.0, 1)]
    found = rank_suspects(DoubtedLabels([label(0), label(1)], 0, 0, 9), conflicts, [])
    assert [suspect.row for suspect in found] == [1, 0, 9]
    assert [reason.word for reason in found[0].reasons] == ["label", "duplicate"]


def test_groups_of_two_labels_name_the_minority() -> None:
    judged = make_judged([0, 0, 1, 1, 0], groups=["a", "a", "a", "b", "b"])
    likeness = fit_likeness(sum_moments(judged.directions))
    found = find_conflicts(judged, likeness, 0.995)
    assert [(reason.row, reason.suggested) for reason in found] == [(2, 0), (3, 0), (4, 1)]
    assert str(found[2]) == "duplicate: like dog/3.jpg, which is dog"


def test_features_that_are_nearly_the_same_are_one_picture() -> None:
    """0 and 1 have another label, 2 and 3 the same."""
    features = directions(RNG.normal(size=(60, 40)))
    features[[1, 3]] = directions(features[[0, 2]] + 0.005 * RNG.normal(size=(2, 40)))
    judged = make_judged([0, 1] + [0] * 58, directions=features)
    likeness = fit_likeness(sum_moments(features))
    assert [reason.row for reason in find_conflicts(judged, likeness, 0.995)] == [0, 1]
    assert find_conflicts(judged, likeness, 1.0) == []


def test_where_all_pictures_are_alike_more_is_asked_of_copies() -> None:
    features = directions(1 + 0.03 * RNG.normal(size=(60, 40)))
    assert (features @ features.T).min() > 0.995
    judged = make_judged([0, 1] * 30, directions=features)
    assert find_conflicts(judged, fit_likeness(sum_moments(features)), 0.995) == []


def test_the_stranger_is_found_and_its_copies_do_not_hide_it() -> None:
    """Rows 0 to 2 are copies of one stranger, in one fold."""
    features = RNG.normal(3, 1, (200, 30))
    features[:3] = np.repeat([5, -5], 15)
    folds = [0] * 3 + [row % 4 for row in range(187)] + [NOT_IN_A_FOLD] * 10
    features[199] = features[0]
    judged = make_judged([0, 1] * 100, directions=directions(features), folds=folds)
    distances, _ = measure_pictures(judged)
    found = find_strangers(distances, 0.02)
    assert {reason.row for reason in found[:3]} == {0, 1, 2}
    assert distances[:3].min() > 20 * distances[3:199].max()
    assert len(found) == 4
    assert find_strangers(distances[:40], 0.02) == []


def test_flattened_maps_are_averaged_over_their_places() -> None:
    maps = np.arange(8, dtype=np.float32).reshape(1, 8)  # two places of four channels
    assert average_map(maps, 4).tolist() == [[2, 3, 4, 5]]
    assert average_map(maps, 8).tolist() == maps.tolist()


def make_facts(count: int, **changed: list[float]) -> Facts:
    """Ordinary pictures, 400 x 300 pixels; of the first ones something is changed."""
    columns = {"brightness": 120.0, "sharpness": 25.0, "width": 400.0, "height": 300.0}
    values = {name: np.full(count, value) for name, value in columns.items()}
    for name, first in changed.items():
        values[name][: len(first)] = first
    width, height = values.pop("width"), values.pop("height")
    return Facts(np.full(count, 9999.0), width, height, ["JPEG RGB"] * count, values)


def test_bad_pictures_are_named_with_what_was_found(committed: Params) -> None:
    facts = make_facts(
        100,
        brightness=[30, 120, 120, 120, 50],
        sharpness=[25, 4],
        width=[400, 400, 60, 1200, 400, 0],
        height=[300, 300, 45, 300, 300, 0],
    )
    found, remarks = find_bad_pictures(facts, 256, committed.suspects)
    assert {(reason.row, str(reason)) for reason in found} == {
        (0, "dark: mean grey 30 of 255"),
        (1, "blurred: sharpness 4.0 grey levels"),
        (2, "tiny: 60 x 45 pixels"),
        (3, "shape: 1200 x 300 pixels"),
    }
    assert remarks == []
    assert [reason.score for reason in found] == sorted((r.score for r in found), reverse=True)


def test_what_many_pictures_are_is_no_reason(committed: Params) -> None:
    night = make_facts(100, brightness=[20.0] * 100)
    assert find_bad_pictures(night, 256, committed.suspects) == ([], [])
    half = make_facts(100, brightness=[20.0] * 40)
    found, remarks = find_bad_pictures(half, 256, committed.suspects)
    assert found == []
    assert remarks == [
        "40 of 100 pictures are dark beside the median one: that is how these pictures are, and "
        "none of them is listed for it"
    ]


def test_among_bright_pictures_a_grey_one_is_not_dark(committed: Params) -> None:
    scans = make_facts(100, brightness=[70.0, 50.0] + [240.0] * 98)
    found, _ = find_bad_pictures(scans, 256, committed.suspects)
    assert [(reason.row, reason.word) for reason in found] == [(1, "dark")]


def test_reasons_can_be_switched_off(committed: Params) -> None:
    facts = make_facts(100, brightness=[10], width=[4000])
    off = committed.suspects.model_copy(update={"dark": 0.0, "shape": 0.0})
    assert find_bad_pictures(facts, 256, off) == ([], [])


def test_looks_of_a_picture() -> None:
    """Grey 100 with a white frame of one pixel in 32; half of it is noise, and so sharp."""
    pixels = np.full((32, 32, 3), 100, np.uint8)
    pixels[[0, -1]] = pixels[:, [0, -1]] = 255
    found = dict(zip(COLUMNS_OF_LOOKS, look_at_picture(pixels), strict=True))
    share = 1 - 30**2 / 32**2
    assert found["brightness"] == pytest.approx(100 + 155 * share)
    assert (found["border_red"], found["border_spread"]) == (255, 0)
    flat = np.full((32, 32, 3), 100, np.uint8)
    noisy = flat.copy()
    noisy[:8, :8] = RNG.integers(0, 255, (8, 8, 3))
    sharp = COLUMNS_OF_LOOKS.index("sharpness")
    assert look_at_picture(flat)[sharp] == 0
    assert look_at_picture(noisy)[sharp] > 50


def read_rows(path: Path) -> list[list[str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_the_tables(tmp_path: Path) -> None:
    probs = np.zeros((4, 7))
    probs[:, :3] = np.array([[1, 7, 2], [2, 6, 2], [5, 0, 5], [0, 0, 10]]) / 10
    features = directions(np.array([[1.0, 0], [0.9, 0.1], [0.5, 0.5], [0, 1]]))
    judged = make_judged([0, 1, 2, 6], probs=probs, directions=features)
    suspects = [RankedPicture(0, (label(0), other(0))), RankedPicture(3, (other(3),))]
    write_suspects(tmp_path, judged, suspects, [Shortcut("format", "dog", 0.91)], 2)
    assert read_rows(tmp_path / "suspects.csv") == [
        ["rank", "path", "split", "label", "suggested", "why", "score"],
        ["1", "cat/0.jpg", "train", "cat", "dog", "label: dog 0.9; unlike: far", "0.9000"],
        ["2", "class6/3.jpg", "train", "class6", "", "unlike: far", "2.0000"],
        ["3", "", "", "", "", "shortcut: format alone tells dog", "0.9100"],
    ]
    rows = read_rows(tmp_path / "suspects/probabilities.csv")
    assert rows[:3] == [
        ["path", "class", "probability"],
        ["cat/0.jpg", "dog", "0.700000"],
        ["cat/0.jpg", "class2", "0.200000"],
    ]
    assert len(rows) == 1 + 2 * 5
    rows = read_rows(tmp_path / "suspects/neighbours.csv")
    assert rows[0] == ["path", "neighbour", "similarity"]
    assert [row[:2] for row in rows[1:]] == [
        ["cat/0.jpg", "dog/1.jpg"],
        ["cat/0.jpg", "class2/2.jpg"],
        ["class6/3.jpg", "class2/2.jpg"],
        ["class6/3.jpg", "dog/1.jpg"],
    ]
    assert rows[2][2] == "0.7071"


def test_no_suspects_leave_tables_without_rows(tmp_path: Path) -> None:
    write_suspects(tmp_path, make_judged([0, 1]), [], [], 5)
    assert len(read_rows(tmp_path / "suspects.csv")) == 1
    assert len(read_rows(tmp_path / "suspects/neighbours.csv")) == 1


def test_what_is_not_listed_is_told() -> None:
    suspects = [RankedPicture(row, (label(row),)) for row in range(3)]
    doubted = DoubtedLabels([label(3)], 4, 5, 95)
    told = list(
        describe_suspects(suspects, 2, doubted, ["a remark"], [Shortcut("border", "dog", 0.8)])
    )
    assert told[:3] == [
        "3 pictures have a reason to be looked at: label 3",
        "the first 2 are listed, 1 are not: suspects.most is the limit",
        "about 4 labels may be wrong, if the heads can be trusted: they agree with 94 of 95 labels",
    ]
    assert told[3].startswith("warning: the labels of 5 pictures were not judged: ")
    assert told[4] == "warning: a remark"
    assert told[5].startswith("warning: shortcut: border alone tells dog, with a balanced accuracy")
