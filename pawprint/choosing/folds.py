"""Which fold each picture is in: groups whole, every class spread evenly, the same for any order.

scikit-learn's ``StratifiedGroupKFold`` does the same, at 25 s for 100,000 pictures; here the many
pictures that are a group by themselves are dealt out at once.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from pawprint.runner.errors import DataError
from pawprint.runner.params import CrossvalParams

MOST_NAMED = 5  # classes to be named in a line


def assign_folds(
    labels: np.ndarray,
    groups: Sequence[str],
    params: CrossvalParams,
    num_classes: int,
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
        num_classes: c.

    Raises:
        DataError: all pictures together are fewer groups than folds.
    """
    num_folds, seed = params.folds, params.seed
    if (count := len(set(groups))) < num_folds:
        kind = "pictures" if count == len(labels) else "groups of pictures"
        raise DataError(
            f"crossval.folds: expected at least {num_folds} {kind} in train and val, one for each "
            f"fold, found {count}; add pictures, or set it lower (at least 2)"
        )
    members: dict[str, list[int]] = defaultdict(list)
    for row, group in enumerate(groups):
        members[group].append(row)
    ranked = sorted(members, key=lambda group: (-len(members[group]), _keyed_hash(group, seed)))
    num_joined = sum(len(rows) > 1 for rows in members.values())
    folds = np.full(len(labels), -1, np.int64)
    counts = np.zeros((num_classes, num_folds), np.int64)
    _place_groups([members[group] for group in ranked[:num_joined]], labels, folds, counts)
    single = np.array([members[group][0] for group in ranked[num_joined:]], np.int64)
    for label in range(num_classes):
        own = single[labels[single] == label]
        room = _room(counts[label], counts.sum(axis=0), len(own))
        folds[own] = np.repeat(np.arange(num_folds), room)
        counts[label] += room
    return folds


def find_scarce_classes(
    labels: np.ndarray, groups: Sequence[str], num_folds: int, class_names: Sequence[str]
) -> dict[str, int]:
    """Classes of fewer groups than folds, and how many they have: some folds lack them.

    The only group of a class is judged by a head that has never seen the class.

    Args:
        labels: int64 [n], of the pictures.
        groups: as for ``assign_folds``.
        num_folds: k.
        class_names: in the order of the labels.
    """
    found: list[set[str]] = [set() for _ in class_names]
    for label, group in zip(labels.tolist(), groups, strict=True):
        found[label].add(group)
    counts = dict(zip(class_names, map(len, found), strict=True))
    return {name: count for name, count in counts.items() if count < num_folds}


def warn_of_scarce_classes(scarce: Mapping[str, int], num_folds: int) -> str:
    """One line about what ``find_scarce_classes`` found.

    >>> warn_of_scarce_classes({"lynx": 1, "owl": 3}, 5)
    'warning: fewer groups of pictures in train and val than crossval.folds = 5: lynx 1, owl 3; \
some folds lack them, and the only group of a class is judged by a head that has never seen it: \
add pictures of these classes, or set crossval.folds lower'
    """
    named = [f"{name} {count}" for name, count in scarce.items()]
    told = ", ".join(named[:MOST_NAMED])
    if len(named) > MOST_NAMED:
        told += f" and {len(named) - MOST_NAMED} more"
    return (
        f"warning: fewer groups of pictures in train and val than crossval.folds = {num_folds}: "
        f"{told}; some folds lack them, and the only group of a class is judged by a head that "
        "has never seen it: add pictures of these classes, or set crossval.folds lower"
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
