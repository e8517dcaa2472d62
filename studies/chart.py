"""A study as a picture: accuracy and log loss of each row, with intervals and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pawprint.evaluation.drawing import COLOURS, GREY, save_figure
from studies.report import Report
from studies.scores import Score

_WIDTH_IN, _ROW_IN, _REST_IN = 9.0, 0.34, 1.5


def render_chart(path: Path, report: Report) -> None:
    """Draw the rows, the first one on top; the file is a PNG. The same report, the same bytes."""
    names = [row.row.name for row in report.rows]
    panels = {
        "Accuracy, %": ([row.judged.accuracy for row in report.rows], 100),
        "Log loss": ([row.judged.log_loss for row in report.rows], 1),
    }

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2, sharey=True)
        for axes, (title, (scores, scale)) in zip((left, right), panels.items(), strict=True):
            _draw_scores(axes, scores, scale)
            axes.set_title(title)
        left.set_yticks(range(len(names)), names)
        left.set_ylim(len(names) - 0.5, -0.5)
        level = f"{100 * report.confidence:g} %"
        each = "; circles: seeds" if len(report.study.seeds) > 1 else ""
        figure.supxlabel(
            f"{report.data}, {report.judgement.pictures:,} tested; bars: {level} intervals over "
            f"pictures{each}; dashed: the first row",
            fontsize=9,
        )

    save_figure(path, _WIDTH_IN, _ROW_IN * len(names) + _REST_IN, draw)


def _draw_scores(axes: Axes, scores: Sequence[Score], scale: float) -> None:
    axes.axvline(scale * scores[0].mean, color=GREY, linewidth=0.9, linestyle="--")
    for place, score in enumerate(scores):
        low, high = (scale * end for end in score.interval)
        axes.plot([low, high], [place, place], color=COLOURS[0], linewidth=2.2, alpha=0.5)
        axes.plot([scale * score.mean], [place], "|", color="black", markersize=10)
        axes.plot(
            [scale * each for each in score.seeds],
            [place] * len(score.seeds),
            "o",
            color=COLOURS[0],
            markerfacecolor="white",
            markersize=4,
        )
