"""Writes everything that evaluation says about the models, from labels and probabilities.

metrics/scores/<model>.json      the few figures by which one chooses
metrics/evaluate/report.md       comparison, per-class tables, wrong pictures, to read
metrics/evaluate/details.json    the same and more, for programs
metrics/evaluate/predictions.csv one row a picture
metrics/evaluate/probabilities/  <model>.npy: float32 [n, classes], the same pictures in order
plots/evaluate/                  points of the charts that DVC draws
plots/figures/                   the charts as pictures
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from pawprint.evaluation import figures
from pawprint.evaluation.curves import confusion_rows, precision_recall_points, roc_points
from pawprint.evaluation.metrics import Array, reliability_curve
from pawprint.evaluation.predictions import make_predictions, write_predictions
from pawprint.evaluation.reports import (
    class_report_text,
    comparison_table,
    details,
    leak_text,
    views_text,
    wrong_pictures_text,
)
from pawprint.evaluation.reviewed import reviewed_text, scores_as_came
from pawprint.runner.files import atomic_directory
from pawprint.runner.params import EvaluateParams
from pawprint.storage.shards import write_shard
from pawprint.storage.tables import write_csv, write_json

SCORES = ("accuracy", "accuracy_low", "accuracy_high", "log_loss")  # on the test pictures


def write_metrics(
    directory: Path,
    paths: list[str],
    y_true: Array,
    predictions: Mapping[str, Array],
    class_names: list[str],
    val_log_losses: Mapping[str, float],
    params: EvaluateParams,
    leaked: Collection[str],
    remarks: Sequence[str],
    y_source: Array,
) -> str:
    """Write ``scores/`` and ``evaluate/``; return the comparison table.

    If there is a leak, a warning stands above the table; so do remarks. If labels were reviewed,
    the scores by both stand there, too.

    Args:
        directory: where, such as ``metrics``.
        paths: of the n test pictures.
        y_true: int64 [n].
        predictions: model → probabilities, float32 [n, c].
        class_names: c names.
        val_log_losses: of each model, as its training wrote it.
        params: confidence of the intervals, calibration bins; ``tta``, by which the probabilities
            were made, is written down: it is what stage export then exports.
        leaked: paths of the test pictures that are in train or val, too; others do not count.
        remarks: what to know of the members of an ensemble, a sentence or two each.
        y_source: see ``scores_as_came``.
    """
    seen = np.isin(paths, list(leaked)) if leaked else None
    found = details(
        y_true, predictions, class_names, params.confidence, params.calibration_bins, seen
    )
    found["tta"] = params.tta
    found["as_came"] = scores_as_came(y_source, y_true, predictions, params.confidence)
    with atomic_directory(directory / "scores") as scores:
        for name, model in found["models"].items():
            chosen = {key: model["metrics"][key] for key in SCORES}
            write_json(scores / f"{name}.json", {**chosen, "val_log_loss": val_log_losses[name]})
    warnings = [leak_text(found), *(f"**Warning**: {remark}" for remark in remarks)]
    parts = [*warnings, views_text(found), reviewed_text(found), comparison_table(found)]
    table = "\n\n".join(filter(None, parts))
    said = make_predictions(paths, y_true, predictions, class_names)
    sections = [
        f"## {name}\n\n{class_report_text(model['report'])}\n"
        f"### Wrong pictures of {name}\n\n{wrong_pictures_text(said[name])}"
        for name, model in found["models"].items()
    ]
    text = "\n\n".join(["# Evaluation on the test split", table, *sections])
    with atomic_directory(directory / "evaluate") as reports:
        write_json(reports / "details.json", found)
        (reports / "report.md").write_text(text + "\n", encoding="utf-8")
        write_predictions(reports / "predictions.csv", said)
        for name, probs in predictions.items():
            write_shard(reports / "probabilities" / f"{name}.npy", probs)
    return table


def write_charts(
    directory: Path,
    y_true: Array,
    predictions: Mapping[str, Array],
    class_names: list[str],
    bins: int,
) -> None:
    """Write the points of DVC's charts: ``<chart>/<model>.json`` (.csv for confusion)."""
    with atomic_directory(directory) as charts:
        for name, probs in predictions.items():
            points = {
                "roc": roc_points(y_true, probs),
                "precision_recall": precision_recall_points(y_true, probs),
                "reliability": reliability_curve(y_true, probs, bins),
            }
            for chart, found in points.items():
                write_json(charts / chart / f"{name}.json", found)
            rows = confusion_rows(y_true, probs.argmax(axis=1), class_names)
            write_csv(
                charts / "confusion" / f"{name}.csv",
                ("actual", "predicted"),
                [(row["actual"], row["predicted"]) for row in rows],
            )


def write_figures(
    directory: Path,
    y_true: Array,
    predictions: Mapping[str, Array],
    class_names: list[str],
    bins: int,
    histories: Mapping[str, Sequence[Mapping[str, float]]],
) -> None:
    """Write the PNG figures; ``histories`` as for ``figures.render_training``."""
    with atomic_directory(directory) as out:
        for name, probs in predictions.items():
            y_pred = probs.argmax(axis=1)
            figures.render_confusion(
                out / f"confusion_{name}.png", y_true, y_pred, class_names, name
            )
        figures.render_roc(out / "roc.png", y_true, predictions, class_names)
        figures.render_precision_recall(
            out / "precision_recall.png", y_true, predictions, class_names
        )
        figures.render_reliability(out / "reliability.png", y_true, predictions, bins)
        figures.render_training(out / "training.png", histories)


def read_history(log_dir: Path) -> list[dict[str, float]]:
    """The curves that a training stage logged through dvclive, one row an epoch."""
    columns = {}
    for path in sorted(log_dir.glob("plots/metrics/*/*.tsv")):
        with open(path, encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file, delimiter="\t")
            columns[f"{path.parent.name}_{path.stem}"] = [float(row[path.stem]) for row in rows]
    return [
        {"epoch": epoch, **dict(zip(columns, values, strict=True))}
        for epoch, values in enumerate(zip(*columns.values(), strict=True), start=1)
    ]
