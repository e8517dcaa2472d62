# covers: B12, B13
"""What a model may decide alone: promises, sets, shares, by hand and by simulation."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import binom

from bench.deciding import compare_windows, count_alarms, count_kept, is_alarm
from bench.others import COUNT, KINDS, ROOMS, draw_other, file_name
from pawprint.deciding.conformal import fit_sets, halve, soften
from pawprint.deciding.coverage import cover, coverage_curve
from pawprint.deciding.others import OtherPicture, group_unlikeness, read_pictures, write_accepted
from pawprint.deciding.outcome import Judgements, judge
from pawprint.deciding.promise import least_sizes, make_promise
from pawprint.deciding.rates import separation
from pawprint.deciding.reference import make_reference
from pawprint.deciding.results import read_findings, write_findings
from pawprint.deciding.words import say_all, say_coverage, say_drift
from pawprint.evaluation.predictions import Prediction, sure_and_right
from pawprint.runner.params import DecidingParams

ROOT = Path(__file__).resolve().parent.parent
PARAMS = DecidingParams(precision=0.9, confidence=0.95, sets=0.9, window=50, false_alarms=0.01)


def judgements(sure: np.ndarray, right: np.ndarray, **changes: object) -> Judgements:
    """Of two classes, where the first one is always the answer."""
    probs = np.stack([sure, 1 - sure], axis=1).astype(np.float32)
    names = [f"{i:04d}" for i in range(len(sure))]
    values = {"groups": names, "unlikeness": None, "unlike_above": 1.0} | changes
    return Judgements(names, probs=probs, labels=np.where(right, 0, 1), **values)  # type: ignore[arg-type]


def test_one_size_is_a_bound_of_clopper_and_pearson():
    """22 pictures, all right: 0.87^22 = 0.0467, and 0.87^21 = 0.0537."""
    assert least_sizes(22, 0.87, 0.95) == (22,)
    assert least_sizes(21, 0.87, 0.95) == ()


def test_many_sizes_together_pass_by_luck_as_seldom_as_promised():
    """A model that is right just less often than is promised, in 5,000 draws."""
    sizes = np.array(least_sizes(300, 0.9, 0.95))
    wrong = np.random.default_rng(0).random((5_000, 300)) > 0.9
    errors = wrong.cumsum(axis=1)[:, sizes - 1]
    passed = (errors <= np.arange(len(sizes))).any(axis=1).mean()
    assert 0.03 < passed < 0.055
    alone = binom.cdf(len(sizes) - 1, sizes[-1], 0.1)
    assert alone < 0.03  # so each of them is tested more strictly than by itself


def test_the_largest_set_that_is_good_enough_is_decided():
    """100 right, then all wrong: e errors may be borne among so many pictures that they are few."""
    sure, right = np.linspace(0.99, 0.6, 120), np.arange(120) < 100
    promise = make_promise(sure, right, 0.9, 0.95)
    sizes = least_sizes(120, 0.9, 0.95)
    assert promise.threshold == sure[promise.decided - 1]
    assert promise.wrong == promise.decided - 100 > 0
    assert promise.decided >= sizes[promise.wrong]
    assert promise.decided + 1 < sizes[promise.wrong + 1]


def test_pictures_of_one_probability_are_decided_together():
    sure, right = np.repeat([0.9, 0.8], [50, 50]), np.arange(100) < 75
    promise = make_promise(sure, right, 0.9, 0.95)
    assert (promise.threshold, promise.decided, promise.wrong) == (0.9, 50, 0)


def test_without_a_promise_the_pictures_are_told_that_it_takes():
    few = make_promise(np.linspace(0.9, 0.6, 20), np.ones(20, bool), 0.99, 0.95)
    assert few.threshold is None
    assert few.needed is not None
    enough = np.ones(few.needed, bool)
    assert make_promise(np.linspace(0.9, 0.6, few.needed), enough, 0.99, 0.95).decided > 0
    assert least_sizes(few.needed // 2, 0.99, 0.95) == ()
    hopeless = make_promise(np.linspace(0.9, 0.6, 90), np.arange(90) % 3 > 0, 0.99, 0.95)
    assert (hopeless.threshold, hopeless.needed) == (None, None)


def test_a_precision_out_of_reach_is_no_fault_of_the_model():
    """All are right, and 0.999999^n is below 0.5 % from 5.3 million on."""
    sure, right = np.linspace(0.99, 0.6, 1500), np.ones(1500, bool)
    promise = make_promise(sure, right, 0.999999, 0.98)
    assert (promise.threshold, promise.needed) == (None, 5_300_000)
    seen = judgements(sure, right)
    params = PARAMS.model_copy(update={"precision": 0.999999, "confidence": 0.98})
    text = say_coverage(judge("head", seen, seen, {}, None, params, 0.95).figures)
    assert "1,500 validation pictures cannot promise it, about 5,300,000 could" in text
    wrong = make_promise(sure, np.arange(1500) > 0, 0.999999, 0.98)  # the surest of all is wrong
    assert (wrong.threshold, wrong.needed) == (None, None)


def test_sizes_of_many_errors_pass_by_luck_as_seldom_as_those_of_few():
    """A model that is right half of the time, in 2,000 draws of 1,000 pictures."""
    sizes = np.array(least_sizes(1000, 0.5, 0.9))
    assert len(sizes) > 400
    wrong = np.random.default_rng(0).random((2_000, 1000)) > 0.5
    errors = wrong.cumsum(axis=1)[:, sizes - 1]
    assert 0.08 < (errors <= np.arange(len(sizes))).any(axis=1).mean() < 0.12


def test_no_pictures_promise_nothing():
    promise = make_promise(np.zeros(0), np.zeros(0, bool), 0.9, 0.95)
    assert (promise.threshold, promise.pictures) == (None, 0)
    assert promise.needed == 42  # 0.9^42 = 0.0120, a quarter of 5 %


def test_promises_are_kept_on_other_pictures():
    """In 200 draws of 300 and 300 pictures, whose errors come as the probabilities fall."""
    rng, kept = np.random.default_rng(0), 0
    for _ in range(200):
        sure = rng.uniform(0.5, 1, (2, 300))
        right = rng.random((2, 300)) < 1 - (1 - sure) ** 2
        promise = make_promise(sure[0], right[0], 0.95, 0.98)
        decided = sure[1] >= (promise.threshold or 2)
        assert promise.threshold is None or decided.any()
        kept += not decided.any() or right[1][decided].mean() >= 0.95
    assert kept >= 190


def said(probability: float, correct: bool, name: str) -> Prediction:
    return Prediction(name, "cat", "cat" if correct else "dog", probability, 0.0)


def test_coverage_by_hand():
    """The surest of four is right, of two equally sure ones one is, the last is wrong."""
    four = [
        said(0.9, True, "a"),
        said(0.8, False, "b"),
        said(0.8, True, "c"),
        said(0.6, False, "d"),
    ]
    sure, right = sure_and_right(four)
    assert coverage_curve(sure, right) == [(0.25, 1.0), (0.75, 2 / 3), (1.0, 0.5)]
    everything, surest, none = cover(sure, right, [0.95, 0.8], 0.95)
    assert (everything.pictures, everything.wrong, everything.accuracy) == (4, 2, 0.5)
    assert (surest.share, surest.wrong, surest.accuracy) == (0.75, 1, 2 / 3)
    assert (none.pictures, none.accuracy, none.bounds) == (0, None, None)


def test_what_is_not_accepted_is_not_decided():
    sure, right = np.array([0.9, 0.8, 0.7]), np.array([False, True, True])
    curve = coverage_curve(sure, right, np.array([False, True, True]))
    assert curve == [(1 / 3, 1.0), (2 / 3, 1.0)]


def test_a_set_by_hand():
    """Of 4 pictures at half, 3 set the limit: the third smallest probability of the right class."""
    probs = np.array(
        [[0.7, 0.2, 0.1], [0.5, 0.4, 0.1], [0.3, 0.6, 0.1], [0.6, 0.3, 0.1]], np.float32
    )
    apart = np.array([False, True, True, True])
    sets = fit_sets(probs, np.array([0, 0, 0, 0]), apart, 0.75)
    assert sets is not None
    assert (sets.temperature, sets.pictures) == (1.0, 3)  # the first is right: nothing to fit
    assert sets.least == pytest.approx(0.3)
    assert sets.contain(probs[:2]).tolist() == [[True, False, False], [True, True, False]]
    assert fit_sets(probs, np.array([0, 0, 0, 0]), apart, 0.76) is None  # 3.04 of 3


def test_the_temperature_of_sets_knows_nothing_of_the_other_half():
    """Probabilities at any temperature are those of the same logits: the sets are equal."""
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.ones(3), 400)
    labels = np.array([rng.choice(3, p=row) for row in probs])
    apart = halve([str(i) for i in range(400)])
    one = fit_sets(probs, labels, apart, 0.9)
    other = fit_sets(soften(probs, 1.7), labels, apart, 0.9)
    assert one is not None
    assert other is not None
    assert other.temperature * 1.7 == pytest.approx(one.temperature, rel=1e-3)
    assert (one.contain(probs) == other.contain(soften(probs, 1.7))).mean() > 0.995


def test_sets_hold_the_right_class_as_often_as_is_wanted():
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.full(5, 0.5), 6000)
    labels = np.array([rng.choice(5, p=row) for row in probs])
    sets = fit_sets(probs[:2000], labels[:2000], halve([str(i) for i in range(2000)]), 0.9)
    assert sets is not None
    held = sets.contain(probs[2000:])[np.arange(4000), labels[2000:]]
    assert 0.87 < held.mean() < 0.93


def test_separation_by_hand():
    """Of the pairs of a picture and another, the other is more unlike in 3 of 4."""
    assert separation(np.array([0.2, 0.8]), np.array([0.5, 0.9])) == 0.75
    assert separation(np.array([0.2]), np.array([])) is None


def test_unlike_pictures_are_rejected_whatever_their_probability():
    sure, right = np.linspace(0.99, 0.7, 100), np.ones(100, bool)
    unlikeness = np.where(np.arange(100) < 10, 1.5, 0.5).astype(np.float32)
    seen = judgements(sure, right, unlikeness=unlikeness)
    found = judge("head", seen, seen, {"rooms": np.array([0.9, 1.1])}, 0.01, PARAMS, 0.95).figures
    assert found["rejected"]["rate"] == 0.1
    assert (found["rejected"]["low"], found["rejected"]["high"]) == pytest.approx(
        (0.0552, 0.1744), abs=1e-4
    )
    assert found["rejected"]["wanted"] == 0.01
    assert (found["accuracy_accepted"], found["accuracy_rejected"]) == (1.0, 1.0)
    assert found["others"]["rooms"]["accepted"] == 0.5
    assert found["others"]["rooms"]["pictures"] == 2
    assert found["roc_auc"] == 0.9  # 1.1 is above 90 of 100 pictures, and so is 0.9
    assert found["coverage"]["validation"]["pictures"] == 90
    assert (found["coverage"]["share"], found["coverage"]["precision_found"]) == (0.9, 1.0)
    assert found["conformal"] is None  # two classes


def test_of_pictures_that_belong_together_one_counts():
    sure, right = np.linspace(0.99, 0.7, 100), np.ones(100, bool)
    pairs = [str(i // 2) for i in range(100)]
    seen, alone = judgements(sure, right, groups=pairs), judgements(sure[::2], right[::2])
    found = judge("head", seen, seen, {}, None, PARAMS, 0.95)
    assert found.figures["pictures"] == {"validation": 50, "test": 50, "together": 100}
    assert (
        found.figures["coverage"]
        == judge("head", alone, alone, {}, None, PARAMS, 0.95).figures["coverage"]
    )
    assert "Left out of this: 100 of the validation and test pictures" in "\n".join(
        say_all(found.figures)
    )


def test_the_metric_holds_what_one_chooses_by_and_no_more(tmp_path):
    """Each figure of it is a column of DVC's table of experiments."""
    seen = judgements(np.linspace(0.99, 0.7, 100), np.ones(100, bool))
    found = judge("head", seen, seen, {}, None, PARAMS, 0.95)
    write_findings(tmp_path, found, seen, [])
    short = json.loads((tmp_path / "deciding.json").read_text("utf-8"))
    assert set(short) == {
        *("model", "rejected", "accuracy_accepted", "accuracy_rejected", "others", "roc_auc"),
        *("coverage", "conformal"),
    }
    assert set(short["coverage"]) == {
        *("precision", "threshold", "share", "low", "high", "precision_found"),
    }
    kept = read_findings(tmp_path)
    assert kept.figures == found.figures
    assert kept.curve == coverage_curve(seen.sure, seen.right)


