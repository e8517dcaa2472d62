"""How figures and tables are written in the report, the same everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pawprint.evaluation.metrics import Interval
from pawprint.storage.tables import printable

NOT_DEFINED = "n/a"
PER_CENT = "\u00a0%"  # stays on the line of its number


@dataclass(frozen=True)
class ShownTable:
    """A table of the page and of the card; the first cell of a row is its heading.

    Attributes:
        caption: what it is.
        header: of the columns.
        rows: texts, as many in each row as there are columns; a line break parts a figure from its
            interval.
        words: columns that hold words, which stand at the left; the first one always does.
        marked: the row that is set off, if any.
    """

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: frozenset[int] = frozenset()
    marked: int | None = None


def make_table(
    caption: str,
    header: Sequence[object],
    rows: Sequence[Sequence[object]],
    words: Sequence[int] = (),
    marked: int | None = None,
) -> ShownTable:
    """A table of any values; names are made printable, numbers get their separators."""
    texts = tuple(tuple(map(cell, row)) for row in rows)
    return ShownTable(caption, tuple(map(cell, header)), texts, frozenset((0, *words)), marked)


def cell(value: object) -> str:
    """A value as it stands in a table; of a tuple, each in a line of its own.

    >>> cell(12000), cell("a\\nb"), cell(("98 %", "97 to 99"))
    ('12,000', 'a\\\\nb', '98 %\\n97 to 99')
    """
    if isinstance(value, tuple):
        return "\n".join(map(cell, value))
    return f"{value:,}" if isinstance(value, int) else printable(str(value))


def percent(share: float, digits: int = 2) -> str:
    """
    >>> percent(0.98765)
    '98.77\\xa0%'
    """
    return f"{100 * share:.{digits}f}{PER_CENT}"


def interval(low: float, high: float) -> str:
    """Of a share, in per cent.

    >>> interval(0.98, 0.995)
    '98.00 to 99.50'
    """
    return f"{100 * low:.2f} to {100 * high:.2f}"


def level(confidence: float) -> str:
    """
    >>> level(0.95)
    '95\\xa0%'
    """
    return f"{100 * confidence:.6g}{PER_CENT}"


def counted(count: int, one: str, more: str) -> str:
    """
    >>> counted(1, "picture", "pictures"), counted(1200, "picture", "pictures")
    ('1 picture', '1,200 pictures')
    """
    return f"{count:,} {one if count == 1 else more}"


def bounds(found: Interval) -> str:
    """An interval of what is no share; it may be missing.

    >>> bounds([0.5, 0.75]), bounds(None)
    ('0.5000 to 0.7500', 'n/a')
    """
    return f"{found[0]:.4f} to {found[1]:.4f}" if found else NOT_DEFINED


def p_value(value: float) -> str:
    """
    >>> p_value(0.03), p_value(0.00001)
    ('0.0300', '< 0.0001')
    """
    return f"{value:.4f}" if value >= 0.0001 else "< 0.0001"
