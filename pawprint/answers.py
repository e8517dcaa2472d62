"""What the command line says of a picture, in one line: as text, JSON or CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Ranking = list[tuple[str, float]]  # (class, probability), the likeliest first


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


def rank_classes(probs: np.ndarray, class_names: Sequence[str], top: int) -> Ranking:
    """The likeliest classes of one picture.

    Probabilities keep just the digits that tell them from other float32 numbers.

    Args:
        probs: float32 [classes].
        class_names: of each.
        top: how many are wanted; there may be fewer.

    >>> rank_classes(np.array([0.1, 0.7, 0.2], np.float32), ["cat", "dog", "owl"], 2)
    [('dog', 0.7), ('owl', 0.2)]
    """
    order = np.argsort(-probs, kind="stable")[:top]
    return [(class_names[i], float(str(probs[i]))) for i in order]


def one_line(text: str) -> str:
    r"""A name with its line breaks, and whatever else cannot be printed, as escape sequences.

    >>> one_line("Käfer\n1.jpg")
    'Käfer\\n1.jpg'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def as_text(answer: Answer) -> str:
    """``path: cat 97.3 %, dog 2.7 %``, or ``path: error: reason``."""
    classes = ", ".join(f"{name} {100 * prob:.1f} %" for name, prob in answer.ranking)
    return one_line(f"{answer.path}: {f'error: {answer.error}' if answer.error else classes}")


def as_json(answer: Answer) -> str:
    """``{"path": ..., "classes": [{"class": ..., "probability": ...}, ...]}``, or its error."""
    if answer.error:
        return json.dumps({"path": answer.path, "error": answer.error})
    classes = [{"class": name, "probability": prob} for name, prob in answer.ranking]
    overlay = {"gradcam": answer.overlay} if answer.overlay else {}
    return json.dumps({"path": answer.path, "classes": classes, **overlay})


def csv_header(columns: int) -> str:
    """The header of ``as_csv``.

    Args:
        columns: how many classes a picture gets.
    """
    ranks = (f"{kind}_{i}" for i in range(1, columns + 1) for kind in ("class", "probability"))
    return ",".join(["path", "error", "gradcam", *ranks])


def as_csv(answer: Answer) -> str:
    """A row: path, error, overlay, then class and probability by rank."""
    ranks = [value for pair in answer.ranking for value in pair]
    text = io.StringIO(newline="")
    row = [answer.path, answer.error, answer.overlay, *ranks]
    csv.writer(text, lineterminator="").writerow(one_line(str(value)) for value in row)
    return text.getvalue()


FORMATS: dict[str, Callable[[Answer], str]] = {"text": as_text, "json": as_json, "csv": as_csv}