def test_a_model_that_tells_no_unlikeness_has_no_such_figures():
    seen = judgements(np.linspace(0.99, 0.7, 50), np.ones(50, bool))
    found = judge("baseline", seen, seen, {}, None, PARAMS, 0.95)
    assert found.figures["rejected"] is None
    assert found.figures["others"] == {}
    assert found.service["drift"]["unlikeness"] is None
    assert "baseline does not tell what is unlike" in "\n".join(say_all(found.figures))


def test_the_sentence_has_the_figures():
    seen = judgements(np.linspace(0.99, 0.7, 100), np.arange(100) < 99)
    found = judge("head", seen, seen, {}, None, PARAMS, 0.95).figures
    assert say_coverage(found) == (
        "At 90 % precision it decides 100.0 % of the test pictures alone (96.3 to 100.0): those "
        "of which it is at least 70 % sure. Of these 100, 99.00 % are right (94.6 to 99.8). "
        "Promised with a confidence of 95 % by 100 of 100 validation pictures, 1 of them wrong."
    )
    few = judgements(np.linspace(0.99, 0.7, 10), np.ones(10, bool))
    text = say_coverage(judge("head", few, few, {}, None, PARAMS, 0.95).figures)
    assert text.startswith(
        "At 90 % precision it decides nothing alone: 10 validation pictures cannot"
    )


