"""Suggested pictures as a sheet: one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from PIL import Image

from pawprint.storage.tables import printable

SUGGESTION_COLUMNS = ("rank", "path", "predicted", "probability")
THUMBNAIL_SIDE_PX = 160
_QUALITY = 80  # of the JPEG
_STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.4 system-ui, sans-serif; margin: 1.5em auto; max-width: 70em; padding: 0 1em }
ol { display: grid; gap: 1em; grid-template-columns: repeat(auto-fill, minmax(9.5em, 1fr));
  list-style: none; padding: 0 }
li { break-inside: avoid; font-size: .9em; overflow-wrap: anywhere }
img { aspect-ratio: 1; display: block; width: 100% }
b { font-weight: 600 }
"""
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


@dataclass(frozen=True)
class Suggestion:
    """A picture worth a label.

    Attributes:
        path: as it was found.
        predicted: the likeliest class.
        probability: of that class.
    """

    path: str
    predicted: str
    probability: float


def render_sheet(
    suggestions: Sequence[Suggestion], images: Sequence[np.ndarray | None], heading: str
) -> str:
    """The page.

    Args:
        suggestions: in their order.
        images: of each, uint8 [size, size, 3]; None: it could not be read again.
        heading: one sentence on what was chosen from what.
    """
    items = [
        f"<li>{_picture(image)}<b>{rank}</b> {_text(one.predicted)} "
        f"{100 * one.probability:.1f} %<br>{_text(one.path)}</li>"
        for rank, (one, image) in enumerate(zip(suggestions, images, strict=True), 1)
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Pictures worth a label</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>Pictures worth a label</h1>\n<p>{_text(heading)}</p>\n<ol>\n"
        + "\n".join(items)
        + "\n</ol>\n</body>\n</html>\n"
    )


def _text(text: str) -> str:
    return escape(printable(text))


def _picture(image: np.ndarray | None) -> str:
    if image is None:
        return ""
    small = io.BytesIO()
    side = (THUMBNAIL_SIDE_PX, THUMBNAIL_SIDE_PX)
    Image.fromarray(image).resize(side).save(small, "JPEG", quality=_QUALITY)
    return (
        f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(small.getvalue()).decode()}">'
    )
