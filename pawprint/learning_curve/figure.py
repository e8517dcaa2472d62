"""A learning curve as a picture."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from pawprint.evaluation.drawing import GREY, line_style, save_figure
from pawprint.learning_curve.forecast import Fits
from pawprint.learning_curve.results import Curve, Score

_POINTS = 200


def render_curve(path: Path, curve: Curve) -> None:
    """Draw accuracy and log loss over the number of training pictures, with their laws.

    Marks with bars are the measured sizes with their standard errors. Around a law is the band of
    its intervals; it is dashed where nothing was measured. The file is a PNG, written whole.
    """

    def draw(figure: Figure) -> None:
        for i, (axes, score) in enumerate(
            zip(figure.subplots(1, 2), (curve.accuracy, curve.log_loss), strict=True)
        ):
            _draw_score(axes, curve, score, str(line_style(i)["color"]))
        figure.axes[0].set_title("Accuracy, %")
        figure.axes[1].set_title("Log loss")

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    try:
        save_figure(temporary, 9, 4.2, draw)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _draw_score(axes: Axes, curve: Curve, score: Score, colour: str) -> None:
    sizes, errors = curve.sizes, score.errors
    if score.fits is not None:
        _draw_laws(axes, curve, score, score.fits, colour)
    scale = 100 if score.name == "accuracy" else 1
    axes.errorbar(
        sizes,
        _shown(score, errors.values),
        yerr=scale * errors.errors,
        color="black",
        fmt="o",
        markersize=4,
        linewidth=1.2,
        capsize=3,
        label="measured, ± standard error",
    )
    axes.axvline(float(sizes[-1]), color=GREY, linewidth=0.8, linestyle=":")
    axes.set_xscale("log")
    axes.set_xticks(sizes, labels=[f"{size:,}" for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="x", labelrotation=30)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("Training pictures")
    axes.legend(loc="lower right" if score.name == "accuracy" else "upper right")


def _draw_laws(axes: Axes, curve: Curve, score: Score, fits: Fits, colour: str) -> None:
    """The widest law where there are measurements, the mean of all beyond, and their bands."""
    last = int(curve.sizes[-1])
    inside = np.geomspace(curve.sizes[fits.widest.first], last, _POINTS)
    beyond = np.geomspace(last, last + curve.more, _POINTS)
    tails = [(1 - curve.confidence) / 2, (1 + curve.confidence) / 2]
    for x, draws in (
        (inside, fits.widest.draws.at(inside)),
        (beyond, fits.draws_at(beyond)),
    ):
        band = _shown(score, np.quantile(draws, tails, axis=0))
        label = f"{100 * curve.confidence:g} % of the laws" if x is inside else None
        axes.fill_between(x, *band, color=colour, alpha=0.15, linewidth=0, label=label)
    law = _shown(score, fits.widest.law.at(inside)[0])
    axes.plot(inside, law, color=colour, label="power law")
    axes.plot(beyond, _shown(score, fits.at(beyond)), color=colour, linestyle=":", label="foretold")


def _shown(score: Score, errors: np.ndarray) -> np.ndarray:
    """Errors as they are drawn: the share of wrong pictures as accuracy in percent."""
    return 100 * (1 - errors) if score.name == "accuracy" else errors
