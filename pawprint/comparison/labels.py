"""Two revisions whose labels differ, since a person reviewed them: both judged by the review."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from pawprint.comparison.revisions import Revision
from pawprint.data.manifest import Picture
from pawprint.evaluation.predictions import DECIMALS, Prediction

Said = Mapping[str, Prediction]  # path → what one model said


def find_reviewed(base: Revision, other: Revision) -> dict[str, str]:
    """path → its class as reviewed, of the pictures that have another class in each revision.

    The review is that of the revision in which the class is not the one that the picture came with;
    if that holds for both or neither, it is the second's, for decisions are made later.
    Pictures whose files differ, or are not known, are left out.
    """
    found = {}
    for path in base.pictures.keys() & other.pictures.keys():
        before, after = base.pictures[path], other.pictures[path]
        if before.sha256 == after.sha256 and before.class_name != after.class_name:
            alone = _is_reviewed(before) and not _is_reviewed(after)
            found[path] = (before if alone else after).class_name
    return found


def _is_reviewed(picture: Picture) -> bool:
    return picture.class_name != picture.source_class


def judge_anew(
    tables: Iterable[Said], labels: Mapping[str, str], num_classes: int
) -> tuple[list[Said], int]:
    """Tables of predictions by other labels.

    What a model gave a class is known if it is the one that it predicted, or the only other one.
    Where it is not known in each of the tables, the picture keeps the labels that it has in them.

    Args:
        tables: of several models.
        labels: path → the class that is right now.
        num_classes: that the models tell apart.

    Returns:
        The tables, and how many of the pictures in them were judged anew.
    """
    tables = list(tables)
    common = [path for path in labels if all(path in table for table in tables)]
    known = [
        path
        for path in common
        if num_classes == 2
        or all(labels[path] in (table[path].predicted, table[path].actual) for table in tables)
    ]
    return [
        {**table, **{path: _judge(table[path], labels[path]) for path in known}} for table in tables
    ], len(known)


def _judge(said: Prediction, label: str) -> Prediction:
    if label == said.actual:
        return said
    share = said.probability if label == said.predicted else 1 - said.probability
    return replace(said, actual=label, actual_probability=round(share, DECIMALS))
