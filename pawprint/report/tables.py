"""The tables of the page, of what went in and of how the models did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pawprint.deciding.coverage import Covered
from pawprint.evaluation.metrics import Interval
from pawprint.report.run import Judged, RunPictures
from pawprint.report.shown import (
    NOT_DEFINED,
    PER_CENT,
    ShownTable,
    bounds,
    interval,
    level,
    make_table,
    p_value,
    percent,
)


def repeated_pictures(summary: Mapping[str, int]) -> ShownTable:
    """Copies and what they can spoil."""
    rows = [
        ["exact copies of another file", summary["exact_duplicates"]],
        ["near copies of another picture", summary["near_duplicates"]],
        ["groups of copies with more than one class", summary["label_conflicts"]],
        ["groups of copies in more than one split", summary["across_splits"]],
    ]
    if "groups" in summary:
        rows.append(["named groups, each kept in one split", summary["groups"]])
    return make_table("Pictures that are there more than once", ("what", "how many"), rows)


def quarantined_pictures(data: RunPictures) -> ShownTable:
    """Why pictures could not be read."""
    rows = list(data.quarantined.items())
    return make_table("Pictures that could not be read", ("reason", "pictures"), rows)


def decided_pictures(data: RunPictures) -> ShownTable:
    """What was done with pictures by a person's decision."""
    words = {"relabel": "relabelled", "drop": "dropped", "keep": "kept as they came"}
    rows = [[words[verdict], count] for verdict, count in data.decided.items()]
    return make_table("Decisions on single pictures", ("what", "pictures"), rows)


def compared_models(judged: Judged) -> ShownTable:
    """All models side by side, the best on validation marked."""
    found = judged.details
    rows = []
    for model in judged.models:
        scores, intervals = (found["models"][model.name][key] for key in ("metrics", "intervals"))
        balanced = found["models"][model.name]["balanced_accuracy"]
        rows.append(
            [
                (model.name, "best on validation") if model.name == judged.best else model.name,
                (percent(scores["accuracy"]), _share_bounds(scores)),
                percent(balanced),
                (f"{scores['f1']:.4f}", bounds(intervals["f1"])),
                (f"{scores['log_loss']:.4f}", bounds(intervals["log_loss"])),
                NOT_DEFINED
                if "roc_auc" in found["undefined"]
                else (f"{scores['roc_auc']:.4f}", bounds(intervals["roc_auc"])),
                f"{scores['calibration_error']:.4f}",
                f"{judged.trainings[model.name]['val_log_loss']:.4f}",
            ]
        )
    header = (
        *("model", "accuracy", "balanced accuracy", "F1", "log loss", "ROC AUC"),
        *("calibration error", "log loss on validation"),
    )
    best = next(i for i, model in enumerate(judged.models) if model.name == judged.best)
    confidence = level(found["confidence"])
    caption = f"Models on the same test pictures; below each figure its {confidence} interval"
    return make_table(caption, header, rows, marked=best)


def _share_bounds(scores: Mapping[str, float]) -> str:
    return interval(scores["accuracy_low"], scores["accuracy_high"])


def paired_tests(judged: Judged, told: float) -> ShownTable:
    """Which pictures only one of two models has right, and whether chance does as much.

    Args:
        judged: the models.
        told: p-value below which they are said to differ.
    """
    rows = [
        [
            f"{pair['a']} and {pair['b']}",
            pair["only_a_right"],
            pair["only_b_right"],
            p_value(pair["p_value"]),
            _verdict(pair, told),
        ]
        for pair in judged.details["mcnemar"]
    ]
    header = ("pair", "only the first is right", "only the second", "p", "so")
    return make_table("Two models on the same pictures (McNemar's test)", header, rows, words=(4,))


def _verdict(pair: Mapping[str, Any], told: float) -> str:
    if pair["p_value"] >= told:
        return "not told apart"
    better = pair["a"] if pair["only_a_right"] > pair["only_b_right"] else pair["b"]
    return f"{better} is better"


def scores_before_review(judged: Judged) -> ShownTable | None:
    """Accuracy by the labels that the test pictures came with, and as reviewed; None if equal."""
    came = judged.details["as_came"]
    if came is None:
        return None
    rows = []
    for name, before in came["models"].items():
        now = judged.details["models"][name]["metrics"]
        rows.append([name, *(f"{percent(s['accuracy'])}" for s in (before, now))])
    header = ("model", "labels as they came", "labels as reviewed")
    return make_table("Accuracy before and after labels were reviewed", header, rows)


def scores_without_leak(judged: Judged) -> ShownTable | None:
    """Accuracy on the test pictures that no model has seen; None if that is all of them."""
    leak = judged.details["leak"]
    if leak is None or not leak["left"]:
        return None
    rows = []
    for name, rest in leak["models"].items():
        whole = judged.details["models"][name]["metrics"]
        rows.append([name, percent(whole["accuracy"]), percent(rest["accuracy"])])
    header = ("model", f"all {judged.details['pictures']:,}", f"the {leak['left']:,} unseen ones")
    return make_table("Accuracy without the pictures that were seen in training", header, rows)


def covered_pictures(covered: Sequence[Covered], name: str, confidence: float) -> ShownTable:
    """What a model decides alone at some thresholds."""
    rows = [
        [
            "all" if not one.threshold else f"at least {100 * one.threshold:g}{PER_CENT} sure",
            percent(one.share, 1),
            one.pictures,
            one.wrong,
            NOT_DEFINED if one.accuracy is None else percent(one.accuracy),
            _shares(one.bounds),
        ]
        for one in covered
    ]
    header = (
        *("decided by the model", "share", "pictures", "wrong", "accuracy on these"),
        f"{level(confidence)} interval",
    )
    return make_table(f"What {name} may decide alone", header, rows)


def accepted_others(found: Mapping[str, Any], confidence: float) -> ShownTable | None:
    """How many pictures of none of the classes are accepted; None if there are none.

    Args:
        found: of ``metrics/deciding/details.json``.
        confidence: of the intervals.
    """
    rows = [
        [name, one["pictures"], percent(one["accepted"], 1), interval(one["low"], one["high"])]
        for name, one in found["others"].items()
    ]
    header = ("kind", "pictures", "accepted as one of the classes", f"{level(confidence)} interval")
    return make_table("Pictures of none of the classes", header, rows) if rows else None


def crossval_figures(found: Mapping[str, Any]) -> ShownTable:
    """The head on folds of train and val.

    Args:
        found: of ``metrics/crossval/details.json``.
    """
    rows = [
        ["accuracy", percent(found["accuracy"]), *map(_shares, _intervals(found, "accuracy"))],
        ["log loss", f"{found['log_loss']:.4f}", *map(bounds, _intervals(found, "log_loss"))],
    ]
    header = ("of the head", "out of fold", "interval", "the test split should be within")
    return make_table("Cross-validation", header, rows)


def _intervals(found: Mapping[str, Any], score: str) -> tuple[Interval, Interval]:
    return found[f"{score}_interval"], found[f"{score}_on_test"]


def _shares(found: Interval) -> str:
    return interval(*found) if found else NOT_DEFINED
