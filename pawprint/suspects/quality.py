"""Bad pictures: dark, blurred, tiny, or of an odd shape, each against its own data set."""

from __future__ import annotations

import numpy as np

from pawprint.runner.params import SuspectsParams
from pawprint.suspects.facts import Facts
from pawprint.suspects.reasons import BLURRED, DARK, SHAPE, TINY, Reason

# Whatever the others are like, a picture is not dark or blurred above these, nor tiny above half
# of the side in which the network sees it
_NOT_DARK = 60.0  # mean grey, of 255
_NOT_BLURRED = 12.0  # of ``measure_sharpness``, in grey levels
_ADJECTIVES = {DARK: "dark", BLURRED: "blurred", TINY: "tiny", SHAPE: "of an odd shape"}
_TOO_MANY = 0.05  # of all pictures: then it is not the pictures that are odd


def find_bad_pictures(
    facts: Facts, size_px: int, params: SuspectsParams
) -> tuple[list[Reason], list[str]]:
    """Find the pictures that are far from the median one.

    Args:
        facts: of n pictures.
        size_px: side of the squares that the network sees.
        params: how far.

    Returns:
        Reasons, the farthest first: their score is how many times darker, ... than the median. And
        sentences about what more than a twentieth of all pictures are, which is no reason.
    """
    reasons, remarks = [], []
    for word, (times, details) in _compare(facts, size_px, params).items():
        rows = np.flatnonzero(times)
        if len(rows) > _TOO_MANY * len(times):
            remarks.append(
                f"{len(rows)} of {len(times)} pictures are {_ADJECTIVES[word]} beside the median "
                "one: that is how these pictures are, and none of them is listed for it"
            )
        else:
            reasons += [Reason(int(row), word, details[row], float(times[row])) for row in rows]
    return sorted(reasons, key=lambda reason: (-reason.score, reason.row)), remarks


def _compare(
    facts: Facts, size_px: int, params: SuspectsParams
) -> dict[str, tuple[np.ndarray, list[str]]]:
    """word → how many times beyond the median, float64 [n], 0 for no reason; and what was found."""
    width, height, looks = facts.width, facts.height, facts.looks
    side = np.where(np.minimum(width, height) > 0, np.minimum(width, height), np.inf)
    pixels = [f"{int(w)} x {int(h)} pixels" for w, h in zip(width, height, strict=True)]
    grey = [f"mean grey {value:.0f} of 255" for value in looks["brightness"]]
    sharp = [f"sharpness {value:.1f} grey levels" for value in looks["sharpness"]]
    return {
        DARK: (_times_below(looks["brightness"], params.dark, _NOT_DARK), grey),
        BLURRED: (_times_below(looks["sharpness"], params.blurred, _NOT_BLURRED), sharp),
        TINY: (_times_below(side, params.tiny, size_px / 2), pixels),
        SHAPE: (_times_longer(width, height, params.shape), pixels),
    }


def _times_below(values: np.ndarray, share: float, limit: float) -> np.ndarray:
    """Median over value, where that is below ``limit`` and ``share`` of the median; else 0.

    >>> _times_below(np.array([10.0, 100, 120, 30, 110]), 0.33, 60).round(1).tolist()
    [10.0, 0.0, 0.0, 3.3, 0.0]
    """
    median = float(np.median(values))
    if not np.isfinite(median):
        return np.zeros(len(values))
    times = median / np.maximum(values, 1e-3 * median + 1e-9)
    return np.where((values < limit) & (values < share * median), times, 0)


def _times_longer(width: np.ndarray, height: np.ndarray, least: float) -> np.ndarray:
    """How far the ratio of the sides is from the median one, as a factor; 0 below ``least``.

    >>> _times_longer(np.array([4.0, 4, 8, 1]), np.array([3.0, 3, 3, 3]), 2.5).round(2).tolist()
    [0.0, 0.0, 0.0, 4.0]
    """
    told = (width > 0) & (height > 0)
    if not told.any() or least == 0:
        return np.zeros(len(width))
    logs = np.zeros(len(width))
    logs[told] = np.log(width[told] / height[told])
    times = np.exp(np.abs(logs - np.median(logs[told])))
    return np.where(told & (times >= least), times, 0)
