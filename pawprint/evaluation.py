"""Writes everything that evaluation says about the models, from labels and probabilities.

metrics/evaluate.json            the headline metrics of each model
metrics/evaluate/report.md       comparison and per-class tables, to read
metrics/evaluate/details.json    the same and more, for programs
metrics/evaluate/predictions.csv one row a picture
plots/evaluate/                  points of the charts that DVC draws
plots/figures/                   the charts as pictures
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from pawprint import figures
from pawprint.files import write_csv, write_json
from pawprint.metrics import Array, reliability_curve
from pawprint.params import EvaluateParams
from pawprint.reports import (
    class_report_text,
    comparison_table,
    confusion_rows,
    details,
    precision_recall_points,
    prediction_rows,
    roc_points,
    write_predictions,
)


def write_metrics(
    directory: Path,
    paths: list[str],
    y_true: Array,
    predictions: Mapping[str, Array],
    class_names: list[str],
    params: EvaluateParams,
) -> str:
    """Write ``evaluate.json`` and ``evaluate/`` below a directory; return the comparison table.

    Args:
        directory: such as ``metrics``.
        paths: of the n test pictures.
        y_true: int64 [n].
        predictions: model → probabilities, float32 [n, c].
        class_names: c names.
        params: confidence of the intervals, calibration bins.
    """
    found = details(y_true, predictions, class_names, params.confidence, params.calibration_bins)
    headline = {name: model["metrics"] for name, model in found["models"].items()}
    write_json(directory / "evaluate.json", headline)
    reports = directory / "evaluate"
    reports.mkdir(exist_ok=True)
    write_json(reports / "details.json", found)
    table = comparison_table(found)
    sections = [
        f"## {name}\n\n{class_report_text(model['report'])}"
        for name, model in found["models"].items()
    ]
    text = "\n\n".join(["# Evaluation on the test split", table, *sections])
    (reports / "report.md").write_text(text + "\n", encoding="utf-8")
    rows = prediction_rows(paths, y_true, predictions, class_names)
    write_predictions(reports / "predictions.csv", rows)
    return table


def write_charts(
    directory: Path,
    y_true: Array,
    predictions: Mapping[str, Array],
    class_names: list[str],
    bins: int,
) -> None:
    """Write the points of DVC's charts: ``<chart>/<model>.json`` (.csv for confusion)."""
    for name, probs in predictions.items():
        charts = {
            "roc": roc_points(y_true, probs),
            "precision_recall": precision_recall_points(y_true, probs),
            "reliability": reliability_curve(y_true, probs, bins),
        }
        for chart, points in charts.items():
            write_json(directory / chart / f"{name}.json", points)
        rows = confusion_rows(y_true, probs.argmax(axis=1), class_names)
        write_csv(
            directory / "confusion" / f"{name}.csv",
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
    directory.mkdir(parents=True, exist_ok=True)
    for name, probs in predictions.items():
        figures.render_confusion(
            directory / f"confusion_{name}.png", y_true, probs.argmax(axis=1), class_names, name
        )
    figures.render_roc(directory / "roc.png", y_true, predictions, class_names)
    figures.render_precision_recall(
        directory / "precision_recall.png", y_true, predictions, class_names
    )
    figures.render_reliability(directory / "reliability.png", y_true, predictions, bins)
    figures.render_training(directory / "training.png", histories)


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
