"""What the command line says of a picture, in one line: as text, JSON or CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from pawprint.answers.ranking import Ranking
from pawprint.answers.unlikeness import Unlike
from pawprint.storage.tables import printable


@dataclass(frozen=True)
class Answer:
    """Either a ranking or an error.

    Attributes:
        path: of the picture, as it was given; ``-`` is standard input.
        ranking: the top classes.
        error: why there is no ranking; empty if there is one.
        overlay: path of the picture's heatmap; empty if none was asked for.
        unlikeness: whether it is unlike the training pictures; None where the model does not tell.
    """

    path: str
    ranking: Ranking
    error: str = ""
    overlay: str = ""
    unlikeness: Unlike | None = None


def as_text(answer: Answer) -> str:
    """``path: cat 97.3 %, dog 2.7 %``, or ``path: error: reason``.

    With ``; unlike the training pictures (1.8)`` behind the classes of a picture that is so.
    """
    classes = ", ".join(f"{name} {100 * prob:.1f} %" for name, prob in answer.ranking)
    if answer.unlikeness and answer.unlikeness.unlike:
        classes += f"; {answer.unlikeness}"
    return printable(f"{answer.path}: {f'error: {answer.error}' if answer.error else classes}")


def as_json(answer: Answer) -> str:
    """``{"path": ..., "classes": [{"class": ..., "probability": ...}, ...]}``, or its error.

    With ``"unlikeness": 1.8, "unlike": true`` of a model that tells it.
    """
    if answer.error:
        return json.dumps({"path": answer.path, "error": answer.error})
    classes = [{"class": name, "probability": prob} for name, prob in answer.ranking]
    overlay = {"gradcam": answer.overlay} if answer.overlay else {}
    told = answer.unlikeness
    unlike = {"unlikeness": told.ratio, "unlike": told.unlike} if told else {}
    return json.dumps({"path": answer.path, "classes": classes, **unlike, **overlay})


def csv_header(classes: int, tells_unlikeness: bool) -> str:
    """The header of ``as_csv``.

    Args:
        classes: how many a picture gets.
        tells_unlikeness: whether the model does.
    """
    ranks = [f"{kind}_{i}" for i in range(1, classes + 1) for kind in ("class", "probability")]
    ranks += ["unlikeness", "unlike"] if tells_unlikeness else []
    return ",".join(["path", "error", "gradcam", *ranks])


def as_csv(answer: Answer, classes: int, tells_unlikeness: bool) -> str:
    """A row of as many fields as the header: path, error, overlay, class and probability by rank.

    And at the end the unlikeness, with true or false, of a model that tells it.

    Args:
        answer: to be written.
        classes: how many a picture gets; of one that could not be read, their fields are empty.
        tells_unlikeness: whether the model does.
    """
    told, ranks = answer.unlikeness, [str(value) for pair in answer.ranking for value in pair]
    ranks = ranks or [""] * 2 * classes
    if tells_unlikeness:
        ranks += [str(told.ratio), str(told.unlike).lower()] if told else ["", ""]
    text = io.StringIO(newline="")
    row = [answer.path, answer.error, answer.overlay, *ranks]
    csv.writer(text, lineterminator="").writerow(printable(value) for value in row)
    return text.getvalue()


def choose_renderer(form: str, classes: int, tells_unlikeness: bool) -> Callable[[Answer], str]:
    """The function that makes a line of an answer.

    Args:
        form: text, json or csv.
        classes: how many a picture gets.
        tells_unlikeness: whether the model does.
    """
    if form == "csv":
        return partial(as_csv, classes=classes, tells_unlikeness=tells_unlikeness)
    return as_json if form == "json" else as_text
