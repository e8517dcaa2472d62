"""Pictures of scores and of training, as PNG or SVG files: same numbers, same bytes.

``y_true``, ``y_pred``, ``probs`` and ``bins`` are those of metrics.py; a mapping holds one entry
per model, in the order of the legend.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ticker import MaxNLocator, PercentFormatter
from sklearn import metrics as sk

from pawprint.evaluation.curves import precision_recall_points, roc_points
from pawprint.evaluation.drawing import FONT, GREY, MARKS, line_style, save_figure
from pawprint.evaluation.metrics import Array, Row, reliability_curve
from pawprint.registry.models import find_model

LONGEST_NAME = 24
MOST_CELLS_WITH_PERCENT = 12
MOST_CELLS_WITH_NUMBERS = 30
MOST_CLASSES_NAMED = 60


def render_confusion(
    path: Path | str, y_true: Array, y_pred: Array, class_names: list[str], title: str
) -> None:
    """Draw the confusion matrix of one model: rows actual, columns predicted classes.

    The larger its share of its row, the darker a cell. It shows count and share for up to 12
    classes, the count (zeros left out) for up to 30, and colour alone beyond. A name that the
    font cannot write is replaced by the number of its class, as #3.
    """
    size = len(class_names)
    counts = sk.confusion_matrix(y_true, y_pred, labels=np.arange(size))
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    names = [_short(name, i) for i, name in enumerate(class_names)]
    side = _matrix_side_in(size)
    margin = 0.9 + 0.075 * max(len(name) for name in names)

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        # The square root lets single errors show beside a diagonal near 100 %.
        image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=1))
        axes.grid(visible=False)
        for spine in axes.spines.values():
            spine.set_visible(True)
        _name_classes(axes, names)
        axes.set_xlabel("Predicted")
        axes.set_ylabel("Actual")
        right = int(counts.trace())
        axes.set_title(f"{title}: {right:,} of {len(y_true):,} right")
        if size > MOST_CELLS_WITH_PERCENT:
            bar = figure.colorbar(image, ax=axes, shrink=0.6, format=PercentFormatter(1))
            bar.set_label("Share of the actual class")
        if size <= MOST_CELLS_WITH_NUMBERS:
            _write_cells(axes, counts, shares)

    save_figure(path, side + margin, side + min(margin, 2.2), draw)


def _matrix_side_in(size: int) -> float:
    """Side of the matrix itself, in inches."""
    if size <= MOST_CELLS_WITH_PERCENT:
        return max(2.6, 0.6 * size)
    if size <= MOST_CELLS_WITH_NUMBERS:
        return 0.32 * size
    return 9.5


def _write_cells(axes: Axes, counts: Array, shares: Array) -> None:
    full = len(counts) <= MOST_CELLS_WITH_PERCENT
    for (i, j), count in np.ndenumerate(counts):
        if not full and not count:
            continue
        text = f"{count}\n{100 * shares[i, j]:.1f} %" if full and count else str(count)
        colour = "white" if shares[i, j] > 0.35 else "#222222" if count else GREY
        size = 8.5 if full else 7.0
        axes.text(j, i, text, ha="center", va="center", color=colour, fontsize=size)


def _name_classes(axes: Axes, names: list[str]) -> None:
    step = math.ceil(len(names) / MOST_CLASSES_NAMED)
    places = range(0, len(names), step)
    size = 9.5 if len(names) <= MOST_CELLS_WITH_NUMBERS else 7.0
    long = len(names) > 3 and max(len(name) for name in names) > 3
    chosen = [names[i] for i in places]
    axes.set_xticks(places, chosen, rotation=90 if long else 0, fontsize=size)
    axes.set_yticks(places, chosen, fontsize=size)


def _short(name: str, number: int) -> str:
    """A name that fits on an axis, in characters that the font has."""
    font = get_font(findfont(FontProperties(family=FONT)))
    if not name or not all(font.get_char_index(ord(character)) for character in name):
        return f"#{number}"
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def render_roc(
    path: Path | str, y_true: Array, predictions: Mapping[str, Array], class_names: list[str]
) -> None:
    """Draw the ROC curves of all models: whole, and the corner where good ones differ.

    Of two classes, the legend tells the area under each curve: the ROC AUC of the report. Of more,
    the curves are micro-averages (see ``curves.roc_points``), the report's ROC AUC is the mean of
    the classes' areas, and so no other area is shown.
    """
    points = {name: roc_points(y_true, probs) for name, probs in predictions.items()}
    draw_roc(path, points, class_names)


def draw_roc(path: Path | str, points: Mapping[str, list[Row]], class_names: list[str]) -> None:
    """The same from what ``roc_points`` returns for each model."""
    curves, labels = {}, {}
    for name, rows in points.items():
        x, y = curves[name] = _columns(rows)
        if len(class_names) == 2:  # of more, the report has the mean of the classes' areas
            labels[name] = f"{name}, area {np.trapezoid(y, x):.4f}"

    def draw(figure: Figure) -> None:
        whole, corner = _draw_curves(figure, curves, labels, class_names)
        for axes in (whole, corner):
            axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":", label="no skill")
            axes.set_xlabel("False positive rate")
            axes.set_ylabel("True positive rate")
        _square(whole, "ROC curves", 0, 1, 0, 1)
        _square(corner, "Upper left corner", 0, 0.2, 0.8, 1)
        whole.legend(loc="lower right")

    save_figure(path, 9, 4.7, draw)


def render_precision_recall(
    path: Path | str, y_true: Array, predictions: Mapping[str, Array], class_names: list[str]
) -> None:
    """Draw the precision-recall curves of all models: whole, and the upper right corner."""
    curves = {
        name: _columns(precision_recall_points(y_true, probs))
        for name, probs in predictions.items()
    }

    def draw(figure: Figure) -> None:
        whole, corner = _draw_curves(figure, curves, {}, class_names)
        for axes in (whole, corner):
            axes.set_xlabel("Recall")
            axes.set_ylabel("Precision")
        _square(whole, "Precision and recall", 0, 1, 0, 1)
        _square(corner, "Upper right corner", 0.8, 1, 0.8, 1)
        whole.legend(loc="lower left")

    save_figure(path, 9, 4.7, draw)


def _columns(rows: list[Row]) -> tuple[Array, Array]:
    x, y = np.array([list(row.values()) for row in rows]).T
    return x, y


def _draw_curves(
    figure: Figure,
    curves: Mapping[str, tuple[Array, Array]],
    labels: Mapping[str, str],
    class_names: list[str],
) -> tuple[Axes, Axes]:
    """The curves of the models on two axes side by side; their names are the default labels."""
    whole, corner = figure.subplots(1, 2)
    for axes in (whole, corner):
        for i, (name, (x, y)) in enumerate(curves.items()):
            axes.plot(x, y, **model_line(i, name), label=labels.get(name, name))
    figure.suptitle(_convention(class_names), fontsize=9, color=GREY)
    return whole, corner


def _convention(class_names: list[str]) -> str:
    if len(class_names) == 2:
        return f"positive class: {_short(class_names[1], 1)}"
    return f"micro-average of {len(class_names)} classes, each against the rest"


def model_line(i: int, name: str) -> dict[str, Any]:
    """The line of a model: in its own colour, wherever it stands among the others."""
    model = find_model(name)
    return line_style(i) | ({"color": model.colour} if model else {})


def _square(axes: Axes, title: str, left: float, right: float, low: float, high: float) -> None:
    """Limits with a little air, so that a curve along the edge stays visible."""
    air = 0.02 * (right - left)
    axes.set_title(title)
    axes.set_xlim(left - air, right + air)
    axes.set_ylim(low - air, high + air)
    axes.set_box_aspect(1)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_locator(MaxNLocator(5))


def render_reliability(
    path: Path | str, y_true: Array, predictions: Mapping[str, Array], bins: int
) -> None:
    """Draw how often each model is right against how sure it is, and how often it is so sure.

    A mark is one calibration bin, and its area the share of the pictures in it.
    """
    curves = {name: reliability_curve(y_true, probs, bins) for name, probs in predictions.items()}
    draw_reliability(path, curves, bins)


def draw_reliability(path: Path | str, curves: Mapping[str, list[Row]], bins: int) -> None:
    """The same from what ``metrics.reliability_curve`` returns for each model."""

    def draw(figure: Figure) -> None:
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        top.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":", label="calibrated")
        for i, (name, rows) in enumerate(curves.items()):
            line = model_line(i, name)
            x = np.array([row["confidence"] for row in rows])
            y = np.array([row["accuracy"] for row in rows])
            share = np.array([row["count"] for row in rows])
            share = share / share.sum()
            top.plot(x, y, **line, linewidth=1, alpha=0.6)
            mark = MARKS[i % len(MARKS)]
            top.scatter(x, y, s=12 + 250 * share, color=line["color"], marker=mark, alpha=0.6)
            top.plot([], [], **line, marker=mark, label=name)
            edges = np.linspace(0, 1, bins + 1)
            counts = np.zeros(bins)
            for row, part in zip(rows, share, strict=True):
                counts[round(row["low"] * bins)] = part
            bottom.stairs(counts, edges, **line)
        top.set_title("Reliability")
        top.set_ylabel("Accuracy")
        top.set_ylim(-0.02, 1.04)
        top.set_xlim(-0.02, 1.02)
        top.legend(loc="upper left")
        bottom.set_ylabel("Pictures")
        bottom.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        bottom.set_xlabel("Confidence: probability of the predicted class")

    save_figure(path, 5.4, 6.2, draw)


def render_training(
    path: Path | str, histories: Mapping[str, Sequence[Mapping[str, float]]]
) -> None:
    """Draw loss and accuracy over the epochs of every training stage, a column each.

    Args:
        histories: for each stage, in order, one row an epoch: epoch, train_loss, val_loss,
            train_accuracy, val_accuracy, val_log_loss. A value that is not finite leaves a gap.
            The ring is the epoch with the lowest val_log_loss, whose weights the stage keeps.
    """

    def draw(figure: Figure) -> None:
        grid = figure.subplots(2, len(histories), squeeze=False, sharey="row", sharex="col")
        for (loss, accuracy), (stage, rows) in zip(grid.T, histories.items(), strict=True):
            _draw_history(loss, rows, "loss")
            _draw_history(accuracy, rows, "accuracy")
            loss.set_title(stage)
            accuracy.set_xlabel("Epoch")
        grid[0, 0].set_ylabel("Loss")
        grid[1, 0].set_ylabel("Accuracy")
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)

    save_figure(path, max(4.2, 3.1 * len(histories)), 5.4, draw)


def _draw_history(axes: Axes, rows: Sequence[Mapping[str, float]], kind: str) -> None:
    epochs = np.array([row["epoch"] for row in rows])
    for i, (part, label) in enumerate([("train", "training"), ("val", "validation")]):
        values = np.array([row[f"{part}_{kind}"] for row in rows], dtype=float)
        axes.plot(epochs, values, marker=".", **line_style(i), label=label)
    losses = np.array([row["val_log_loss"] for row in rows], dtype=float)
    if np.isfinite(losses).any():
        best = int(np.where(np.isfinite(losses), losses, np.inf).argmin())
        ring: dict[str, Any] = {"markersize": 11, "markerfacecolor": "none", "markeredgewidth": 1.5}
        x, y = epochs[best], rows[best][f"val_{kind}"]
        axes.plot(x, y, "o", color="black", **ring, label="kept epoch")
    axes.set_xlim(epochs.min() - 0.5, epochs.max() + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
