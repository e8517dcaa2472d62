"""Scores, their intervals, and the rows and texts made from them."""

import json
import math
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from pawprint.evaluation import curves, metrics, reports, results
from pawprint.evaluation.predictions import Prediction
from pawprint.evaluation.reviewed import GONE, place_classes
from pawprint.runner.errors import DataError, ModelError
from pawprint.runner.params import Params
from pawprint.training.temperature import fit_temperature

# covers: R6, R11, B6

Z = 1.959964  # the 97.5 % quantile of the normal distribution


def two_columns(p1: list[float]) -> np.ndarray:
    """Probabilities [n, 2] from those of class 1."""
    return np.stack([1 - np.array(p1), np.array(p1)], axis=1)


def one_hot(y_pred: list[int], num_classes: int) -> np.ndarray:
    return np.eye(num_classes)[y_pred]


def random_predictions(n: int, num_classes: int, seed: int = 0, skill: float = 2.0) -> Any:
    """Labels int64 [n] and float32 probabilities [n, num_classes] of a model with some skill."""
    rng = np.random.default_rng(seed)
    y_true = rng.integers(0, num_classes, n)
    logits = rng.normal(size=(n, num_classes))
    logits[np.arange(n), y_true] += skill
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return y_true, probs.astype(np.float32)


FOUR_Y = np.array([0, 0, 1, 1])
FOUR_PROBS = two_columns([0.1, 0.4, 0.35, 0.8])


def test_headline_metrics_by_hand() -> None:
    # Predicted 0, 0, 0, 1: three of four right.
    # Wilson, z² = 3.841459: centre (0.75 + z²/8) / (1 + z²/4) = 0.627527,
    # half z·sqrt(0.75·0.25/4 + z²/64) / (1 + z²/4) = 0.326885.
    # F1: class 0 has precision 2/3, recall 1: 0.8; class 1 has 1 and 1/2: 2/3; mean 0.733333.
    # Log loss: -(ln 0.9 + ln 0.6 + ln 0.35 + ln 0.8) / 4.
    # AUC: of the 2·2 pairs, (0.35, 0.1), (0.8, 0.1), (0.8, 0.4) are in order: 3/4.
    # AP: precision 1 at recall 1/2, precision 2/3 at recall 1: 1/2 + 1/3.
    # Calibration, 2 bins: confidences 0.9, 0.6, 0.65, 0.8 have mean 0.7375; accuracy is 0.75.
    assert metrics.headline_metrics(FOUR_Y, FOUR_PROBS, 0.95, 2) == {
        "accuracy": 0.75,
        "accuracy_low": pytest.approx(0.627527 - 0.326885, abs=2e-6),
        "accuracy_high": pytest.approx(0.627527 + 0.326885, abs=2e-6),
        "f1": 0.733333,
        "log_loss": round(-math.log(0.9 * 0.6 * 0.35 * 0.8) / 4, 6),
        "roc_auc": 0.75,
        "average_precision": 0.833333,
        "calibration_error": 0.0125,
    }


def test_intervals_by_hand() -> None:
    intervals = metrics.metric_intervals(FOUR_Y, FOUR_PROBS, 0.95)
    # DeLong: 0.35 beats 1 of 2 negatives, 0.8 both; 0.1 is beaten by both, 0.4 by one. Both
    # variances are 0.125, so that of the area 0.125/2 + 0.125/2 = 0.125. On the logit scale:
    # ln 3 ± z·sqrt(0.125) / (0.75·0.25).
    half = Z * math.sqrt(0.125) / 0.1875
    expected = [1 / (1 + math.exp(-(math.log(3) + sign * half))) for sign in (-1, 1)]
    assert intervals["roc_auc"] == pytest.approx(expected, abs=2e-6)
    # Student's t with 3 degrees of freedom: 3.182446.
    losses = [-math.log(p) for p in (0.9, 0.6, 0.35, 0.8)]
    mean = sum(losses) / 4
    error = 3.182446 * math.sqrt(sum((loss - mean) ** 2 for loss in losses) / 3 / 4)
    assert intervals["log_loss"] == pytest.approx([max(0, mean - error), mean + error], abs=2e-6)


