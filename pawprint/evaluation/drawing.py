"""What all charts share: colours, lines, and how a figure becomes a PNG; same numbers, same bytes.

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
    """Draw on a new figure and write it as PNG, without pyplot's global state."""
    with matplotlib.rc_context(_settings()):
        figure = Figure(figsize=(width_in, height_in), layout="constrained")
        draw(figure)
        # The Software entry names matplotlib's version: other bytes for the same picture.
        figure.savefig(path, format="png", metadata={"Software": None}, bbox_inches="tight")


def _settings() -> Any:
    """matplotlib's own defaults, whatever a matplotlibrc says, then the house style."""
    defaults = {key: v for key, v in matplotlib.rcParamsDefault.items() if key != "backend"}
    return {**defaults, **STYLE}


def line_style(i: int) -> dict[str, Any]:
    return {"color": COLOURS[i % len(COLOURS)], "linestyle": LINES[i % len(LINES)]}
