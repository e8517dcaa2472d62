"""What validation pictures look like to a model, and how far a window of others may be from that.

Numbers are compared as distributions (Kolmogorov and Smirnov), the pictures that are called unlike
the training pictures, and those of each class, as counts (binomial). Each of these signals has an
equal part of the stated rate of false alarms (Bonferroni).

Validation is a sample, too, and all windows are compared with the same one: an unlucky one would
raise alarms again and again. So a limit has two parts: how far validation may be from what is
usual, which it is not in 95 of 100 such samples, and how far a window may be from that. Given a
sample that is not among the unlucky 5, each window raises a false alarm with a probability of at
most the stated rate.

Source: the distributions by Marsaglia, Tsang and Wang 2003, Evaluating Kolmogorov's Distribution,
Journal of Statistical Software 8; the shares by Clopper and Pearson 1934, Biometrika 26.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import beta, binom, kstwo

from pawprint.deciding.watch import Counts, Reference, Shape

UNLUCKY = 0.05  # of the samples for validation: for these the stated rate is not promised
_EDGES = 64  # at which distributions are compared


def make_reference(
    probs: np.ndarray,
    unlikeness: np.ndarray | None,
    unlike: np.ndarray,
    brightness: np.ndarray | None,
    window: int,
    false_alarms: float,
) -> Reference:
    """What a server needs to compare windows.

    Args:
        probs: float32 [n, c], of validation pictures that do not belong together; n at least 1.
        unlikeness: float32 [n], or None where the model cannot tell.
        unlike: bool [n], whether they are called unlike the training pictures.
        brightness: float [n], in 0...255, see ``measure_brightness``; None: it is not compared.
        window: pictures of a window.
        false_alarms: the share of windows that may raise one, in (0, 1).
    """
    count = len(probs)
    signals = 2 + 2 * (unlikeness is not None) + (brightness is not None)
    rate, unlucky = false_alarms / signals, UNLUCKY / signals
    of_unlike, of_unlikeness = None, None
    if unlikeness is not None:
        # Fewer unlike pictures than usual are none to worry about
        most = _most(np.array([unlike.sum()]), count, window, rate, unlucky)
        of_unlike = Counts([float(unlike.mean())], [0], most)
        of_unlikeness = make_shape(unlikeness, window, rate, unlucky)
    confidence = make_shape(probs.max(axis=1), window, rate, unlucky)
    found = np.bincount(probs.argmax(axis=1), minlength=probs.shape[1])
    sides = 2 * len(found)  # too few and too many of each class
    few = _most(count - found, count, window, rate / sides, unlucky / sides)
    classes = Counts(
        (found / count).tolist(),
        [window - most for most in few],
        _most(found, count, window, rate / sides, unlucky / sides),
    )
    of_brightness = None if brightness is None else make_shape(brightness, window, rate, unlucky)
    told = of_unlike, of_unlikeness, confidence, classes, of_brightness
    return Reference(window, false_alarms, count, *told)


def make_shape(found: np.ndarray, window: int, rate: float, unlucky: float) -> Shape:
    """The distribution of numbers float [n], and how far that of a window may be from it.

    Args:
        found: the numbers.
        window: pictures of a window.
        rate: of false alarms.
        unlucky: the share of samples for which it is not promised.
    """
    steps = np.linspace(0, 1, _EDGES + 1)[1:]
    found = np.sort(found.astype(np.float64))  # below a float32 there are others in float64
    at = np.quantile(found, steps, method="inverted_cdf")
    # Just below each one, too: where most pictures have one value, a window below it is far away
    edges = np.unique([at, np.nextafter(at, -np.inf)])
    shares = np.searchsorted(found, edges, side="right") / len(found)
    limit = float(kstwo.isf(unlucky, len(found)) + kstwo.isf(rate, window))
    return Shape(edges.tolist(), shares.tolist(), limit)


def _most(found: np.ndarray, count: int, window: int, rate: float, unlucky: float) -> list[int]:
    """How many pictures of each kind a window may have, of kinds of which validation has some.

    Args:
        found: int [k], of the validation pictures.
        count: of all these.
        window, rate, unlucky: as ``make_shape``.
    """
    # The largest share that is not ruled out; of all pictures: 1
    shares = np.where(found < count, beta.isf(unlucky, found + 1, np.maximum(count - found, 1)), 1)
    # With a high rate, the quantile of a rare kind is below what is usual
    usual = np.ceil(found / count * window)
    return [int(most) for most in np.maximum(binom.isf(rate, window, shares), usual)]
