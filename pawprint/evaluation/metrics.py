"""Scores of a classifier, with the uncertainty that belongs to each.

Throughout: ``y_true`` is int64 [n], the index of the actual class of each picture; ``probs`` is
float32 or float64 [n, num_classes], each row a probability distribution; ``confidence`` in
(0, 1) is the level of an interval; ``bins`` is a number of equal-width calibration bins. The
predicted class is the most probable one, the first of several equal ones.

An interval is ``[low, high]``, or ``None`` where the pictures do not allow one. Every number
returned is a plain, finite Python number, and fit for ``json.dumps(..., allow_nan=False)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import binomtest, norm, rankdata
from scipy.stats import t as student
from sklearn import metrics as sk

from pawprint.runner.errors import DataError, ModelError

Array = NDArray[Any]
Interval = list[float] | None
Row = dict[str, float]

# A probability of 0 would make the log loss infinite. The smallest step of float32 below 1
# keeps float32 and float64 predictions of one model at the same score.
SMALLEST_PROBABILITY = float(np.finfo(np.float32).eps)
RESAMPLES = 1000


def check_predictions(y_true: Array, probs: Array, name: str = "model") -> None:
    """Refuse predictions that cannot be scored; ``name`` stands in the message.

    Raises:
        DataError: there is no picture, or a label is not an index of a class.
        ModelError: probs has another shape, is not finite, or a row is no distribution.
    """
    if len(y_true) == 0:
        raise DataError("test split: expected at least 1 picture, found 0; raise split.test")
    if probs.ndim != 2 or len(probs) != len(y_true) or probs.shape[1] < 2:
        raise ModelError(
            f"{name}: expected probabilities of shape [{len(y_true)}, 2 or more classes], "
            f"found {list(probs.shape)}; train it again on this data"
        )
    if y_true.min() < 0 or y_true.max() >= probs.shape[1]:
        raise DataError(
            f"{name}: expected labels from 0 to {probs.shape[1] - 1}, found {y_true.min()} "
            f"to {y_true.max()}; train it again on this data"
        )
    if not np.isfinite(probs).all():
        raise ModelError(
            f"{name}: expected finite probabilities, found NaN or infinity; "
            "its training has diverged, lower its lr"
        )
    sums = probs.sum(axis=1, dtype=np.float64)
    worst = int(np.abs(sums - 1).argmax())
    if probs.min() < 0 or abs(sums[worst] - 1) > 1e-3:
        raise ModelError(
            f"{name}: expected rows of probabilities that sum to 1, found a smallest value of "
            f"{probs.min():.6g} and a sum of {sums[worst]:.6g}; apply softmax to its logits"
        )


def headline_metrics(y_true: Array, probs: Array, confidence: float, bins: int) -> dict[str, float]:
    """The eight numbers that stand for a model, rounded to 6 decimals; always the same keys.

    accuracy, accuracy_low, accuracy_high: share of right pictures and its Wilson interval.
    f1: mean of the classes' F1, weighted by their number of pictures.
    log_loss: mean of -ln(probability of the actual class), in nats; probabilities are taken as
        at least 1.2e-7, so that it never exceeds 15.95.
    roc_auc: two classes: class 1 against class 0. More: each class against the rest, then the
        unweighted mean over the classes that have both pictures and counter-examples.
    average_precision: the same convention.
    calibration_error: expected calibration error of the predicted class.

    Where all pictures are of one class, ranking them means nothing. The keys must stay (a chart
    of experiments would otherwise lose its column), so a ranking without skill is reported:
    roc_auc 0.5, average_precision the share of positives. ``undefined_metrics`` names them.

    Raises:
        DataError, ModelError: see ``check_predictions``.
    """
    check_predictions(y_true, probs)
    y_pred = probs.argmax(axis=1)
    right = int((y_pred == y_true).sum())
    low, high = wilson_interval(right, len(y_true), confidence) or (0.0, 1.0)
    f1 = sk.f1_score(y_true, y_pred, average="weighted", zero_division=0)
    values = {
        "accuracy": right / len(y_true),
        "accuracy_low": low,
        "accuracy_high": high,
        "f1": f1,
        "log_loss": picture_losses(y_true, probs).mean(),
        "roc_auc": _roc_auc(y_true, probs)[0],
        "average_precision": _average_precision(y_true, probs),
        "calibration_error": calibration_error(y_true, probs, bins),
    }
    return {key: round(float(value), 6) for key, value in values.items()}


def short_scores(y_true: Array, probs: Array, confidence: float) -> dict[str, float]:
    """The figures that matter most, of at least one picture.

    Args:
        y_true: int64 [n]; below 0: a class that the model does not know.
        probs: float32 [n, c].
        confidence: of the interval.

    Returns:
        accuracy, accuracy_low, accuracy_high (Wilson's interval); log_loss if each class is known.
    """
    right = int((probs.argmax(axis=1) == y_true).sum())
    low, high = wilson_interval(right, len(y_true), confidence) or (0.0, 1.0)
    scores = {"accuracy": round(right / len(y_true), 6), "accuracy_low": low, "accuracy_high": high}
    if (y_true >= 0).all():
        scores["log_loss"] = round(float(picture_losses(y_true, probs).mean()), 6)
    return scores


def undefined_metrics(y_true: Array) -> list[str]:
    """Names of the headline metrics that these labels leave without meaning."""
    return [] if len(np.unique(y_true)) > 1 else ["roc_auc", "average_precision"]


def picture_losses(y_true: Array, probs: Array) -> NDArray[np.float64]:
    """-ln(probability of the actual class) of each picture: float64 [n], in [0, 15.95]."""
    exact = probs.astype(np.float64)
    actual = exact[np.arange(len(y_true)), y_true] / exact.sum(axis=1)
    return -np.log(np.clip(actual, SMALLEST_PROBABILITY, 1.0))


def metric_intervals(y_true: Array, probs: Array, confidence: float) -> dict[str, Interval]:
    """Intervals of the headline metrics that are no proportion: f1, log_loss, roc_auc.

    Each is the cheapest sound one: f1 a percentile bootstrap, log_loss (a mean) Student's
    interval, roc_auc DeLong's. None where the interval would collapse to a point, as it does
    when all pictures are right: the data then cannot tell how far from perfect the model is.
    """
    y_pred = probs.argmax(axis=1)
    confusion = sk.confusion_matrix(y_true, y_pred, labels=np.arange(probs.shape[1]))
    return {
        "f1": _f1_interval(confusion, confidence),
        "log_loss": _mean_interval(picture_losses(y_true, probs), confidence),
        "roc_auc": _roc_auc_interval(y_true, probs, confidence),
    }


def wilson_interval(successes: int, trials: int, confidence: float) -> Interval:
    """The interval of a share; None without trials.

    Source: Wilson 1927, J. Am. Stat. Assoc. 22, pages 209-212.
    """
    if trials == 0:
        return None
    interval = binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    return [round(float(interval.low), 6), round(float(interval.high), 6)]


def _f1_interval(confusion: Array, confidence: float) -> Interval:
    """Stratified percentile bootstrap of the weighted F1, seeded.

    Resampling the pictures of one class is the same as drawing its row of the confusion matrix
    anew from a multinomial distribution, which is much faster and needs no pictures.
    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, section 13.3.
    """
    rng = np.random.default_rng(0)
    support = confusion.sum(axis=1)
    true_positives = np.zeros((RESAMPLES, len(confusion)))
    predicted = np.zeros((RESAMPLES, len(confusion)))
    for label in np.flatnonzero(support):
        cells = np.flatnonzero(confusion[label])
        shares = confusion[label, cells] / support[label]
        drawn = rng.multinomial(support[label], shares, size=RESAMPLES)
        predicted[:, cells] += drawn
        true_positives[:, label] = drawn[:, cells == label].sum(axis=1)
    f1 = 2 * true_positives / np.maximum(predicted + support, 1)
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    return _interval(*np.quantile(f1 @ support / support.sum(), tails))


def _mean_interval(values: Array, confidence: float) -> Interval:
    """Student's interval of the mean of independent non-negative values."""
    if len(values) < 2:
        return None
    quantile = student.ppf((1 + confidence) / 2, len(values) - 1)
    half = quantile * values.std(ddof=1) / np.sqrt(len(values))
    return _interval(max(values.mean() - half, 0.0), values.mean() + half)


def _interval(low: float, high: float) -> Interval:
    return [round(float(low), 6), round(float(high), 6)] if high - low > 1e-9 else None


def _ranked_classes(y_true: Array, num_classes: int) -> list[int]:
    """The classes scored one against the rest: those with positives and with negatives."""
    counts = np.bincount(y_true, minlength=num_classes)
    labels = np.array([1]) if num_classes == 2 else np.arange(num_classes)
    return [int(k) for k in labels if 0 < counts[k] < len(y_true)]


def _roc_auc(y_true: Array, probs: Array) -> tuple[float, float]:
    """Area under the ROC curve, macro one-vs-rest, and its variance.

    The variance adds up the squared influence of each picture on the mean over classes; with
    two classes that is DeLong's estimate.
    Source: DeLong, DeLong and Clarke-Pearson 1988, Biometrics 44, equations 2-5; computed from
    ranks as in Sun and Xu 2014, IEEE Signal Processing Letters 21, algorithm 2.
    """
    labels = _ranked_classes(y_true, probs.shape[1])
    areas = []
    influence = np.zeros(len(y_true))
    for label in labels:
        positive = y_true == label
        scores = probs[:, label]
        m, n = int(positive.sum()), int((~positive).sum())
        ranks = rankdata(scores)
        beats = (ranks[positive] - rankdata(scores[positive])) / n
        beaten = 1 - (ranks[~positive] - rankdata(scores[~positive])) / m
        area = beats.mean()
        areas.append(area)
        influence[positive] += (beats - area) / np.sqrt(m * max(m - 1, 1))
        influence[~positive] += (beaten - area) / np.sqrt(n * max(n - 1, 1))
    if not areas:
        return 0.5, 0.0
    return float(np.mean(areas)), float(((influence / len(areas)) ** 2).sum())


def _roc_auc_interval(y_true: Array, probs: Array, confidence: float) -> Interval:
    """Normal interval on the logit scale, which keeps it within 0 and 1.

    Source: Qin and Hotilovac 2008, Statistical Methods in Medical Research 17, pages 207-221.
    """
    area, variance = _roc_auc(y_true, probs)
    if not 0 < area < 1:
        return None
    half = norm.ppf((1 + confidence) / 2) * np.sqrt(variance) / (area * (1 - area))
    return _interval(expit(logit(area) - half), expit(logit(area) + half))


def _average_precision(y_true: Array, probs: Array) -> float:
    labels = _ranked_classes(y_true, probs.shape[1])
    if not labels:
        return float((y_true == 1).mean()) if probs.shape[1] == 2 else 1.0
    scores = [sk.average_precision_score(y_true == k, probs[:, k]) for k in labels]
    return float(np.mean(scores))


def reliability_curve(y_true: Array, probs: Array, bins: int) -> list[Row]:
    """How often a model that says p is right: one row per bin that holds a picture.

    The confidence is the probability of the predicted class; the bins are (low, high], of equal
    width. Rows: low, high, confidence (mean), accuracy, count.
    Source: Guo, Pleiss, Sun and Weinberger 2017, On Calibration of Modern Neural Networks,
    section 2.
    """
    confidences = np.clip(probs.max(axis=1).astype(np.float64), 0.0, 1.0)
    right = probs.argmax(axis=1) == y_true
    edges = np.linspace(0, 1, bins + 1)
    place = np.searchsorted(edges, confidences, side="left") - 1
    rows = []
    for i in np.unique(place):
        inside = place == i
        rows.append(
            {
                "low": round(float(edges[i]), 6),
                "high": round(float(edges[i + 1]), 6),
                "confidence": round(float(confidences[inside].mean()), 6),
                "accuracy": round(float(right[inside].mean()), 6),
                "count": int(inside.sum()),
            }
        )
    return rows


def calibration_error(y_true: Array, probs: Array, bins: int) -> float:
    """Expected calibration error, in [0, 1]: mean gap between confidence and accuracy.

    Source: Guo et al. 2017, equation 3.
    """
    rows = reliability_curve(y_true, probs, bins)
    gaps = [row["count"] * abs(row["confidence"] - row["accuracy"]) for row in rows]
    return sum(gaps) / len(y_true)


def class_report(
    y_true: Array, y_pred: Array, class_names: list[str], confidence: float
) -> dict[str, Any]:
    """Precision, recall, F1 and support of each class, and their averages.

    Precision and recall carry their Wilson intervals. A ratio without a denominator (a class
    never predicted, or without pictures) is 0, its interval None. ``macro`` is the plain mean
    over the classes that have pictures; ``weighted`` weighs them by their number.

    Returns:
        {"classes": {name: {precision, precision_interval, recall, recall_interval, f1,
        support}}, "macro": {precision, recall, f1, support}, "weighted": {the same}}
    """
    labels = np.arange(len(class_names))
    precision, recall, f1, support = sk.precision_recall_fscore_support(
        y_true, y_pred, labels=labels, zero_division=0
    )
    confusion = sk.confusion_matrix(y_true, y_pred, labels=labels)
    right, predicted = confusion.diagonal(), confusion.sum(axis=0)
    classes = {
        name: {
            "precision": round(float(precision[k]), 6),
            "precision_interval": wilson_interval(int(right[k]), int(predicted[k]), confidence),
            "recall": round(float(recall[k]), 6),
            "recall_interval": wilson_interval(int(right[k]), int(support[k]), confidence),
            "f1": round(float(f1[k]), 6),
            "support": int(support[k]),
        }
        for k, name in enumerate(class_names)
    }
    scores = {"precision": precision, "recall": recall, "f1": f1}
    averages = {
        average: {
            **{
                key: round(float(np.average(value, weights=weights)), 6)
                for key, value in scores.items()
            },
            "support": len(y_true),
        }
        for average, weights in {"macro": support > 0, "weighted": support}.items()
    }
    return {"classes": classes, **averages}


def mcnemar(y_true: Array, pred_a: Array, pred_b: Array) -> dict[str, Any]:
    """Do two models differ in accuracy on the same pictures? Exact two-sided McNemar test.

    Returns:
        only_a_right, only_b_right: int, the pictures that just one of them gets right;
        p_value: float in (0, 1], 6 significant digits; 1 if there is no such picture.
    Source: McNemar 1947, Psychometrika 12; exact form: Fagerland et al. 2013, BMC Medical
    Research Methodology 13:91.
    """
    a_right, b_right = pred_a == y_true, pred_b == y_true
    only_a = int((a_right & ~b_right).sum())
    only_b = int((b_right & ~a_right).sum())
    p_value = binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    return {
        "only_a_right": only_a,
        "only_b_right": only_b,
        "p_value": float(f"{p_value:.6g}"),
    }


def mcnemar_pairs(y_true: Array, preds: Mapping[str, Array]) -> list[dict[str, Any]]:
    """``mcnemar`` of each pair of models, whose names stand under ``a`` and ``b``."""
    return [
        {"a": a, "b": b, **mcnemar(y_true, preds[a], preds[b])} for a, b in combinations(preds, 2)
    ]
