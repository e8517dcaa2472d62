"""Two revisions whose labels differ, since a person reviewed them: both judged by the review."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import nan

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

    Whether a model was right is known of each picture. What it gave the right class is not, with
    more than two classes; nor is it taken from where that class happens to be the predicted one,
    for then the only pictures to count would be those that the model had right.

    Args:
        tables: of several models.
        labels: path → the class that is right now.
        num_classes: that the models tell apart.

    Returns:
        The tables, and how many of the pictures in them were judged anew. What a model gave their
        class is NaN where it is not known.
    """
    tables = list(tables)
    common = [path for path in labels if all(path in table for table in tables)]
    return [
        {**table, **{path: _judge(table[path], labels[path], num_classes) for path in common}}
        for table in tables
    ], len(common)


def _judge(said: Prediction, label: str, num_classes: int) -> Prediction:
    if label == said.actual:
        return said
    if num_classes > 2:
        return replace(said, actual=label, actual_probability=nan)
    share = said.probability if label == said.predicted else 1 - said.probability
    return replace(said, actual=label, actual_probability=round(share, DECIMALS))
