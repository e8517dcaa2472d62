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
        decision: ``decided`` or ``ask a person``; empty if that was not asked for.
    """

    path: str
    ranking: Ranking
    error: str = ""
    overlay: str = ""
    unlikeness: Unlike | None = None
    decision: str = ""


@dataclass(frozen=True)
class Columns:
    """What a row of CSV has.

    Attributes:
        classes: how many a picture gets.
        unlikeness: whether the model tells it.
        decision: whether it was asked for.
    """

    classes: int
    unlikeness: bool
    decision: bool


def as_text(answer: Answer) -> str:
    """``path: cat 97.3 %, dog 2.7 %``, or ``path: error: reason``.

    With ``; unlike the training pictures (1.8)`` behind the classes of a picture that is so, and
    ``; decided`` or ``; ask a person`` where that was asked for.
    """
    classes = ", ".join(f"{name} {100 * prob:.1f} %" for name, prob in answer.ranking)
    if answer.unlikeness and answer.unlikeness.unlike:
        classes += f"; {answer.unlikeness}"
    if answer.decision:
        classes += f"; {answer.decision}"
    return printable(f"{answer.path}: {f'error: {answer.error}' if answer.error else classes}")


def as_json(answer: Answer) -> str:
    """``{"path": ..., "classes": [{"class": ..., "probability": ...}, ...]}``, or its error.

    With ``"unlikeness": 1.8, "unlike": true`` of a model that tells it, and ``"decision": ...``.
    """
    if answer.error:
        return json.dumps({"path": answer.path, "error": answer.error})
    classes = [{"class": name, "probability": prob} for name, prob in answer.ranking]
    overlay = {"gradcam": answer.overlay} if answer.overlay else {}
    told = answer.unlikeness
    unlike = {"unlikeness": told.ratio, "unlike": told.unlike} if told else {}
    decision = {"decision": answer.decision} if answer.decision else {}
    return json.dumps({"path": answer.path, "classes": classes, **unlike, **decision, **overlay})


def csv_header(columns: Columns) -> str:
    """The header of ``as_csv``."""
    places = range(1, columns.classes + 1)
    names = [f"{kind}_{i}" for i in places for kind in ("class", "probability")]
    names += ["unlikeness", "unlike"] if columns.unlikeness else []
    names += ["decision"] if columns.decision else []
    return ",".join(["path", "error", "gradcam", *names])


def as_csv(answer: Answer, columns: Columns) -> str:
    """A row of as many fields as the header: path, error, overlay, class and probability by rank.

    And at the end the unlikeness, with true or false, of a model that tells it, and the decision.
    Of a picture that could not be read, these fields are empty.
    """
    told, fields = answer.unlikeness, [str(value) for pair in answer.ranking for value in pair]
    fields = fields or [""] * 2 * columns.classes
    if columns.unlikeness:
        fields += [str(told.ratio), str(told.unlike).lower()] if told else ["", ""]
    if columns.decision:
        fields.append(answer.decision)
    text = io.StringIO(newline="")
    row = [answer.path, answer.error, answer.overlay, *fields]
    csv.writer(text, lineterminator="").writerow(printable(value) for value in row)
    return text.getvalue()


def choose_renderer(form: str, columns: Columns) -> Callable[[Answer], str]:
    """The function that makes a line of an answer.

    Args:
        form: text, json or csv.
        columns: of CSV.
    """
    if form == "csv":
        return partial(as_csv, columns=columns)
    return as_json if form == "json" else as_text