@pytest.mark.parametrize("num_classes", [2, 3, 7])
def test_headline_metrics_agree_with_sklearn(num_classes: int) -> None:
    y_true, probs = random_predictions(400, num_classes)
    found = metrics.headline_metrics(y_true, probs, 0.9, 10)
    exact = probs.astype(float) / probs.astype(float).sum(axis=1, keepdims=True)
    one_vs_rest = [y_true == k for k in range(num_classes)]
    kept = [1] if num_classes == 2 else range(num_classes)
    auc = np.mean([sk.roc_auc_score(one_vs_rest[k], probs[:, k]) for k in kept])
    precision = np.mean([sk.average_precision_score(one_vs_rest[k], probs[:, k]) for k in kept])
    assert found["log_loss"] == pytest.approx(sk.log_loss(y_true, exact), abs=1e-6)
    assert found["roc_auc"] == pytest.approx(auc, abs=1e-6)
    assert found["average_precision"] == pytest.approx(precision, abs=1e-6)


def test_float32_and_float64_predictions_get_the_same_scores() -> None:
    y_true, probs = random_predictions(200, 3, skill=30)
    probs[0] = one_hot([(y_true[0] + 1) % 3], 3)[0]
    as_float64 = probs.astype(np.float64)
    found = metrics.headline_metrics(y_true, probs, 0.95, 15)
    assert found == metrics.headline_metrics(y_true, as_float64, 0.95, 15)


def test_tied_scores_count_half_in_the_area() -> None:
    # The pairs (0.5, 0.5) and (0.9, 0.5): one tie, one in order: (1/2 + 1) / 2.
    probs = two_columns([0.5, 0.5, 0.9])
    found = metrics.headline_metrics(np.array([0, 1, 1]), probs, 0.95, 15)
    assert found["roc_auc"] == 0.75


def test_a_class_absent_from_the_test_split_does_not_spoil_the_averages() -> None:
    y_true = np.array([0, 0, 1, 1])
    probs = np.array([[0.8, 0.1, 0.1], [0.6, 0.2, 0.2], [0.1, 0.7, 0.2], [0.2, 0.7, 0.1]])
    found = metrics.headline_metrics(y_true, probs, 0.95, 15)
    assert (found["accuracy"], found["f1"], found["roc_auc"]) == (1.0, 1.0, 1.0)
    assert metrics.undefined_metrics(y_true) == []


@pytest.mark.parametrize(("label", "prevalence"), [(0, 0.0), (1, 1.0)])
def test_a_single_class_gives_scores_without_skill_and_says_so(
    label: int, prevalence: float
) -> None:
    y_true = np.full(3, label)
    found = metrics.headline_metrics(y_true, two_columns([0.2, 0.6, 0.7]), 0.95, 15)
    assert found["roc_auc"] == 0.5
    assert found["average_precision"] == prevalence
    assert metrics.undefined_metrics(y_true) == ["roc_auc", "average_precision"]


def test_all_right_keeps_an_honest_interval_of_accuracy_and_none_elsewhere() -> None:
    y_true = np.array([0, 1, 1])
    probs = one_hot([0, 1, 1], 2)
    found = metrics.headline_metrics(y_true, probs, 0.95, 15)
    # Wilson with n of n right: low = n / (n + z²) = 3 / 6.841459.
    assert found["accuracy_low"] == pytest.approx(0.438503, abs=1e-6)
    assert found["accuracy_high"] == 1.0
    assert found["log_loss"] == pytest.approx(0, abs=1e-6)
    intervals = metrics.metric_intervals(y_true, probs, 0.95)
    assert intervals == {"f1": None, "log_loss": None, "roc_auc": None}


def test_all_wrong_and_sure_of_it_stays_finite() -> None:
    found = metrics.headline_metrics(np.array([0, 1, 1]), one_hot([1, 0, 0], 2), 0.95, 15)
    assert (found["accuracy"], found["f1"], found["roc_auc"]) == (0.0, 0.0, 0.0)
    assert found["log_loss"] == pytest.approx(23 * math.log(2), abs=1e-5)
    assert found["calibration_error"] == 1.0


