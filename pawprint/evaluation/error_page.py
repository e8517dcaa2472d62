"""The worst errors of each model with their pictures: one HTML file that needs nothing else."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape

from pawprint.evaluation.predictions import Prediction, Predictions
from pawprint.evaluation.selection import worst_pictures
from pawprint.registry.models import find_model
from pawprint.storage.tables import printable

_STYLE = """
body { font: 16px/1.4 system-ui, sans-serif; margin: 1.5em auto; max-width: 64em; padding: 0 1em }
table { border-collapse: collapse; width: 100% }
th, td { border-bottom: 1px solid #ccc; padding: .5em; text-align: left; vertical-align: top }
td { overflow-wrap: anywhere }
img { display: block; height: auto; max-width: 100% }
"""
# A name that looks like markup could load nothing, even if it were not escaped
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def render_error_page(
    predictions: Predictions, overlays: Mapping[str, Mapping[str, bytes]], tta: int
) -> str:
    """The page, as HTML; the same arguments are the same text.

    Args:
        predictions: of all test pictures.
        overlays: model → path → PNG of a wrong picture beside its heatmap; shown are these, in the
            order of ``worst_pictures``.
        tta: 2: the predictions are means with the mirror image, which the heatmaps are not.
    """
    means = (
        ", each the mean of that for the picture and that for its mirror image; the heatmap is of "
        "the picture alone"
    )
    sections = [_section(name, predictions[name], shown) for name, shown in overlays.items()]
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width">',
            "<title>Wrong pictures</title>",
            f"<style>{_STYLE}</style>",
            "<h1>Wrong pictures</h1>",
            "<p>Test pictures that a model took for another class, the most surely wrong first. "
            "Beside each is the same picture under its heatmap: where the evidence lies for the "
            "class that it was taken for. The numbers are the model's probabilities"
            f"{means if tta == 2 else ''}. "
            "Shown are the worst of each model, as many as <code>gradcam.worst</code> in "
            "<code>params.yaml</code> says, and those of the fixed pictures that are wrong. "
            "<code>metrics/evaluate/report.md</code> lists more, and "
            "<code>metrics/evaluate/predictions.csv</code> has all.</p>",
            *sections,
            "</html>\n",
        ]
    )


def _section(name: str, said: Mapping[str, Prediction], shown: Mapping[str, bytes]) -> str:
    model = find_model(name)
    title = f"{name}: {model.title}" if model else name
    wrong = sum(not one.correct for one in said.values())
    count = f"{wrong:,} of {len(said):,} test pictures {'is' if wrong == 1 else 'are'} wrong"
    lines = [f"<h2>{escape(title)}</h2>", f"<p>{count}; {len(shown):,} shown.</p>"]
    if shown:
        header = ("Picture", "Beside its heatmap", "Taken for", "Actual")
        cells = "".join(f"<th>{cell}</th>" for cell in header)
        lines += [f"<table><tr>{cells}</tr>"]
        ordered = [one for one in worst_pictures(said.values(), wrong) if one.path in shown]
        lines += [_row(one, shown[one.path]) for one in ordered]
        lines += ["</table>"]
    return "\n".join(lines)


def _row(one: Prediction, overlay: bytes) -> str:
    path, taken, actual = (escape(printable(t)) for t in (one.path, one.predicted, one.actual))
    picture = base64.b64encode(overlay).decode()
    cells = (
        path,
        f'<img src="data:image/png;base64,{picture}" alt="{path}, and its heatmap">',
        f"{taken}, {one.probability:.4f}",
        f"{actual}, {one.actual_probability:.4f}",
    )
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
