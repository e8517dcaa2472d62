"""A picture of a search: which key matters, and where the good values lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from pawprint.evaluation.drawing import COLOURS, GREY, save_figure
from pawprint.search.ranges import NumberRange, Searched
from pawprint.search.study import Trial
from pawprint.search.summary import rank

_COLUMNS = 3
_WIDTH_IN, _BARS_IN, _ROW_IN = 9.0, 0.32, 2.6


def render_search(
    path: Path,
    trials: Sequence[Trial],
    ranges: Sequence[Searched],
    importances: Mapping[str, float],
) -> None:
    """Draw the importance of each key, and the log loss of each trial by each key.

    The best trial is filled, that of params.yaml crossed. The same trials give the same bytes.

    Args:
        path: of the PNG.
        trials: at least one has a score.
        ranges: what was searched.
        importances: by the keys; empty: they are not known.
    """
    rows = -(-len(ranges) // _COLUMNS)
    bars_in = 0.9 + _BARS_IN * len(ranges) if importances else 0.0

    def draw(figure: Figure) -> None:
        heights = ([bars_in] if importances else []) + [_ROW_IN] * rows
        grid = figure.add_gridspec(len(heights), _COLUMNS, height_ratios=heights)
        if importances:
            _draw_importances(figure.add_subplot(grid[0, :]), importances)
        first: Axes | None = None
        for place, searched in enumerate(ranges):
            row = place // _COLUMNS + bool(importances)
            axes = figure.add_subplot(grid[row, place % _COLUMNS], sharey=first)
            first = first or axes
            _draw_values(axes, trials, searched)
            if place % _COLUMNS == 0:
                axes.set_ylabel("Log loss")

    save_figure(path, _WIDTH_IN, bars_in + _ROW_IN * rows, draw)


def _draw_importances(axes: Axes, importances: Mapping[str, float]) -> None:
    ordered = sorted(importances.items(), key=lambda item: item[1])
    axes.barh([key for key, _ in ordered], [share for _, share in ordered], color=COLOURS[0])
    axes.set_xlim(0, 1)
    axes.set_title("Importance: share in how the logarithm of the log loss varies")
    axes.grid(visible=False, axis="y")


def _draw_values(axes: Axes, trials: Sequence[Trial], searched: Searched) -> None:
    ranked = rank(trials)
    best = ranked[0]
    places = [_place(searched, trial.values[searched.key]) for trial in ranked]
    losses = [trial.loss or 0.0 for trial in ranked]
    axes.plot(places, losses, "o", color=COLOURS[0], markerfacecolor="none", markersize=5)
    axes.plot(places[:1], losses[:1], "o", color=COLOURS[1], markersize=7)
    for place, trial in zip(places, ranked, strict=True):
        if trial.number == 0 and trial is not best:
            axes.plot([place], [trial.loss or 0.0], "x", color=GREY, markersize=8)
    axes.set_yscale("log")
    _name_powers(axes.yaxis, (1.0, 2.0, 5.0))
    axes.set_xlabel(searched.key)
    if isinstance(searched, NumberRange) and searched.log:
        axes.set_xscale("log")
        _name_powers(axes.xaxis, (1.0,))
    elif not isinstance(searched, NumberRange):
        others = sorted({p for p in places if p == len(searched.texts)})
        names = [*searched.texts, *("other" for _ in others)]
        axes.set_xticks(range(len(names)), names)
        axes.set_xlim(-0.5, len(names) - 0.5)


def _name_powers(axis: Axis, factors: tuple[float, ...]) -> None:
    """Marks at powers of ten times these factors, with plain numbers."""
    axis.set_major_locator(LogLocator(subs=factors))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def _place(searched: Searched, value: Any) -> float:
    if isinstance(searched, NumberRange):
        return float(value)
    text = searched.suggest(value)
    return len(searched.texts) if text is None else searched.texts.index(str(text))
