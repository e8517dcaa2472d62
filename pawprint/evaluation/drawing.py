"""What all charts share: colours, lines, and how a figure becomes a file; same numbers, same bytes.

Nothing outside the arguments, such as a user's matplotlibrc, has a say in what is drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart with any colour vision; the line style says it again. Those
# of models stand in their table.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
LINES = ["-", "--", "-.", ":"]
MARKS = ["o", "s", "^", "D"]
GREY = "#777777"
FONT = "DejaVu Sans"
STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 11,
    "figure.dpi": 110,
    "figure.titlesize": 12,
    "font.family": FONT,
    "font.size": 9.5,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    # Class and stage names may hold dollar signs; they are no formulas.
    "text.parse_math": False,
    "text.usetex": False,
}


def save_figure(
    path: Path | str, width_in: float, height_in: float, draw: Callable[..., None]
) -> None:
    """Draw on a new figure and write it, without pyplot's global state.

    Args:
        path: of a PNG; with the suffix .svg, of an SVG whose texts are texts, without a background.
        width_in, height_in: of the figure, in inches, before margins are cut.
        draw: on the figure that it is given.
    """
    kind = "svg" if Path(path).suffix == ".svg" else "png"
    with matplotlib.rc_context(_settings() | (_svg_settings(Path(path)) if kind == "svg" else {})):
        figure = Figure(figsize=(width_in, height_in), layout="constrained")
        draw(figure)
        figure.savefig(path, format=kind, metadata=_NAMELESS[kind], bbox_inches="tight")


# What names matplotlib's version or the date makes other bytes of the same picture
_NAMELESS: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "svg": {"Creator": None, "Date": None},
}


def _settings() -> Any:
    """matplotlib's own defaults, whatever a matplotlibrc says, then the house style."""
    defaults = {key: v for key, v in matplotlib.rcParamsDefault.items() if key != "backend"}
    return {**defaults, **STYLE}


def _svg_settings(path: Path) -> dict[str, Any]:
    no_paper = {"axes.facecolor": "none", "figure.facecolor": "none"}
    return {"svg.fonttype": "none", "svg.hashsalt": path.name, **no_paper}


def line_style(i: int) -> dict[str, Any]:
    return {"color": COLOURS[i % len(COLOURS)], "linestyle": LINES[i % len(LINES)]}
