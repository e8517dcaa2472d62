"""How tables and values are written: the same values give the same bytes on every system."""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pawprint.runner.files import atomic_write


def write_json(path: Path, value: Any, indent: int | None = 2) -> None:
    """Writes a value as indented JSON; NaN and infinity, which JSON lacks, are refused."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    with atomic_write(path) as file:
        file.write(f"{text}\n".encode())


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Writes a table with a header line; UTF-8, lines end with \\n on every system."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a table with a header line."""
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def printable(text: str) -> str:
    """A name in one line: control characters, line breaks and lone surrogates as escapes.

    So are the marks that turn the direction of what follows.

    >>> printable("Käfer\\n1 \\u202egpj.exe")
    'Käfer\\\\n1 \\\\u202egpj.exe'
    """
    return "".join(c if _is_shown(c) else c.encode("unicode_escape").decode() for c in text)


def _is_shown(c: str) -> bool:
    joins = c in "\u200c\u200d"  # within letters of some scripts, and within emojis
    return c.isprintable() or unicodedata.category(c) == "Zs" or joins
