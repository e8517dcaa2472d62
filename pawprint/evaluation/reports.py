"""What evaluation writes about its scores: the details, and readable texts.

``y_true``, ``y_pred``, ``probs``, ``confidence`` and ``bins`` are those of metrics.py; a mapping of
predictions holds the ``probs`` of each model by its name, in the order of display.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from pawprint.evaluation.markdown import markdown_table
from pawprint.evaluation.metrics import (
    Array,
    Interval,
    check_predictions,
    class_report,
    headline_metrics,
    mcnemar_pairs,
    metric_intervals,
    reliability_curve,
    short_scores,
    undefined_metrics,
)
from pawprint.evaluation.predictions import Prediction
from pawprint.evaluation.selection import worst_pictures
from pawprint.storage.tables import printable

MOST_CONFUSED_PAIRS = 10
MOST_WRONG_PICTURES = 20
_MOST_NAMES = 10  # of classes, in a sentence


def details(
    y_true: Array,
    predictions: Mapping[str, Array],
    class_names: list[str],
    confidence: float,
    bins: int,
    seen: Array | None = None,
) -> dict[str, Any]:
    """Everything that is known about the models, fit for JSON; the input of the texts below.

    ``balanced_accuracy`` is the mean of the recalls of the classes that have test pictures.
    Source: Brodersen, Ong, Stephan and Buhmann 2010, The balanced accuracy and its posterior
    distribution; for more than two classes as scikit-learn's ``balanced_accuracy_score``.

    Args:
        y_true, predictions, class_names, confidence, bins: see the top of this module.
        seen: bool [n], the test pictures that are in train or val too; None: none of them.

    Returns:
        {"pictures": int, "classes": int, "confidence": float, "undefined": names of headline
        metrics without meaning here, "leak": ``_without_seen``, "models": {name: {"metrics":
        headline_metrics, "balanced_accuracy": float, "intervals": metric_intervals, "report":
        class_report, "reliability": reliability_curve, "confused": the ten most frequent
        errors}}, "mcnemar": mcnemar_pairs}
    Raises:
        DataError, ModelError: see ``metrics.check_predictions``; the message names the model.
    """
    models = {}
    for name, probs in predictions.items():
        check_predictions(y_true, probs, name)
        y_pred = probs.argmax(axis=1)
        report = class_report(y_true, y_pred, class_names, confidence)
        models[name] = {
            "metrics": headline_metrics(y_true, probs, confidence, bins),
            "balanced_accuracy": report["macro"]["recall"],
            "intervals": metric_intervals(y_true, probs, confidence),
            "report": report,
            "reliability": reliability_curve(y_true, probs, bins),
            "confused": _confused(y_true, y_pred, class_names),
        }
    return {
        "pictures": len(y_true),
        "classes": len(class_names),
        "confidence": confidence,
        "undefined": undefined_metrics(y_true),
        "leak": _without_seen(y_true, predictions, seen, confidence),
        "models": models,
        "mcnemar": mcnemar_pairs(
            y_true, {name: probs.argmax(axis=1) for name, probs in predictions.items()}
        ),
    }


def _without_seen(
    y_true: Array, predictions: Mapping[str, Array], seen: Array | None, confidence: float
) -> dict[str, Any] | None:
    """How the models do on the test pictures that are in no other split.

    Returns:
        None if that is all of them. Else {"pictures": of the test split that were seen, "left":
        the others, "models": {name: {"accuracy", "accuracy_low", "accuracy_high",
        "log_loss"}}}, on those that are left; no models if none are.
    """
    if seen is None or not seen.any():
        return None
    left = int((~seen).sum())
    models = {
        name: short_scores(y_true[~seen], probs[~seen], confidence)
        for name, probs in (predictions.items() if left else ())
    }
    return {"pictures": int(seen.sum()), "left": left, "models": models}


def views_text(found: Mapping[str, Any]) -> str:
    """What the probabilities are, where they are means; empty if they are of the plain pictures.

    Args:
        found: what ``details`` returns, and ``tta``.
    """
    if found["tta"] == 1:
        return ""
    return (
        "Each probability is the mean of that for the picture and that for its mirror image "
        "(`evaluate.tta: 2`). Validation figures are of the pictures as they are."
    )


def leak_text(found: Mapping[str, Any]) -> str:
    """The warning that stands above all figures; empty if no test picture was seen.

    Args:
        found: what ``details`` returns.
    """
    leak, n = found["leak"], found["pictures"]
    if leak is None:
        return ""
    count, left = leak["pictures"], leak["left"]
    text = (
        f"**Warning: {count} of {n} test pictures {'is' if count == 1 else 'are'} also in train or "
        "val**, as the same file or a near duplicate (data/report/across_splits.csv lists them). "
        "The models have seen them, so the scores of the whole test split are too good."
    )
    if not left:
        return f"{text} Without them, none are left: nothing here tells how new pictures fare."
    models = found["models"]
    whole, rest = f"all {n}", f"the {left} without them"
    rows = [
        [
            f"Accuracy, {whole}",
            *(f"{100 * m['metrics']['accuracy']:.2f} %" for m in models.values()),
        ],
        [f"Accuracy, {rest}", *(f"{100 * m['accuracy']:.2f} %" for m in leak["models"].values())],
        [
            f"{100 * found['confidence']:.6g} % interval",
            *(
                f"{100 * m['accuracy_low']:.2f} to {100 * m['accuracy_high']:.2f} %"
                for m in leak["models"].values()
            ),
        ],
        [f"Log loss, {whole}", *(f"{m['metrics']['log_loss']:.4f}" for m in models.values())],
        [f"Log loss, {rest}", *(f"{m['log_loss']:.4f}" for m in leak["models"].values())],
    ]
    return f"{text}\n\n{markdown_table(['', *models], rows, aligned=True)}"


def wrong_pictures_text(said: Mapping[str, Prediction]) -> str:
    """The wrong pictures of one model, the most surely wrong first: as ``worst_pictures`` does.

    Args:
        said: what the model said of each test picture, by path.
    """
    wrong = worst_pictures(said.values(), len(said))
    if not wrong:
        return f"None of the {len(said):,} test pictures is wrong.\n"
    text = (
        f"{len(wrong):,} of {len(said):,} test pictures {'is' if len(wrong) == 1 else 'are'} wrong"
    )
    if len(wrong) > MOST_WRONG_PICTURES:
        text += f"; these {MOST_WRONG_PICTURES} most surely, all of them are in predictions.csv"
    rows = [
        [
            printable(one.path),
            printable(one.actual),
            printable(one.predicted),
            f"{one.probability:.4f}",
            f"{one.actual_probability:.4f}",
        ]
        for one in wrong[:MOST_WRONG_PICTURES]
    ]
    header = ["Picture", "Actual", "Taken for", "Probability", "Of the actual class"]
    return f"{text}. Sorted by the probability of the actual class.\n\n" + (
        markdown_table(header, rows, aligned=True) + "\n"
    )


def _confused(y_true: Array, y_pred: Array, class_names: list[str]) -> list[dict[str, Any]]:
    wrong = y_true != y_pred
    pairs = Counter(zip(y_true[wrong].tolist(), y_pred[wrong].tolist(), strict=True))
    ordered = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
    return [
        {"actual": class_names[a], "predicted": class_names[p], "count": count}
        for (a, p), count in ordered[:MOST_CONFUSED_PAIRS]
    ]


def comparison_table(found: Mapping[str, Any]) -> str:
    """The models side by side, as Markdown that reads well in a terminal too.

    Args:
        found: what ``details`` returns.
    """
    models = found["models"]
    columns = [_column(model, found["undefined"]) for model in models.values()]
    level = f"{100 * found['confidence']:.6g} % interval"
    labels = [
        "Accuracy",
        level,
        "Balanced accuracy",
        "Precision, weighted",
        "Recall, weighted",
        "F1, weighted",
        level,
        "F1, macro",
        "Log loss",
        level,
        "ROC AUC",
        level,
        "Average precision",
        "Calibration error",
    ]
    rows = [[label, *cells] for label, *cells in zip(labels, *columns, strict=True)]
    return "\n\n".join(
        [markdown_table(["", *models], rows, aligned=True), *_notes(found), _mcnemar_table(found)]
    )


def _column(model: Mapping[str, Any], undefined: list[str]) -> list[str]:
    """The cells of one model, top to bottom."""
    scores, intervals = model["metrics"], model["intervals"]
    weighted, macro = model["report"]["weighted"], model["report"]["macro"]

    def cell(key: str) -> str:
        return "n/a" if key in undefined else f"{scores[key]:.4f}"

    return [
        f"{100 * scores['accuracy']:.2f} %",
        f"{100 * scores['accuracy_low']:.2f} to {100 * scores['accuracy_high']:.2f} %",
        f"{100 * model['balanced_accuracy']:.2f} %",
        f"{weighted['precision']:.4f}",
        f"{weighted['recall']:.4f}",
        cell("f1"),
        _interval_text(intervals["f1"]),
        f"{macro['f1']:.4f}",
        cell("log_loss"),
        _interval_text(intervals["log_loss"]),
        cell("roc_auc"),
        _interval_text(intervals["roc_auc"]),
        cell("average_precision"),
        cell("calibration_error"),
    ]


def _interval_text(interval: Interval) -> str:
    return f"{interval[0]:.4f} to {interval[1]:.4f}" if interval else "n/a"


def _notes(found: Mapping[str, Any]) -> list[str]:
    """What a reader must know to weigh the figures."""
    n, classes = found["pictures"], found["classes"]
    ranking = "" if classes == 2 else "; ROC AUC and average precision: mean of one-versus-rest"
    notes = [
        f"Test split: {n:,} picture{'s' * (n > 1)} of {classes} classes; "
        f"each is {100 / n:.2g} points of accuracy.",
        "Weighted: by the number of pictures of a class (weighted recall is accuracy by "
        f"definition); macro: plain mean over the classes{ranking}; balanced "
        "accuracy: macro recall.",
        *_lacking_note(found),
        "Intervals: accuracy Wilson, F1 bootstrap, log loss Student, ROC AUC DeLong.",
    ]
    if found["undefined"]:
        notes.append(
            "All test pictures are of one class: ROC AUC and average precision mean nothing "
            "(the metrics file holds the values of a ranking without skill)."
        )
    if any(None in model["intervals"].values() for model in found["models"].values()):
        notes.append("An interval is n/a where the pictures cannot tell it, as when all are right.")
    return notes


def _lacking_note(found: Mapping[str, Any]) -> list[str]:
    """Over which classes the macro averages are, where that is not all of them."""
    report = next(iter(found["models"].values()))["report"]
    lacking = _lacking(report)
    if not lacking:
        return []
    names = ", ".join(lacking[:_MOST_NAMES])
    more = f" and {len(lacking) - _MOST_NAMES} more" if len(lacking) > _MOST_NAMES else ""
    classes = found["classes"]
    return [
        f"Macro average over {classes - len(lacking)} of {classes} classes: "
        f"no test pictures of {names}{more}."
    ]


def _lacking(report: Mapping[str, Any]) -> list[str]:
    """The classes of a ``class_report`` that have no test picture."""
    return [name for name, scores in report["classes"].items() if not scores["support"]]


def _mcnemar_table(found: Mapping[str, Any]) -> str:
    """The paired tests; p-values are not adjusted for the number of pairs."""
    rows = [
        [
            f"{pair['a']} and {pair['b']}",
            str(pair["only_a_right"]),
            str(pair["only_b_right"]),
            f"{pair['p_value']:.4f}" if pair["p_value"] >= 0.0001 else "< 0.0001",
        ]
        for pair in found["mcnemar"]
    ]
    header = ["Pair of models", "Only the first right", "Only the second right", "McNemar's p"]
    return markdown_table(header, rows, aligned=True) + "\n"


def class_report_text(report: Mapping[str, Any]) -> str:
    """``metrics.class_report`` as a Markdown table, a class a row, then the averages."""

    def row(name: str, scores: Mapping[str, Any]) -> list[str]:
        cells = [name]
        for key in ("precision", "recall"):
            interval = scores.get(f"{key}_interval")
            note = f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else ""
            cells.append(f"{scores[key]:.4f}{note}")
        return [*cells, f"{scores['f1']:.4f}", str(scores["support"])]

    rows = [row(name, scores) for name, scores in report["classes"].items()]
    counted = len(rows) - len(_lacking(report))
    over = f" over {counted} of {len(rows)} classes" if counted < len(rows) else ""
    rows.append(row(f"*macro average{over}*", report["macro"]))
    rows.append(row("*weighted average*", report["weighted"]))
    return (
        markdown_table(["Class", "Precision", "Recall", "F1", "Pictures"], rows, aligned=True)
        + "\n"
    )