def test_validation_pictures_that_are_unlike_are_told_from_those_that_promise():
    right = np.ones(100, bool)
    seen = replace(
        judgements(np.linspace(0.99, 0.7, 100), right), unlikeness=np.arange(100) / np.float32(95)
    )
    text = say_coverage(judge("head", seen, seen, {}, 0.01, PARAMS, 0.95).figures)
    assert "by 96 of 96 validation pictures (4 more unlike the training pictures)" in text
    most = replace(seen, unlikeness=np.where(np.arange(100) < 5, 0, 1.5).astype(np.float32))
    text = say_coverage(judge("head", most, most, {}, 0.01, PARAMS, 0.95).figures)
    assert "5 validation pictures (95 more unlike the training pictures) cannot promise" in text
    assert "Raise unlikeness.k, split.val, add pictures" in text
    alien = replace(seen, unlikeness=np.full(100, 1.5, np.float32))
    text = say_coverage(judge("head", alien, alien, {}, 0.01, PARAMS, 0.95).figures)
    assert text == (
        "At 90 % precision it decides nothing alone: all validation pictures are unlike the "
        "training pictures. Raise unlikeness.k."
    )


def test_a_precision_near_100_percent_is_not_said_as_100():
    seen = judgements(np.linspace(0.99, 0.7, 10), np.ones(10, bool))
    wanted = PARAMS.model_copy(update={"precision": 0.999999999})
    text = say_coverage(judge("head", seen, seen, {}, None, wanted, 0.95).figures)
    assert text == (
        "At 99.9999999 % precision it decides nothing alone: 10 validation pictures cannot promise "
        "it, nor could ten million. Lower deciding.precision."
    )


