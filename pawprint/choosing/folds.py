"""Which fold each picture is in: groups whole, every class spread evenly, the same for any order.

scikit-learn's ``StratifiedGroupKFold`` does the same, at 25 s for 100,000 pictures; here the many
pictures that are a group by themselves are dealt out at once.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from pawprint.runner.errors import DataError
from pawprint.runner.params import CrossvalParams


def assign_folds(
    labels: np.ndarray,
    groups: Sequence[str],
    params: CrossvalParams,
    class_names: Sequence[str],
) -> np.ndarray:
    """The fold of each picture, int64 [n], from 0.

    Groups of several pictures come first, the largest before the others, each to the fold that
    lacks most of its classes. The pictures that are left even the folds out: in the order of a
    keyed hash of their group's name, each class is cut where the folds are full, so that an added
    picture moves few others.

    Args:
        labels: int64 [n], of the pictures.
        groups: the names of what must stay together; a picture by itself has a name of its own.
        params: k, the number of folds, and the seed: another one gives other folds.
        class_names: in the order of the labels.

    Raises:
        DataError: the pictures of a class are fewer groups than folds.
    """
    num_folds, seed = params.folds, params.seed
    _check_groups(labels, groups, num_folds, class_names)
    members: dict[str, list[int]] = defaultdict(list)
    for row, group in enumerate(groups):
        members[group].append(row)
    ranked = sorted(members, key=lambda group: (-len(members[group]), _keyed_hash(group, seed)))
    num_joined = sum(len(rows) > 1 for rows in members.values())
    folds = np.full(len(labels), -1, np.int64)
    counts = np.zeros((len(class_names), num_folds), np.int64)
    _place_groups([members[group] for group in ranked[:num_joined]], labels, folds, counts)
    single = np.array([members[group][0] for group in ranked[num_joined:]], np.int64)
    for label in range(len(class_names)):
        own = single[labels[single] == label]
        room = _room(counts[label], counts.sum(axis=0), len(own))
        folds[own] = np.repeat(np.arange(num_folds), room)
        counts[label] += room
    return folds


def _check_groups(
    labels: np.ndarray, groups: Sequence[str], num_folds: int, class_names: Sequence[str]
) -> None:
    found: list[set[str]] = [set() for _ in class_names]
    for label, group in zip(labels.tolist(), groups, strict=True):
        found[label].add(group)
    fewest = min(range(len(found)), key=lambda label: len(found[label]))
    count = len(found[fewest])
    if count >= num_folds:
        return
    kind = "pictures" if count == int((labels == fewest).sum()) else "groups of pictures"
    remedy = f"set crossval.folds={count}, or add" if count > 1 else "add"
    raise DataError(
        f"crossval.folds: expected at least {num_folds} {kind} of each class in train and val, "
        f"one for each fold, found {count} of {class_names[fewest]}; {remedy} pictures of it"
    )


def _place_groups(
    groups: Sequence[Sequence[int]], labels: np.ndarray, folds: np.ndarray, counts: np.ndarray
) -> None:
    """Give each group its fold, one after the other; ``folds`` and ``counts`` [c, k] are filled.

    What a fold lacks of a class is counted in shares of the class, so that pictures of a small
    class weigh more; of folds that lack the same, the smallest gets the group.
    """
    total = np.bincount(labels, minlength=len(counts)).tolist()
    classes = labels.tolist()
    filled, sizes = counts.tolist(), [0] * counts.shape[1]
    for rows in groups:
        own = Counter(classes[row] for row in rows)
        best, fewest = 0, (float("inf"), 0)
        for fold, size in enumerate(sizes):
            held = sum(n * filled[label][fold] / total[label] for label, n in own.items())
            if (held, size) < fewest:
                best, fewest = fold, (held, size)
        for label, n in own.items():
            filled[label][best] += n
        sizes[best] += len(rows)
        folds[list(rows)] = best
    counts[:] = filled


def _room(held: np.ndarray, sizes: np.ndarray, count: int) -> np.ndarray:
    """How many of ``count`` pictures each fold gets, so that all hold as nearly the same as may be.

    Args:
        held: int64 [k], of this class.
        sizes: int64 [k], of all classes: of what does not divide, the smallest folds get one each.
    """
    order = np.argsort(held, kind="stable")
    level = 0.0
    for filled in range(len(held), 0, -1):  # the folds that are below the level
        level = (held[order[:filled]].sum() + count) / filled
        if level >= held[order[filled - 1]]:
            break
    room = np.maximum(np.floor(level) - held, 0).astype(np.int64)
    left = count - int(room.sum())
    open_folds = np.flatnonzero(held <= np.floor(level))
    nearest = open_folds[np.lexsort((open_folds, sizes[open_folds] + room[open_folds]))]
    room[nearest[:left]] += 1
    return room


def _keyed_hash(group: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{group}".encode()).digest()
