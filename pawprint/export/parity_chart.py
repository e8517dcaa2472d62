"""How far exported models are from Keras, and how large they are, as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from pawprint.evaluation.drawing import COLOURS, GREY, MARKS, line_style, save_figure
from pawprint.evaluation.metrics import Array


def render_parity(
    path: Path | str,
    differences: Mapping[str, Array],
    sizes_bytes: Mapping[str, int],
    tolerance: float,
) -> None:
    """Draw how far exported models are from Keras, picture by picture, and how large they are.

    Args:
        path: of the PNG.
        differences: format → each picture's largest difference of a probability, float64 [n].
            They are counted by powers of ten: their last digits are noise of the arithmetic.
        sizes_bytes: format → size.
        tolerance: the largest difference that is allowed.
    """
    bounds = 10.0 ** np.arange(-9, 1)

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2, width_ratios=[3, 2])
        for i, (name, values) in enumerate(differences.items()):
            shares = [float((values <= bound).mean()) for bound in bounds]
            mark = MARKS[i % len(MARKS)]
            left.plot(bounds, shares, **line_style(i), marker=mark, alpha=0.8, label=name)
        left.axvline(tolerance, color=GREY, linewidth=1, linestyle=":", label="export.tolerance")
        left.set_xscale("log")
        left.minorticks_off()
        left.set_xticks(bounds[::2], [f"{bound:.0e}" for bound in bounds[::2]])
        left.set_ylim(-0.02, 1.04)
        left.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        left.set_title("Exported models beside Keras")
        left.set_xlabel("Largest difference of a probability, at most")
        left.set_ylabel("Test pictures")
        left.legend(loc="center left")
        sizes = [size / 1e6 for size in sizes_bytes.values()]
        bars = right.barh(list(sizes_bytes), sizes, color=COLOURS[0])
        right.bar_label(bars, fmt="%.1f", padding=3)
        right.invert_yaxis()
        right.margins(x=0.18)
        right.set_title("Size")
        right.set_xlabel("MB")

    save_figure(path, 9, 3.9, draw)