def test_what_drift_is_noticed_is_said():
    """1.36 / √n, about, of each sample; more, since two signals share both rates."""
    seen = judgements(np.linspace(0.99, 0.7, 1000), np.ones(1000, bool))
    text = "\n".join(say_all(judge("head", seen, seen, {}, None, PARAMS, 0.95).figures))
    limit = make_reference(seen.probs, None, ~seen.accepted, None, 50, 0.01).confidence.limit
    assert 1.36 / np.sqrt(1000) + 1.36 / np.sqrt(50) < limit < 0.35
    assert (
        f"in windows of 50 pictures where cumulative shares are more than {100 * limit:.0f}" in text
    )
    blind = say_drift({"drift": {"window": 20, "limit": 0.7, "blind": ["unlike", "classes"]}})
    assert "No window can be far enough away by: unlike, classes; a larger deciding.w" in blind
    few = judgements(np.linspace(0.99, 0.7, 3), np.ones(3, bool))
    text = "\n".join(say_all(judge("head", few, few, {}, None, PARAMS, 0.95).figures))
    assert "A server cannot tell windows of 50 pictures from so few validation pictures" in text


def test_accepted_others_come_the_surest_first(tmp_path):
    others = [
        OtherPicture("rooms", "a.png", "cat", 0.7, 0.5),
        OtherPicture("rooms", "b.png", "cat", 0.99, 1.5),
        OtherPicture("noise", "c.png", "dog", 0.9, 1.0),
    ]
    write_accepted(tmp_path / "accepted.csv", others, 1.0)
    assert read_pictures(tmp_path / "accepted.csv") == [others[2], others[0]]
    assert {k: v.tolist() for k, v in group_unlikeness(others).items()} == {
        "rooms": [0.5, 1.5],
        "noise": [1.0],
    }


