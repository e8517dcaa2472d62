"""The charts of the page: those of ``plots/figures/`` as SVG, in the colours of the page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from pawprint.deciding.coverage import coverage_curve
from pawprint.evaluation import figures
from pawprint.evaluation.drawing import save_figure
from pawprint.evaluation.predictions import Predictions, sure_and_right
from pawprint.report.run import Judged
from pawprint.storage.tables import printable

# What is drawn for white paper stands on that of the page, which may be dark. Grey suits both.
_COLOURS = {"#000000": "currentColor", "#dddddd": "var(--line)"}
_SCALE = 1.4  # pixels of the page for a point of the figure: its texts are as large as a caption
_FEWEST_POINTS = 0.02  # of the pictures: one error among fewer is no accuracy to be drawn


def draw_charts(
    judged: Judged, class_names: list[str], bins: int, accepted: Sequence[tuple[float, float]]
) -> dict[str, str]:
    """Name → SVG, to stand in a page: training, roc, reliability, coverage, confusion.

    Args:
        judged: the run.
        class_names: a class's place is its label.
        bins: of the calibration, as evaluation had them.
        accepted: the curve of coverage of the best model, of what it does not call unlike.
    """
    models = judged.details["models"]
    said = judged.predictions[judged.best]
    places = {name: place for place, name in enumerate(class_names)}
    y_true = np.array([places[one.actual] for one in said.values()], np.int64)
    y_pred = np.array([places[one.predicted] for one in said.values()], np.int64)
    shown = list(map(printable, class_names))
    curves = {name: model["reliability"] for name, model in models.items()}
    with TemporaryDirectory() as folder:
        out = Path(folder)
        if judged.histories:
            figures.render_training(out / "training.svg", judged.histories)
        figures.draw_roc(out / "roc.svg", judged.roc, shown)
        figures.draw_reliability(out / "reliability.svg", curves, bins)
        figures.render_confusion(out / "confusion.svg", y_true, y_pred, shown, judged.best)
        render_coverage(out / "coverage.svg", judged.predictions, judged.best, accepted)
        drawn = sorted(out.iterdir())
        return {path.stem: place_in_page(path.read_text("utf-8"), path.stem) for path in drawn}


def render_coverage(
    path: Path | str, predictions: Predictions, best: str, accepted: Sequence[tuple[float, float]]
) -> None:
    """Draw how often each model is right on the pictures of which it is surest.

    And the best one on those that it does not call unlike its training pictures, where that is
    another curve: it ends where only unlike pictures are left.
    """

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for i, (name, said) in enumerate(predictions.items()):
            x, y = np.array(coverage_curve(*sure_and_right(said.values()))).T
            shown = x >= min(_FEWEST_POINTS, x[-1])
            line = figures.model_line(i, name)
            axes.plot(x[shown], y[shown], **line, label=name)
            if name == best and accepted and accepted[-1][0] < 1:
                x, y = np.array(accepted).T
                shown = x >= min(_FEWEST_POINTS, x[-1])
                line |= {"linestyle": ":"}
                axes.plot(x[shown], y[shown], **line, label=f"{name}, without unlike ones")
        axes.set_title("Coverage and accuracy")
        axes.set_xlabel("Share of the pictures that the model decides, the surest first")
        axes.set_ylabel("Accuracy on these")
        axes.set_xlim(-0.02, 1.02)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.legend(loc="lower left")

    save_figure(path, 5.4, 4.2, draw)


def place_in_page(svg: str, name: str) -> str:
    """An SVG file as a part of a page: no prologue, no ids that another chart has too, no style.

    Its style sheet would be that of the whole page, which has it for charts alone.

    Args:
        svg: as matplotlib writes it.
        name: of the chart; stands before each id that is referred to. Other ids go.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<(metadata|style)\b.*?</\1>\s*", "", svg, flags=re.DOTALL)
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", svg)
    svg = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r"(?<=[:\s])#[0-9a-f]{6}(?=[;\"])", lambda m: _COLOURS.get(m[0], m[0]), svg)
    svg = re.sub(r"font: [^;\"]*?(\d+(?:\.\d+)?px)[^;\"]*", r"font-size: \1", svg)
    width = re.search(r'viewBox="0 0 ([\d.]+) [\d.]+"', svg)
    assert width is not None
    largest = f"max-width: {_SCALE * float(width[1]):.0f}px"
    frame = f'<svg {width[0]} style="{largest}" aria-hidden="true">'
    return re.sub(r"<svg [^>]*>", frame, svg, count=1)
