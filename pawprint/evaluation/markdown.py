"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def markdown_table(
    header: Sequence[object], rows: Iterable[Sequence[object]], *, aligned: bool = False
) -> str:
    """A table in Markdown, without a line break at its end.

    Args:
        header: of the columns.
        rows: of values; line breaks in them become spaces.
        aligned: pad the cells, so that the table reads well as plain text: the first column to the
            left, the others to the right.

    >>> print(markdown_table(["name", "n"], [["a|b", 1]]))
    | name | n |
    | --- | --- |
    | a\\|b | 1 |
    """
    table = [[_cell(value) for value in row] for row in (header, *rows)]
    rule = ["---"] * len(header)
    if aligned:
        widths = [max(3, *(len(row[i]) for row in table)) for i in range(len(header))]
        table = [[row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in table]
        rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(f"| {' | '.join(line)} |" for line in (table[0], rule, *table[1:]))


def _cell(value: object) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")
