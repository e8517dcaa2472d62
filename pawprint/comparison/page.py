"""A comparison with the pictures that changed sides: one HTML file that needs nothing else."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape

from pawprint.comparison.differences import Comparison, Difference, Side
from pawprint.comparison.revisions import Revision
from pawprint.comparison.words import (
    Rows,
    accuracy_rows,
    counts_of,
    log_loss_rows,
    notes,
    pictures_of,
    remarks_of,
    side_words,
    title,
    verdict,
    what_differs,
)
from pawprint.data.manifest import Picture
from pawprint.registry.models import find_model
from pawprint.storage.tables import printable

MOST_SHOWN = 40  # pictures of a model, each way

_STYLE = """
:root { color-scheme: light dark; --line: #ccc; --mild: #555; --bad: #b3261e; --good: #1b6e3a }
@media (prefers-color-scheme: dark) {
  :root { --line: #444; --mild: #aaa; --bad: #ff8a80; --good: #7bd99a }
}
body { font: 16px/1.45 system-ui, sans-serif; margin: 1.5em auto; max-width: 64em; padding: 0 1em }
h1, h2, h3, p, li { overflow-wrap: anywhere }
h2 { border-top: 1px solid var(--line); margin-top: 2em; padding-top: 1em }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 1em 0 }
th, td { border-bottom: 1px solid var(--line); padding: .35em .6em; text-align: right;
  white-space: nowrap }
th:first-child, td:first-child { padding-left: 0; text-align: left }
.remark { border-left: .3em solid var(--bad); padding-left: .7em }
.mild { color: var(--mild); font-size: .9em }
.bad { color: var(--bad) }
.good { color: var(--good) }
.sides { display: grid; gap: 1em; grid-template-columns: repeat(auto-fill, minmax(9.5em, 1fr));
  list-style: none; padding: 0 }
.sides li { font-size: .9em }
.sides img, .sides .none { aspect-ratio: 1; box-sizing: border-box; display: block; width: 100% }
.sides .none { border: 1px dashed var(--line); color: var(--mild); padding: .7em }
"""
_READING = (
    "The pictures that changed sides alone tell the accuracies of two models apart. "
    "The pictures are squeezed into squares, as the models see them; first is the one that the "
    "wrong side was surest of. The numbers beside classes are probabilities."
)
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def shown_sides(found: Difference) -> list[Side]:
    """The pictures of a model that the page shows, in its order."""
    broken = [side for side in found.sides if not side.mended]
    mended = [side for side in found.sides if side.mended]
    return broken[:MOST_SHOWN] + mended[:MOST_SHOWN]


def render_page(
    base: Revision,
    comparisons: Sequence[Comparison],
    confidence: float,
    thumbnails: Mapping[str, bytes],
) -> str:
    """The page, as HTML; the same arguments are the same text.

    Args:
        base: the revision that the others are compared with.
        comparisons: one for each of them.
        confidence: of the intervals.
        thumbnails: sha256 → JPEG; of a picture that is not among them, the page says so.
    """
    names = ", ".join(one.revision.name for one in comparisons)
    heading = escape(printable(f"{names} against {base.name}"))
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{heading}</title>",
        f"<style>{_STYLE}</style>",
        f"<h1>{heading}</h1>",
    ]
    lines += [f'<p class="remark">{escape(text)}</p>' for text in remarks_of(base, comparisons)]
    for one in comparisons:
        lines += _section(base, one, confidence, thumbnails)
    reading = escape(" ".join([_READING, *notes(comparisons, confidence)]))
    lines.append(f'<h2>How to read this</h2>\n<p class="mild">{reading}</p>')
    return "\n".join([*lines, "</html>\n"])


def _section(
    base: Revision,
    one: Comparison,
    confidence: float,
    thumbnails: Mapping[str, bytes],
) -> list[str]:
    lines = [f"<h2>{escape(title(base, one))}</h2>"]
    lines += [f"<p>{escape(line)}</p>" for line in pictures_of(base, one)]
    lines += ["<p>What differs:</p>", "<ul>"]
    lines += [f"<li>{escape(line)}</li>" for line in what_differs(one)]
    lines += ["</ul>", "<p>What that did:</p>", "<ul>"]
    for name, found in one.models.items():
        lines.append(f"<li><b>{escape(name)}</b>: {escape(verdict(found, confidence))}</li>")
    lines += ["</ul>"]
    lines += [_table(accuracy_rows(base, one)), _table(log_loss_rows(base, one))]
    pictures = {**base.pictures, **one.revision.pictures}
    for name, found in one.models.items():
        lines += _sides(name, found, pictures, thumbnails)
    if not any(found.sides for found in one.models.values()):
        lines.append("<p>No picture changed sides.</p>")
    return lines


def _table(rows: Rows) -> str:
    header, body = rows
    lines = ["".join(f"<th>{escape(cell)}</th>" for cell in header)]
    lines += ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in body]
    return (
        '<div class="wide" tabindex="0"><table>'
        + "".join(f"<tr>{x}</tr>" for x in lines)
        + "</table></div>"
    )


def _sides(
    name: str, found: Difference, pictures: Mapping[str, Picture], thumbnails: Mapping[str, bytes]
) -> list[str]:
    if not found.sides:
        return []
    model = find_model(name)
    heading = f"{name}: {model.title}" if model else name
    lines = [f"<h3>{escape(heading)}</h3>", f"<p>{escape(counts_of(found))}</p>"]
    shown = shown_sides(found)
    if len(shown) < len(found.sides):
        lines.append(f"<p>{len(shown)} of them are shown; --json has all.</p>")
    cells = (_cell(side, pictures.get(side.after.path), thumbnails) for side in shown)
    return [*lines, '<ul class="sides">', *cells, "</ul>"]


def _cell(side: Side, picture: Picture | None, thumbnails: Mapping[str, bytes]) -> str:
    path = escape(printable(side.after.path))
    small = thumbnails.get(picture.sha256) if picture else None
    if small is None:
        image = '<div class="none">its picture is neither in the workspace nor in the cache</div>'
    else:
        data = base64.b64encode(small).decode()
        image = f'<img src="data:image/jpeg;base64,{data}" alt="{path}">'
    kind, label = ("good", "wrong → right") if side.mended else ("bad", "right → wrong")
    words = escape(side_words(side))
    name = f'<span class="mild">{path}</span>'
    return f'<li>{image}<b class="{kind}">{label}</b><br>{words}<br>{name}</li>'