@pytest.mark.parametrize("kind", [*KINDS, ROOMS])
def test_drawn_others_are_what_the_code_draws(kind):
    """And each folder has as many as the next one."""
    folder = ROOT / "data/others"
    assert len(list((folder / kind).iterdir())) == COUNT
    for index in (0, COUNT - 1):
        with Image.open(folder / file_name(kind, index)) as image:
            kept = np.asarray(image.convert("RGB"))
        with Image.open(io.BytesIO(draw_other(kind, index))) as image:
            drawn = np.asarray(image.convert("RGB"))
        assert np.array_equal(kept, drawn)
    assert draw_other(kind, 0) != draw_other(kind, 1)


def test_the_bench_counts_promises_that_are_kept():
    """All are right; or the less sure half are wrong, which no promise of 90 % may decide."""
    sure = np.linspace(0.99, 0.6, 200)
    good = judgements(sure, np.ones(200, bool))
    found = count_kept(good, good, PARAMS, splits=5)
    assert found == {"kept": 5, "promised": 5, "share": pytest.approx(1, abs=0.02)}
    half = judgements(sure, np.arange(200) < 100)
    found = count_kept(half, half, PARAMS, splits=5)
    assert found["kept"] >= 4
    assert 0.4 < found["share"] < 0.56


def test_the_bench_counts_windows_that_alarm():
    rng = np.random.default_rng(0)
    seen = judgements(rng.uniform(0.9, 1, 400), np.ones(400, bool))
    other = judgements(rng.uniform(0.5, 0.6, 400), np.ones(400, bool))
    reference = make_reference(seen.probs, None, ~seen.accepted, None, 50, 0.01)
    assert count_alarms(reference, seen, 20)["any"] == 0
    assert count_alarms(reference, other, 20) == {"confidence": 20, "classes": 0, "any": 20}
    assert [is_alarm(found) for found in compare_windows(reference, other)] == [True] * 8
