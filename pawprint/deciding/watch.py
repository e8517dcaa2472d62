"""Whether the pictures that a model sees now are like those of validation, window by window.

It needs NumPy alone, and keeps no picture: of each one the probability of its class, the place of
that class, how unlike the training pictures it is, and how bright. A window is compared once it is
full, by limits that stage deciding has computed: see ``pawprint.deciding.reference``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

SIGNALS = ("unlike", "unlikeness", "confidence", "classes", "brightness")  # fields of Reference
_STEP = 4  # rows and columns from one that counts to the next


@dataclass(frozen=True)
class Shape:
    """How a number is distributed among validation pictures.

    Attributes:
        edges: ascending numbers: some of those that are there, and the next ones below these.
        shares: of the pictures whose number is at most each edge, in 0...1.
        limit: how far the shares of a window may be from these.
    """

    edges: list[float]
    shares: list[float]
    limit: float

    def distance(self, found: np.ndarray) -> float:
        """The largest difference between the shares of numbers float [n] and these, in 0...1."""
        below = np.searchsorted(np.sort(found), np.array(self.edges), side="right") / len(found)
        return float(np.abs(below - np.array(self.shares)).max())

    def can_alarm(self, low: float, high: float) -> bool:
        """Whether numbers from low to high may be beyond the limit.

        >>> Shape([0.0, 255.0], [0.5, 1.0], 0.6).can_alarm(0, 255)
        False
        """
        pairs = zip(self.edges, self.shares, strict=True)
        largest = [max(share * (edge < high), (1 - share) * (edge >= low)) for edge, share in pairs]
        return max(largest) > self.limit


@dataclass(frozen=True)
class Counts:
    """How many pictures of a window may be of some kinds, such as the classes.

    Attributes:
        shares: of validation pictures that are of each kind, in 0...1.
        fewest, most: of each kind; a window with fewer or more of one is no longer alike.
    """

    shares: list[float]
    fewest: list[int]
    most: list[int]

    def can_alarm(self, window: int) -> bool:
        """Whether a window of so many pictures may have too few or too many of a kind."""
        return min(self.most) < window or max(self.fewest) > 0


@dataclass(frozen=True)
class Reference:
    """What windows are compared with.

    Attributes:
        window: how many pictures are compared at a time.
        false_alarms: the share of windows of the same kind of pictures that may raise an alarm.
        pictures: of validation, from which this is.
        unlike: pictures that are called unlike the training pictures, one kind; None: the model
            cannot tell.
        unlikeness: see ``Shape``; None: the same.
        confidence: the same of the probability of the predicted class.
        classes: pictures by their predicted class.
        brightness: as unlikeness, see ``measure_brightness``; None: an older card lacks it.
    """

    window: int
    false_alarms: float
    pictures: int
    unlike: Counts | None
    unlikeness: Shape | None
    confidence: Shape
    classes: Counts
    brightness: Shape | None = None

    @classmethod
    def parse(cls, content: object) -> Reference:
        """From the JSON of a model's card.

        Raises:
            ValueError: it is something else.
        """
        try:
            found: Any = content
            reference = cls(
                _whole(found["window"]),
                parse_number(found["false_alarms"]),
                _whole(found["pictures"]),
                _parse_counts(found["unlike"]) if found["unlike"] is not None else None,
                _parse_shape(found["unlikeness"]) if found["unlikeness"] is not None else None,
                _parse_shape(found["confidence"]),
                _parse_counts(found["classes"]),
                _parse_shape(of) if (of := found.get("brightness")) is not None else None,
            )
            reference._check_counts()
            return reference
        except (KeyError, TypeError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from None

    def _check_counts(self) -> None:
        for counts in filter(None, (self.unlike, self.classes)):
            usual = [share * self.window for share in counts.shares]
            rows = zip(counts.fewest, usual, counts.most, strict=True)
            if max(counts.most) > self.window or not all(
                fewest <= share <= most for fewest, share, most in rows
            ):
                raise ValueError("shares, fewest and most do not fit")

    @property
    def signals(self) -> list[str]:
        """Which of ``SIGNALS`` can be compared."""
        return [name for name in SIGNALS if getattr(self, name) is not None]

    @property
    def blind(self) -> list[str]:
        """Which of ``signals`` raise no alarm whatever a window holds: it, or validation, is small.

        >>> always = Counts([0.1], [0], [20])
        >>> Reference(20, 0.01, 9, always, None, Shape([0.5], [0.5], 0.4), always).blind
        ['unlike', 'classes']
        """
        limits: dict[str, tuple[float, ...]] = {
            "unlike": (self.window,),
            "unlikeness": (0.0, math.inf),
            "confidence": (1 / len(self.classes.shares), 1.0),
            "classes": (self.window,),
            "brightness": (0.0, 255.0),
        }
        return [name for name in self.signals if not getattr(self, name).can_alarm(*limits[name])]

    def compare(
        self,
        unlike: np.ndarray,
        unlikeness: np.ndarray,
        confidence: np.ndarray,
        classes: np.ndarray,
        brightness: np.ndarray,
    ) -> dict[str, float]:
        """How far a window is from the reference, by signal: 1 is the limit, above it is an alarm.

        Args:
            unlike: bool [window].
            unlikeness: float [window]; both are not looked at where the model cannot tell.
            confidence: float [window], in 0...1.
            classes: int [window], places of the predicted classes.
            brightness: float [window], in 0...255.
        """
        found = {}
        if self.unlike is not None:
            found["unlike"] = _excess(self.unlike, np.array([unlike.sum()]), self.window)
        if self.unlikeness is not None:
            found["unlikeness"] = self.unlikeness.distance(unlikeness) / self.unlikeness.limit
        found["confidence"] = self.confidence.distance(confidence) / self.confidence.limit
        counts = np.bincount(classes, minlength=len(self.classes.most))
        found["classes"] = _excess(self.classes, counts, self.window)
        if self.brightness is not None:
            found["brightness"] = self.brightness.distance(brightness) / self.brightness.limit
        return found


def _excess(allowed: Counts, counts: np.ndarray, window: int) -> float:
    """Above 1 if, and only if, one of the counts int [k] is not allowed; 0: as in validation."""
    # Half a picture more, so that a count at its limit is below 1
    fewest, most = np.array(allowed.fewest) - 0.5, np.array(allowed.most) + 0.5
    usual = np.array(allowed.shares) * window
    more, less = (counts - usual) / (most - usual), (usual - counts) / (usual - fewest)
    return float(np.maximum(more, np.where(fewest > 0, less, 0)).max())


@dataclass
class Watch:
    """Gathers what a model says, until a window is full.

    Attributes:
        reference: what a window is compared with.
        alarms: by signal, since the start.
        windows: that were compared.
    """

    reference: Reference
    alarms: dict[str, int] = field(init=False)
    windows: int = field(default=0, init=False)
    _rows: list[tuple[bool, float, float, int, float]] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.alarms = dict.fromkeys(self.reference.signals, 0)

    def add(
        self, probs: np.ndarray, unlikeness: float | None, unlike: bool, brightness: float
    ) -> dict[str, float]:
        """Take in a picture; the comparison of ``Reference.compare`` if it fills a window, or none.

        Args:
            probs: float32 [c].
            unlikeness: of the picture; None where the model cannot tell.
            unlike: whether it is called so.
            brightness: of the picture, see ``measure_brightness``.
        """
        best = int(probs.argmax())
        # As validation has it: the shortest decimal of a float32 is another float64
        ratio = float(np.float32(unlikeness or 0))
        self._rows.append((unlike, ratio, float(probs[best]), best, brightness))
        if len(self._rows) < self.reference.window:
            return {}
        columns = [np.array(column) for column in zip(*self._rows, strict=True)]
        self._rows.clear()
        found = self.reference.compare(*columns)
        self.windows += 1
        for signal, distance in found.items():
            self.alarms[signal] += distance > 1
        return found


def measure_brightness(images: np.ndarray) -> np.ndarray:
    """How bright pictures are: the mean of their values, in every fourth row and column.

    Args:
        images: uint8 [n, size, size, 3] in 0...255.

    Returns:
        float64 [n], in 0...255.

    >>> measure_brightness(np.full((1, 8, 8, 3), [30, 60, 90], np.uint8)).tolist()
    [60.0]
    """
    return images[:, ::_STEP, ::_STEP].mean(axis=(1, 2, 3))


def _parse_shape(found: Mapping[str, Any]) -> Shape:
    edges, shares = ([parse_number(value) for value in found[key]] for key in ("edges", "shares"))
    if not edges or len(edges) != len(shares) or edges != sorted(edges):
        raise ValueError("edges and shares do not fit")
    return Shape(edges, shares, _positive(found["limit"]))


def _parse_counts(found: Mapping[str, Any]) -> Counts:
    shares = [parse_number(value) for value in found["shares"]]
    fewest, most = ([_count(value) for value in found[key]] for key in ("fewest", "most"))
    if not most or not len(shares) == len(fewest) == len(most):
        raise ValueError("shares, fewest and most do not fit")
    return Counts(shares, fewest, most)


def parse_number(value: object) -> float:
    """A number of JSON that anybody may have written.

    Raises:
        ValueError: it is none, or not finite.
    """
    try:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    except OverflowError:
        raise ValueError(f"a number of {len(str(value))} digits") from None
    raise ValueError(f"{value!r}, expected a number")


def _positive(value: object) -> float:
    if parse_number(value) <= 0:
        raise ValueError(f"{value!r}, expected a number above 0")
    return parse_number(value)


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r}, expected a whole number from 0")
    return value


def _whole(value: object) -> int:
    if not 1 <= _count(value) <= 1_000_000:
        raise ValueError(f"{value!r}, expected a whole number from 1 to 1000000")
    return _count(value)
