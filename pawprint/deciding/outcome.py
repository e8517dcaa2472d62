"""What a model may decide alone: chosen by validation, and what became of it on the test split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pawprint.deciding.conformal import fit_sets, halve
from pawprint.deciding.promise import Promise, make_promise
from pawprint.deciding.rates import describe_others, describe_share, separation
from pawprint.deciding.reference import make_reference
from pawprint.evaluation.metrics import wilson_interval
from pawprint.runner.params import DecidingParams


@dataclass(frozen=True)
class Judgements:
    """What a model says of the pictures of a split.

    Attributes:
        paths: of n pictures, in the canonical archive.
        groups: of each; pictures of one belong together, as copies of one picture do.
        probs: float32 [n, c].
        labels: int64 [n].
        unlikeness: float32 [n], see ``unlike_above``; None where the model cannot tell.
        unlike_above: a picture with a larger unlikeness is unlike the training pictures.
        brightness: float64 [n], see ``measure_brightness``; None: nothing was asked about it.
    """

    paths: Sequence[str]
    groups: Sequence[str]
    probs: np.ndarray
    labels: np.ndarray
    unlikeness: np.ndarray | None
    unlike_above: float
    brightness: np.ndarray | None = None

    @property
    def sure(self) -> np.ndarray:
        """The probability of the predicted class, float32 [n]."""
        return self.probs.max(axis=1)

    @property
    def right(self) -> np.ndarray:
        """Whether the predicted class is the actual one, bool [n]."""
        return self.probs.argmax(axis=1) == self.labels

    @property
    def accepted(self) -> np.ndarray:
        """What is not unlike the training pictures, bool [n]."""
        if self.unlikeness is None:
            return np.ones(len(self.probs), bool)
        return self.unlikeness <= self.unlike_above

    def independent(self) -> Judgements:
        """The first picture of each group, by path: the others would count one thing twice."""
        order = np.argsort(np.array(self.paths, object), kind="stable")
        _, first = np.unique(np.array(self.groups, object)[order].astype(str), return_index=True)
        rows = np.sort(order[first])
        return Judgements(
            [self.paths[row] for row in rows],
            [self.groups[row] for row in rows],
            self.probs[rows],
            self.labels[rows],
            None if self.unlikeness is None else self.unlikeness[rows],
            self.unlike_above,
            None if self.brightness is None else self.brightness[rows],
        )


@dataclass(frozen=True)
class Findings:
    """What stage deciding found.

    Attributes:
        figures: for ``metrics/deciding/details.json``; some are in ``metrics/deciding.json``.
        service: for the model's card, see ``pawprint.deciding.rule``.
        promise: that was made.
    """

    figures: dict[str, Any]
    service: dict[str, Any]
    promise: Promise


def judge(
    model: str,
    val: Judgements,
    test: Judgements,
    others: Mapping[str, np.ndarray],
    wanted: float | None,
    params: DecidingParams,
    confidence: float,
) -> Findings:
    """Choose by validation, and measure on the test split. One picture of each group counts.

    Args:
        model: its name.
        val, test: what it says of these splits.
        others: subfolder → unlikeness float32 [n] of pictures of no class.
        wanted: the share of pictures of the classes that are to be called unlike; None where the
            model cannot tell.
        params: what is promised.
        confidence: of the intervals.
    """
    together = len(val.paths) + len(test.paths)
    val, test = val.independent(), test.independent()
    together -= len(val.paths) + len(test.paths)
    promise = make_promise(
        val.sure[val.accepted], val.right[val.accepted], params.precision, params.confidence
    )
    figures = {
        "model": model,
        "pictures": {
            "validation": len(val.paths),
            "test": len(test.paths),
            "together": together,
        },
        **_describe_rejection(test, others, wanted, confidence),
        "coverage": _describe_coverage(promise, test, confidence),
        "conformal": _describe_sets(val, test, params, confidence),
    }
    seen = val.probs, val.unlikeness, ~val.accepted, val.brightness
    reference = make_reference(*seen, params.window, params.false_alarms)
    figures["drift"] = {
        "window": reference.window,
        "limit": round(reference.confidence.limit, 6),
        "blind": reference.blind,
    }
    service = {
        "model": model,
        "unlike_above": val.unlike_above if val.unlikeness is not None else None,
        "precision": promise.precision,
        "confidence": promise.confidence,
        "threshold": promise.threshold,
        "drift": asdict(reference),
    }
    return Findings(figures, service, promise)


def _describe_rejection(
    test: Judgements, others: Mapping[str, np.ndarray], wanted: float | None, confidence: float
) -> dict[str, Any]:
    if test.unlikeness is None:
        nothing = ("rejected", "accuracy_accepted", "accuracy_rejected", "intervals", "roc_auc")
        return {**dict.fromkeys(nothing), "others": {}}
    accepted = test.accepted
    rejected = describe_share(int((~accepted).sum()), len(accepted), "rate", confidence)
    groups = {"accuracy_accepted": test.right[accepted], "accuracy_rejected": test.right[~accepted]}
    unlikeness = list(others.values())
    return {
        "rejected": {**{key: rejected[key] for key in ("rate", "low", "high")}, "wanted": wanted},
        **{name: round(float(r.mean()), 6) if len(r) else None for name, r in groups.items()},
        "intervals": {
            name: wilson_interval(int(right.sum()), len(right), confidence)
            for name, right in groups.items()
        },
        "others": describe_others(others, test.unlike_above, confidence),
        "roc_auc": separation(test.unlikeness, np.concatenate(unlikeness)) if unlikeness else None,
    }


def _describe_coverage(promise: Promise, test: Judgements, confidence: float) -> dict[str, Any]:
    decided = np.zeros(len(test.paths), bool)
    if promise.threshold is not None:
        decided = test.accepted & (test.sure >= promise.threshold)
    share = describe_share(int(decided.sum()), len(decided), "share", confidence)
    hits, count = int((decided & test.right).sum()), int(decided.sum())
    low, high = wilson_interval(hits, count, confidence) or (None, None)
    return {
        "precision": promise.precision,
        "confidence": promise.confidence,
        "threshold": promise.threshold,
        **{key: share[key] for key in ("share", "low", "high")},
        "precision_found": round(hits / count, 6) if count else None,
        "precision_low": low,
        "precision_high": high,
        "decided": count,
        "wrong": count - hits,
        "validation": {
            "pictures": promise.pictures,
            "decided": promise.decided,
            "wrong": promise.wrong,
            "needed": promise.needed,
        },
    }


def _describe_sets(
    val: Judgements, test: Judgements, params: DecidingParams, confidence: float
) -> dict[str, Any] | None:
    """None for two classes, where a set says no more than the threshold; or with few pictures."""
    if val.probs.shape[1] == 2:
        return None
    sets = fit_sets(val.probs, val.labels, halve(val.paths), params.sets)
    if sets is None:
        return None
    contained = sets.contain(test.probs)
    hits = contained[np.arange(len(test.labels)), test.labels]
    sizes = contained.sum(axis=1)
    found = describe_share(int(hits.sum()), len(hits), "coverage", confidence)
    return {
        "wanted": sets.wanted,
        **{key: found[key] for key in ("coverage", "low", "high")},
        "mean_size": round(float(sizes.mean()), 6),
        "alone": round(float((sizes == 1).mean()), 6),
        "empty": round(float((sizes == 0).mean()), 6),
        "calibrated_on": sets.pictures,
    }
