"""What the command line says of a picture, in one line: as text, JSON or CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from pawprint.answers.ranking import Ranking
from pawprint.storage.tables import printable


@dataclass(frozen=True)
class Answer:
    """Either a ranking or an error.

    Attributes:
        path: of the picture, as it was given; ``-`` is standard input.
        ranking: the top classes.
        error: why there is no ranking; empty if there is one.
        overlay: path of the picture's heatmap; empty if none was asked for.
    """

    path: str
    ranking: Ranking
    error: str = ""
    overlay: str = ""


def as_text(answer: Answer) -> str:
    """``path: cat 97.3 %, dog 2.7 %``, or ``path: error: reason``."""
    classes = ", ".join(f"{name} {100 * prob:.1f} %" for name, prob in answer.ranking)
    return printable(f"{answer.path}: {f'error: {answer.error}' if answer.error else classes}")


def as_json(answer: Answer) -> str:
    """``{"path": ..., "classes": [{"class": ..., "probability": ...}, ...]}``, or its error."""
    if answer.error:
        return json.dumps({"path": answer.path, "error": answer.error})
    classes = [{"class": name, "probability": prob} for name, prob in answer.ranking]
    overlay = {"gradcam": answer.overlay} if answer.overlay else {}
    return json.dumps({"path": answer.path, "classes": classes, **overlay})


def csv_header(classes: int) -> str:
    """The header of ``as_csv``.

    Args:
        classes: how many a picture gets.
    """
    ranks = (f"{kind}_{i}" for i in range(1, classes + 1) for kind in ("class", "probability"))
    return ",".join(["path", "error", "gradcam", *ranks])


def as_csv(answer: Answer, classes: int) -> str:
    """A row of as many fields as the header: path, error, overlay, class and probability by rank.

    Args:
        answer: to be written.
        classes: how many a picture gets; of one that could not be read, their fields are empty.
    """
    ranks = [value for pair in answer.ranking for value in pair] or [""] * 2 * classes
    text = io.StringIO(newline="")
    row = [answer.path, answer.error, answer.overlay, *ranks]
    csv.writer(text, lineterminator="").writerow(printable(str(value)) for value in row)
    return text.getvalue()


def choose_renderer(form: str, classes: int) -> Callable[[Answer], str]:
    """The function that makes a line of an answer.

    Args:
        form: text, json or csv.
        classes: how many a picture gets.
    """
    if form == "csv":
        return partial(as_csv, classes=classes)
    return as_json if form == "json" else as_text