def test_f1_interval_agrees_with_resampling_pictures_one_by_one() -> None:
    y_true, probs = random_predictions(300, 3, skill=1.0)
    probs = (probs + np.array([0.5, 0, 0])) / 1.5  # too fond of class 0: F1 is not accuracy
    y_pred = probs.argmax(axis=1)
    rng = np.random.default_rng(1)
    groups = [np.flatnonzero(y_true == k) for k in range(3)]
    scores = []
    for _ in range(600):
        drawn = np.concatenate([rng.choice(group, len(group)) for group in groups])
        scores.append(sk.f1_score(y_true[drawn], y_pred[drawn], average="weighted"))
    expected = np.quantile(scores, [0.025, 0.975])
    interval = metrics.metric_intervals(y_true, probs, 0.95)["f1"]
    assert interval == pytest.approx(expected, abs=0.012)
    assert interval == metrics.metric_intervals(y_true, probs, 0.95)["f1"]


def test_intervals_narrow_with_more_pictures_and_less_confidence() -> None:
    y_true, probs = random_predictions(1600, 3, skill=1.0)
    widths = []
    for n, confidence in [(100, 0.95), (1600, 0.95), (1600, 0.5)]:
        intervals = metrics.metric_intervals(y_true[:n], probs[:n], confidence)
        widths.append([high - low for low, high in intervals.values()])  # type: ignore[misc]
    assert np.all(np.diff(widths, axis=0) < 0)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    n=st.integers(1, 30),
    num_classes=st.integers(2, 6),
    seed=st.integers(0, 1000),
    sharpness=st.sampled_from([0.0, 1.0, 100.0]),
)
def test_every_number_is_finite_and_in_range(
    n: int, num_classes: int, seed: int, sharpness: float
) -> None:
    rng = np.random.default_rng(seed)
    y_true = rng.integers(0, num_classes, n)
    logits = sharpness * rng.normal(size=(n, num_classes))
    probs = np.exp(logits - logits.max(axis=1, keepdims=True))
    probs /= probs.sum(axis=1, keepdims=True)
    names = [str(k) for k in range(num_classes)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = reports.details(y_true, {"a": probs, "b": probs[:, ::-1]}, names, 0.95, 15)
        temperature = fit_temperature(logits, y_true)
        drawn = [curves.roc_points(y_true, probs), curves.precision_recall_points(y_true, probs)]
    json.dumps([found, drawn], allow_nan=False)
    assert 0.05 <= temperature <= 20
    for model in found["models"].values():
        scores = dict(model["metrics"])
        assert 0 <= scores.pop("log_loss") <= 15.95
        assert all(0 <= value <= 1 for value in scores.values())
        assert scores["accuracy_low"] <= scores["accuracy"] <= scores["accuracy_high"]
        assert sum(row["count"] for row in model["reliability"]) == n


@pytest.mark.parametrize(
    ("y_true", "probs", "error", "message"),
    [
        ([], np.zeros((0, 2)), DataError, "found 0; raise split.test"),
        ([0, 1], np.full((3, 2), 0.5), ModelError, r"head: .* shape \[2, .* found \[3, 2\]"),
        (
            [0, 2],
            np.full((2, 2), 0.5),
            DataError,
            "head: expected labels from 0 to 1, found 0 to 2",
        ),
        ([0, 1], np.full((2, 2), np.nan), ModelError, "head: .* NaN .* lower its lr"),
        ([0, 1], np.full((2, 2), 0.7), ModelError, "head: .* sum to 1, .* sum of 1.4"),
        ([0, 1], np.array([[2.0, -1.0]] * 2), ModelError, "head: .* smallest value of -1"),
    ],
)
def test_predictions_that_cannot_be_scored_are_refused(
    y_true: list[int], probs: np.ndarray, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        reports.details(np.array(y_true, dtype=np.int64), {"head": probs}, ["a", "b"], 0.95, 15)


def test_reliability_curve_by_hand() -> None:
    # Five bins of 0.2: (0.4, 0.6] holds 0.6 (right); (0.6, 0.8] holds 0.7 (wrong) and 0.8 (right);
    # the others are empty and left out. A confidence on an edge belongs to the bin below it.
    probs = two_columns([0.6, 0.7, 0.2])
    rows = metrics.reliability_curve(np.array([1, 0, 0]), probs, 5)
    assert rows == [
        {"low": 0.4, "high": 0.6, "confidence": 0.6, "accuracy": 1.0, "count": 1},
        {"low": 0.6, "high": 0.8, "confidence": 0.75, "accuracy": 0.5, "count": 2},
    ]
    # (1·0.4 + 2·0.25) / 3
    found = metrics.calibration_error(np.array([1, 0, 0]), probs, 5)
    assert found == pytest.approx(0.3)


def test_class_report_by_hand() -> None:
    # Actual 0 0 1 1 2, predicted 0 1 1 1 1; class "bird" has no picture, "fish" no prediction.
    y_true, y_pred = np.array([0, 0, 1, 1, 2]), np.array([0, 1, 1, 1, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = metrics.class_report(y_true, y_pred, ["cat", "dog", "fish", "bird"], 0.95)
    cat, dog, fish, bird = report["classes"].values()
    assert (cat["precision"], cat["recall"], cat["f1"], cat["support"]) == (1, 0.5, 0.666667, 2)
    assert (dog["precision"], dog["recall"], dog["f1"], dog["support"]) == (0.5, 1, 0.666667, 2)
    assert (fish["precision"], fish["recall"], fish["f1"], fish["support"]) == (0, 0, 0, 1)
    assert fish["precision_interval"] is None
    assert bird["recall_interval"] is None
    # Wilson, 2 of 2: low = 2 / (2 + 3.841459).
    assert dog["recall_interval"] == [pytest.approx(0.342380, abs=1e-6), 1.0]
    # Macro over the three classes with pictures; weighted by 2, 2 and 1.
    assert report["macro"] == {"precision": 0.5, "recall": 0.5, "f1": 0.444444, "support": 5}
    assert report["weighted"] == {"precision": 0.6, "recall": 0.6, "f1": 0.533333, "support": 5}


def test_mcnemar_by_hand() -> None:
    # a alone is right once, b alone five times: p = 2 · (1 + 6) / 2⁶.
    y_true = np.zeros(8, dtype=int)
    a = np.array([0, 1, 1, 1, 1, 1, 0, 1])
    b = np.array([1, 0, 0, 0, 0, 0, 0, 1])
    found = metrics.mcnemar(y_true, a, b)
    assert found == {"only_a_right": 1, "only_b_right": 5, "p_value": 0.21875}
    assert metrics.mcnemar(y_true, b, a)["p_value"] == 0.21875
    assert metrics.mcnemar(y_true, a, a)["p_value"] == 1.0


def test_every_pair_of_models_is_tested() -> None:
    preds = {name: np.array([0, 1]) for name in ("baseline", "head", "finetuned")}
    pairs = [(pair["a"], pair["b"]) for pair in metrics.mcnemar_pairs(np.array([0, 1]), preds)]
    assert pairs == [("baseline", "head"), ("baseline", "finetuned"), ("head", "finetuned")]


def test_curves_by_hand() -> None:
    # Falling thresholds 0.8, 0.4, 0.35, 0.1 meet the labels 1, 0, 1, 0.
    roc = [tuple(row.values()) for row in curves.roc_points(FOUR_Y, FOUR_PROBS)]
    assert roc == [(0, 0), (0, 0.5), (0.5, 0.5), (0.5, 1), (1, 1)]
    rows = curves.precision_recall_points(FOUR_Y, FOUR_PROBS)
    points = [(row["recall"], row["precision"]) for row in rows]
    assert points == [(0, 1), (0.5, 1), (0.5, 0.5), (1, 0.666667), (1, 0.5)]


def test_curves_of_many_classes_pool_all_decisions() -> None:
    # Scores of true classes 0.6, 0.3; of others 0.3, 0.1, 0.5, 0.2. Pooled: 0.6 is above all
    # four, 0.3 above two and tied with one: (4 + 2.5) / 8.
    probs = np.array([[0.6, 0.3, 0.1], [0.3, 0.5, 0.2]])
    rows = curves.roc_points(np.array([0, 0]), probs)
    x, y = np.array([list(row.values()) for row in rows]).T
    assert np.trapezoid(y, x) == pytest.approx(6.5 / 8)


def test_thinned_curves_have_200_rows_and_the_same_shape() -> None:
    y_true, probs = random_predictions(20_000, 2, skill=1.0)
    rows = curves.roc_points(y_true, probs)
    x, y = np.array([list(row.values()) for row in rows]).T
    full_x, full_y, _ = sk.roc_curve(y_true, probs[:, 1])
    assert len(full_x) > 1000
    assert len(rows) == 200
    # Seen along the diagonal, so that steep parts count like flat ones.
    height = np.interp(full_x + full_y, x + y, y - x)
    assert np.abs(height - (full_y - full_x)).max() < 0.004
    rows = curves.precision_recall_points(y_true, probs)
    assert len(rows) == 200
    assert (rows[0]["recall"], rows[-1]["recall"]) == (0, 1)


def test_confusion_rows_name_the_classes() -> None:
    rows = curves.confusion_rows(np.array([0, 1]), np.array([1, 1]), ["Katze", "犬"])
    assert rows == [
        {"actual": "Katze", "predicted": "犬"},
        {"actual": "犬", "predicted": "犬"},
    ]


def test_details_list_the_most_frequent_errors() -> None:
    y_true = np.array([0, 0, 0, 1, 1, 2])
    probs = one_hot([1, 1, 2, 1, 0, 2], 3)
    found = reports.details(y_true, {"head": probs}, ["a", "b", "c"], 0.95, 15)
    assert found["models"]["head"]["confused"] == [
        {"actual": "a", "predicted": "b", "count": 2},
        {"actual": "a", "predicted": "c", "count": 1},
        {"actual": "b", "predicted": "a", "count": 1},
    ]


def test_comparison_table_as_a_reader_sees_it() -> None:
    predictions = {"baseline": two_columns([0.6, 0.4, 0.35, 0.8]), "head": FOUR_PROBS}
    found = reports.details(FOUR_Y, predictions, ["cat", "dog"], 0.95, 2)
    text = reports.comparison_table(found)
    lines = text.splitlines()
    assert lines[0] == "|                     |         baseline |             head |"
    assert lines[1] == "| ------------------- | ---------------: | ---------------: |"
    assert lines[2] == "| Accuracy            |          50.00 % |          75.00 % |"
    assert lines[3] == "| 95 % interval       | 15.00 to 85.00 % | 30.06 to 95.44 % |"
    assert lines[4] == "| Balanced accuracy   |          50.00 % |          75.00 % |"
    assert lines[7] == "| F1, weighted        |           0.5000 |           0.7333 |"
    assert lines[12].split("|")[1:4:2] == [" ROC AUC             ", "           0.7500 "]
    assert "Test split: 4 pictures of 2 classes; each is 25 points of accuracy." in lines
    cells = [cell.strip() for cell in lines[-1].split("|")]
    assert cells == ["", "baseline and head", "0", "1", "1.0000", ""]


def test_comparison_table_admits_what_is_undefined() -> None:
    found = reports.details(np.array([1, 1, 1]), {"head": one_hot([1] * 3, 2)}, ["a", "b"], 0.9, 9)
    text = reports.comparison_table(found)
    assert "| ROC AUC             |               n/a |" in text
    assert "90 % interval" in text
    assert "All test pictures are of one class" in text


def test_balanced_accuracy_by_hand() -> None:
    # 3 of 4 cats, 1 of 1 dogs, 0 of 1 foxes; owls have no picture: (3/4 + 1 + 0) / 3.
    y_true = np.array([0, 0, 0, 0, 1, 2])
    probs = one_hot([0, 0, 0, 3, 1, 1], 4)
    found = reports.details(y_true, {"head": probs}, ["cat", "dog", "fox", "owl"], 0.95, 15)
    assert found["models"]["head"]["balanced_accuracy"] == 0.583333
    assert found["models"]["head"]["metrics"]["accuracy"] == 0.666667
    (row,) = re.findall(r"\| Balanced accuracy +\| +(.*) \|", reports.comparison_table(found))
    assert row == "58.33 %"


def test_macro_averages_say_over_which_classes_they_are() -> None:
    y_true, names = np.array([0, 1, 1]), ["cat", "dog", "fox", "owl"]
    found = reports.details(y_true, {"head": one_hot([0, 1, 1], 4)}, names, 0.95, 15)
    note = "Macro average over 2 of 4 classes: no test pictures of fox, owl."
    assert note in reports.comparison_table(found).splitlines()
    text = reports.class_report_text(found["models"]["head"]["report"])
    assert "| *macro average over 2 of 4 classes* |" in text
    many = [str(k) for k in range(20)]
    found = reports.details(y_true, {"head": one_hot([0, 1, 1], 20)}, many, 0.95, 15)
    assert "of 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 8 more." in reports.comparison_table(found)
    whole = reports.details(y_true, {"head": one_hot([0, 1, 1], 2)}, ["cat", "dog"], 0.95, 15)
    assert "Macro average over" not in reports.comparison_table(whole)
    assert "| *macro average*    |" in reports.class_report_text(whole["models"]["head"]["report"])


SEEN = np.array([False, True, False, False])


def test_scores_without_the_pictures_that_were_seen_by_hand() -> None:
    # Left are the first (0.9 for its class), the third (0.35, wrong) and the last (0.8).
    found = reports.details(FOUR_Y, {"head": FOUR_PROBS}, ["cat", "dog"], 0.95, 2, SEEN)
    low, high = metrics.wilson_interval(2, 3, 0.95) or (0, 0)
    assert found["leak"] == {
        "pictures": 1,
        "left": 3,
        "models": {
            "head": {
                "accuracy": 0.666667,
                "accuracy_low": low,
                "accuracy_high": high,
                "log_loss": round(-math.log(0.9 * 0.35 * 0.8) / 3, 6),
            }
        },
    }
    assert reports.leak_text(found).splitlines() == [
        "**Warning: 1 of 4 test pictures is also in train or val**, as the same file or a near "
        "duplicate (data/report/across_splits.csv lists them). The models have seen them, so the "
        "scores of the whole test split are too good.",
        "",
        "|                              |             head |",
        "| ---------------------------- | ---------------: |",
        "| Accuracy, all 4              |          75.00 % |",
        "| Accuracy, the 3 without them |          66.67 % |",
        "| 95 % interval                | 20.77 to 93.85 % |",
        "| Log loss, all 4              |           0.4723 |",
        "| Log loss, the 3 without them |           0.4594 |",
    ]


def test_a_leak_of_the_whole_test_split_leaves_no_score() -> None:
    seen = np.full(4, True)
    found = reports.details(FOUR_Y, {"head": FOUR_PROBS}, ["cat", "dog"], 0.95, 2, seen)
    assert found["leak"] == {"pictures": 4, "left": 0, "models": {}}
    (text,) = reports.leak_text(found).splitlines()
    assert text.startswith("**Warning: 4 of 4 test pictures are also in train or val**")
    assert "Without them, none are left" in text


@pytest.mark.parametrize("seen", [None, np.full(4, False)])
def test_without_a_leak_nothing_is_said_of_it(seen: np.ndarray | None) -> None:
    found = reports.details(FOUR_Y, {"head": FOUR_PROBS}, ["cat", "dog"], 0.95, 2, seen)
    assert found["leak"] is None
    assert reports.leak_text(found) == ""


NAMES = ["cat 1.jpg", 'ca"t<b>|.jpg', "größe\n2.jpg", "dog.jpg"]


def write_report(
    directory: Path,
    leaked: list[str],
    committed: Params,
    remarks: tuple[str, ...] = (),
    y_source: np.ndarray = FOUR_Y,
) -> tuple[str, str]:
    """report.md of one model, and what the stage prints."""
    probs = {"head": FOUR_PROBS}
    classes = ["cat", "dog"]
    printed = results.write_metrics(
        directory,
        NAMES,
        FOUR_Y,
        probs,
        classes,
        {"head": 0.25},
        committed.evaluate,
        leaked,
        remarks,
        y_source,
    )
    return (directory / "evaluate/report.md").read_text(encoding="utf-8"), printed


def test_a_leak_stands_at_the_top_of_the_report_and_is_printed(
    tmp_path: Path, committed: Params
) -> None:
    plain, printed = write_report(tmp_path / "plain", [], committed)
    assert "Warning" not in plain + printed
    # Pictures are known by their paths; one that was set aside is not in the test split.
    text, printed = write_report(tmp_path / "leak", ["quarantined.jpg", NAMES[1]], committed)
    assert text.splitlines()[2].startswith("**Warning: 1 of 4 test pictures is also in train")
    assert "| Accuracy, the 3 without them |          66.67 % |" in text
    assert printed in text
    assert printed.endswith(plain.split("\n\n", 1)[1].split("\n\n## head")[0].rstrip() + "\n")
    assert "Warning" not in write_report(tmp_path / "no", ["quarantined.jpg"], committed)[0]


def test_relabelled_test_pictures_are_scored_by_both_labels(
    tmp_path: Path, committed: Params
) -> None:
    """It says 0, 0, 0, 1, and three of four are right; the first came as what is no class now."""
    classes = ["cat", "dog"]
    y_source = place_classes(["wolf", *(classes[y] for y in FOUR_Y[1:])], classes)
    assert y_source.tolist() == [GONE, *FOUR_Y[1:].tolist()]
    text, _ = write_report(tmp_path / "gone", [], committed, y_source=y_source)
    assert "1 of 4 test pictures were relabelled in the file split.decisions" in text
    came, reviewed = (
        next(line for line in text.splitlines() if line.startswith(f"| Accuracy, labels {kind}"))
        for kind in ("as they came", "as reviewed")
    )
    assert "50.00 %" in came
    assert "75.00 %" in reviewed
    assert re.search(r"\| Log loss, labels as they came +\| +n/a \|", text)
    assert "relabelled" not in write_report(tmp_path / "plain", [], committed)[0]


def test_what_to_know_of_members_stands_above_the_figures(
    tmp_path: Path, committed: Params
) -> None:
    plain, _ = write_report(tmp_path / "plain", [], committed)
    text, printed = write_report(tmp_path / "told", [], committed, ("It may know too much.",))
    assert text.splitlines()[2] == "**Warning**: It may know too much."
    assert text.replace("**Warning**: It may know too much.\n\n", "") == plain
    assert printed in text


def test_a_report_of_means_says_so_and_details_tell_it_to_stage_export(
    tmp_path: Path, committed: Params
) -> None:
    for tta, count in ((1, 0), (2, 1)):
        evaluate = committed.evaluate.model_copy(update={"tta": tta})
        params = committed.model_copy(update={"evaluate": evaluate})
        text, printed = write_report(tmp_path / str(tta), [], params)
        for told in (text, printed):
            assert told.count("mean of that for the picture and that for its mirror") == count
        details = (tmp_path / str(tta) / "evaluate/details.json").read_text(encoding="utf-8")
        assert json.loads(details)["tta"] == tta


def test_wrong_pictures_are_listed_the_most_surely_wrong_first(
    tmp_path: Path, committed: Params
) -> None:
    text, _ = write_report(tmp_path, [], committed)
    assert text.endswith(
        "### Wrong pictures of head\n\n"
        "1 of 4 test pictures is wrong. Sorted by the probability of the actual class.\n\n"
        "| Picture      | Actual | Taken for | Probability | Of the actual class |\n"
        "| ------------ | -----: | --------: | ----------: | ------------------: |\n"
        r"| größe\n2.jpg |    dog |       cat |      0.6500 |              0.3500 |"
        "\n\n"
    )
    wrong = [Prediction(f"{i:02d}", "cat", "dog", 0.5 + i / 100, 0.5 - i / 100) for i in range(25)]
    said = {one.path: one for one in [*wrong, Prediction("right", "cat", "cat", 1, 1)]}
    lines = reports.wrong_pictures_text(said).splitlines()
    assert lines[0] == (
        "25 of 26 test pictures are wrong; these 20 most surely, all of them are in "
        "predictions.csv. Sorted by the probability of the actual class."
    )
    assert [line.split()[1] for line in lines[4:]] == [f"{i:02d}" for i in range(24, 4, -1)]
    right = {"a": Prediction("a", "cat", "cat", 1, 1)}
    assert reports.wrong_pictures_text(right) == "None of the 1 test pictures is wrong.\n"


def test_class_report_text_survives_a_name_with_a_bar() -> None:
    report = metrics.class_report(np.array([0, 1]), np.array([0, 1]), ["a|b", "c"], 0.95)
    lines = reports.class_report_text(report).splitlines()
    assert lines[2].startswith(r"| a\|b ")
    assert len({len(line) for line in lines}) == 1
    cells = [cell.strip() for cell in lines[-1].split("|")]
    assert cells == ["", "*weighted average*", "1.0000", "1.0000", "1.0000", "2", ""]


def test_importing_needs_neither_tensorflow_nor_pyplot() -> None:
    code = (
        "import sys; from pawprint.evaluation import figures, metrics, reports;"
        "print([m for m in ('tensorflow', 'matplotlib.pyplot') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
