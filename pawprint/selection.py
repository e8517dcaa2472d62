"""Which test pictures are worth a look, chosen the same way every time."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence


def fixed_rows(rows: Sequence[Mapping[str, str]], count: int) -> list[int]:
    """Choose pictures by their names alone, one of each class in turn.

    Args:
        rows: of ``metrics/evaluate/predictions.csv``.
        count: how many, at most.

    Returns:
        Places in ``rows``: always the same pictures, however often a model is trained.
    """
    by_class: dict[str, list[int]] = defaultdict(list)
    for i in sorted(range(len(rows)), key=lambda i: _name_hash(rows[i]["path"])):
        by_class[rows[i]["actual"]].append(i)
    turns = [
        (turn, class_name, i)
        for class_name, members in by_class.items()
        for turn, i in enumerate(members)
    ]
    return [i for _, _, i in sorted(turns)[:count]]


def worst_rows(rows: Sequence[Mapping[str, str]], model: str, count: int) -> list[int]:
    """The errors of a model in which the actual class got the lowest probability, worst first.

    Args:
        rows: of ``metrics/evaluate/predictions.csv``.
        model: a name such as ``head``.
        count: how many, at most; there are fewer where the model makes fewer errors.
    """
    wrong = [i for i, row in enumerate(rows) if row[f"{model}_correct"] == "False"]
    wrong.sort(key=lambda i: (float(rows[i][f"{model}_actual_probability"]), rows[i]["path"]))
    return wrong[:count]


def _name_hash(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()
