"""A model card as a Markdown file with the header that model hubs read."""

from __future__ import annotations

import re

import yaml

from pawprint.evaluation.markdown import markdown_table
from pawprint.report.card import Card, CardPart
from pawprint.report.shown import ShownTable


def render_card_file(card: Card) -> str:
    """The card as Markdown; the same card is the same text."""
    header = yaml.safe_dump(dict(card.header), sort_keys=False, allow_unicode=True, width=1000)
    parts = [f"---\n{header}---", f"# {escape_markdown(card.title)}"]
    parts += [text for part in card.parts for text in _render_part(part)]
    return "\n\n".join(parts) + "\n"


def _render_part(part: CardPart) -> list[str]:
    lines = [f"## {part.title}", *map(escape_markdown, part.sentences)]
    if part.points:
        lines.append("\n".join(f"- {escape_markdown(point)}" for point in part.points))
    for table in part.tables:
        lines += [f"**{escape_markdown(table.caption)}**", _render_table(table)]
    return lines


def _render_table(table: ShownTable) -> str:
    rows = [[_render_cell(cell) for cell in row] for row in table.rows]
    return markdown_table([escape_markdown(cell) for cell in table.header], rows)


def _render_cell(text: str) -> str:
    value, *below = map(escape_markdown, text.split("\n"))
    return " ".join([value, *(f"({line})" for line in below)])


def escape_markdown(text: str) -> str:
    """A text that stands for itself: no markup of Markdown or HTML. Bars are left to tables.

    >>> escape_markdown("<b> *a_b* [x](y)")
    '&lt;b&gt; \\\\*a\\\\_b\\\\* \\\\[x\\\\](y)'
    """
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]#~])", r"\\\1", text)
