"""From which probability on a model may decide alone, so that a wanted precision is kept.

Validation pictures are ordered by how sure the model is of them. Of the m surest ones e are wrong,
and m is large enough if so few errors, or fewer, would come with a probability of at most a level
were the model wrong as often as the wanted precision just does not allow: a bound of Clopper and
Pearson. Many m are looked at, so the level is lower than 1 - confidence: by so much that a model
which is wrong just too often passes at any m at all with a probability of at most
1 - confidence. That is computed exactly, by adding up all ways of the errors.

What is assumed: pictures are independent, and a model is not more often wrong on pictures of which
it is surer. Then of all m that are too large the first to pass is as unlikely to do so as for a
model that is wrong equally often everywhere. It is not assumed that probabilities are right.

Source: Clopper and Pearson 1934, Biometrika 26; the choice among many thresholds as in Angelopoulos
et al. 2021, Learn then Test (arXiv 2110.01052), sections 2.1 and 2.2, with the joint distribution
of nested sets in place of a fixed sequence, which stops at a single wrong label among the surest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
from scipy.stats import binom, nbinom

_LOOKS = 4  # by so much the level is lower than 1 - confidence, in an estimate
_MOST_PICTURES = 1_000_000  # a promise that needs more validation pictures is called out of reach
_STEPS = 20  # of a bisection: to a millionth of a probability
_GROWTH = 1.02  # from one number of pictures that is tried to the next
_NOTHING = 1e-25  # a probability: a million of them are below the rounding of a sum


@dataclass(frozen=True)
class Promise:
    """What is promised, and by which pictures.

    Attributes:
        precision: wanted, in (0, 1): the share of the decided pictures that are right.
        confidence: in (0, 1), with which it is kept.
        threshold: the model decides where its probability is at least this; None: nowhere.
        pictures: validation pictures that it may have decided.
        decided: how many of these it would have decided.
        wrong: how many of those wrongly.
        needed: about how many such pictures would allow a promise, if the model is as good on them;
            None where there is a promise, or where more pictures would not help.
    """

    precision: float
    confidence: float
    threshold: float | None
    pictures: int
    decided: int = 0
    wrong: int = 0
    needed: int | None = None


def make_promise(
    sure: np.ndarray, right: np.ndarray, precision: float, confidence: float
) -> Promise:
    """Choose the threshold at which most pictures are decided and the precision is kept.

    Args:
        sure: float32 [n], in 0...1, of the predicted class: of validation pictures that do not
            belong together.
        right: bool [n], whether that class is the actual one.
        precision: wanted, in (0, 1).
        confidence: in (0, 1).
    """
    order = np.argsort(-sure, kind="stable")
    errors = np.cumsum(~right[order])
    ends = np.flatnonzero(np.diff(sure[order], append=-1.0))
    sizes = least_sizes(len(sure), precision, confidence)
    # Pictures of one probability are decided together; the largest such set that is large enough
    for end in reversed(ends):
        wrong = int(errors[end])
        if wrong < len(sizes) and end + 1 >= sizes[wrong]:
            threshold = float(sure[order[end]])
            return Promise(precision, confidence, threshold, len(sure), int(end) + 1, wrong)
    needed = _pictures_needed(errors, precision, confidence)
    return Promise(precision, confidence, None, len(sure), needed=needed)


@lru_cache(maxsize=64)
def least_sizes(count: int, precision: float, confidence: float) -> tuple[int, ...]:
    """How many of so many pictures must be decided for each number of errors to be borne.

    Args:
        count: of all validation pictures.
        precision: wanted, in (0, 1).
        confidence: of the promise, over all choices together.

    Returns:
        The least number for 0, 1, 2, … errors; as many numbers as ``count`` allows.

    >>> least_sizes(1500, 0.995, 0.95), least_sizes(300, 0.995, 0.95)
    ((732, 1108, 1437), ())
    """
    low, high = 0.0, 1 - confidence
    for _ in range(_STEPS):
        level = (low + high) / 2
        within = _chance_to_pass(_sizes_at(count, precision, level), precision) <= 1 - confidence
        low, high = (level, high) if within else (low, level)
    return tuple(_sizes_at(count, precision, low))


def _sizes_at(count: int, precision: float, level: float) -> list[int]:
    """The least m at which 0, 1, … errors have a probability of at most a level.

    Fewer than k errors among m pictures are the same as more than m pictures until the k-th error.
    """
    if not level:
        return []
    errors = np.arange(1, int(count * (1 - precision)) + 2)
    sizes = errors + nbinom.isf(level, errors, 1 - precision)
    return sizes[sizes <= count].astype(int).tolist()


def _chance_to_pass(sizes: list[int], precision: float) -> float:
    """How probably a model that is wrong 1 - precision of the time passes at one size or more."""
    # left: probabilities of first, first + 1, … errors, not passed yet
    left, first, passed, last = np.ones(1), 0, 0.0, 0
    new = lru_cache(maxsize=None)(partial(_chances, wrong=1 - precision))
    for errors, size in enumerate(sizes):
        left = _without_end(np.convolve(left, new(size - last)))
        within = errors + 1 - first
        passed += float(left[:within].sum())
        left, first = left[within:], errors + 1
        last = size
        if not len(left):
            break
    return passed


def _chances(count: int, wrong: float) -> np.ndarray:
    """Probabilities of 0, 1, … errors among so many pictures."""
    return _without_end(binom.pmf(np.arange(count + 1), count, wrong))


def _without_end(chances: np.ndarray) -> np.ndarray:
    """Without those at the end that change no sum: large sets of pictures have many of them."""
    return chances[: int(np.flatnonzero(chances > _NOTHING)[-1]) + 1]


def _pictures_needed(errors: np.ndarray, precision: float, confidence: float) -> int | None:
    """From about how many pictures on a promise could be made, were errors as frequent among them.

    Args:
        errors: int [n], among the 1, 2, … surest pictures.
        precision, confidence: of the promise.
    """
    ranks, level = np.arange(1, len(errors) + 1), (1 - confidence) / _LOOKS
    least = math.ceil(math.log(level) / math.log(precision))  # all right
    if not len(errors):
        return _round_up(least)
    count = max(least, len(errors))
    while count <= _MOST_PICTURES:
        times = count / len(errors)
        chances = binom.cdf(np.ceil(errors * times), np.floor(ranks * times), 1 - precision)
        if (chances <= level).any():
            return _round_up(count)
        count = math.ceil(count * _GROWTH)
    clean = int((errors == 0).sum())  # the surest pictures, all of them right
    return _round_up(math.ceil(least * len(errors) / clean)) if clean else None


def _round_up(count: int) -> int:
    """To two digits, since it is an estimate.

    >>> [_round_up(count) for count in (7, 99, 598, 1231)]
    [7, 99, 600, 1300]
    """
    step = 10 ** max(len(str(count)) - 2, 0)
    return math.ceil(count / step) * step
