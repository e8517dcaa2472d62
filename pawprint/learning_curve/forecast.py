"""What more pictures would bring, with its interval, or why that cannot be told."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pawprint.learning_curve.measurement import Measurements
from pawprint.learning_curve.power_law import PARAMETERS, PowerLaws, fit_power_laws

_DRAWS = 2000
_LEAST_SIZES = PARAMETERS + 1  # one more than any law passes through
_UNLIKELY = 0.05  # a law whose residuals are this unlikely does not hold
_CHECK_CONFIDENCE = 0.99  # of the check: it is one of several, and should rarely fail by chance
_HALF = 0.55  # of the pictures: a size that is rounded up still counts as half
_LEAST_WRONG = 10  # pictures; an accuracy of fewer wrong ones says little


@dataclass(frozen=True)
class Resampled:
    """The errors of s sizes, and what they would be of other pictures and seeds.

    Attributes:
        values: float64 [s].
        draws: float64 [b, s].
        seeds_sd: float64 [s], the standard deviation over the seeds.
    """

    values: np.ndarray
    draws: np.ndarray
    seeds_sd: np.ndarray

    @property
    def errors(self) -> np.ndarray:
        """The standard errors, float64 [s], above 0."""
        found = self.draws.std(axis=0, ddof=1)
        return np.maximum(found, max(found.max() / 100, 1e-9))


@dataclass(frozen=True)
class Fit:
    """A law fitted to the sizes from one on.

    Attributes:
        first: the place of the smallest size that it is fitted to.
        law: one.
        draws: b laws, fitted to the resampled errors.
        likelihood: how often residuals as large as these are met if the law holds.
    """

    first: int
    law: PowerLaws
    draws: PowerLaws
    likelihood: float


@dataclass(frozen=True)
class Fits:
    """All laws that hold, from different smallest sizes on.

    Nobody knows where the law begins: small sizes take few steps, and bend it. A law from the
    smallest size on is the surest and the most bent. So all count alike, and how they differ is
    part of the interval.

    Source: Buckland, Burnham and Augustin 1997, Biometrics 53, pages 603-618.

    Attributes:
        fits: w, at least one; the first is fitted to most sizes.
    """

    fits: list[Fit]

    @property
    def widest(self) -> Fit:
        return self.fits[0]

    @property
    def exponents(self) -> np.ndarray:
        """Of all draws, float64 [w * b]."""
        return np.concatenate([fit.draws.c for fit in self.fits])

    def at(self, sizes: np.ndarray) -> np.ndarray:
        """The mean of the laws' errors at m sizes, float64 [m]."""
        return np.mean([fit.law.at(sizes)[0] for fit in self.fits], axis=0)

    def draws_at(self, sizes: np.ndarray) -> np.ndarray:
        """The errors of all draws, float64 [w * b, m]."""
        return np.concatenate([fit.draws.at(sizes) for fit in self.fits])


@dataclass(frozen=True)
class DoublingCheck:
    """The law of the sizes up to half of the pictures, held against what all of them gave.

    Attributes:
        up_to: the largest size that it was fitted to.
        foretold: the error of the largest size of all, by that law.
        interval: of it.
        holds: whether what was measured is as near as chance would have it.
    """

    up_to: int
    foretold: float
    interval: tuple[float, float]
    holds: bool


@dataclass(frozen=True)
class Forecast:
    """What more pictures would take off an error.

    Attributes:
        gain: by how much it would fall.
        interval: of it.
        doubt: why it cannot be told; empty if it can.
    """

    gain: float
    interval: tuple[float, float]
    doubt: str


def resample_errors(
    measured: Measurements, groups: np.ndarray, seed: int
) -> tuple[Resampled, Resampled]:
    """Draw other pictures and other seeds: the same pictures for all sizes, and for both errors.

    All sizes are judged on the same pictures, so that hard ones among them raise all errors alike;
    the draws keep that. Seeds are drawn for each size by itself. Deviations of r of them are
    smaller by a root of (r - 1) / r than those of many, and are made larger by that.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 6, with groups as
    in chapter 8; the factor: Rao and Wu 1988, J. Am. Stat. Assoc. 83, pages 231-241.

    Args:
        measured: of n pictures.
        groups: int64 [n], from 0 without gaps: these are drawn.
        seed: of the draws.

    Returns:
        Of the share of wrong pictures, and of the log loss.
    """
    rng = np.random.default_rng(seed)
    count, (sizes, seeds, _) = int(groups.max()) + 1, measured.wrong.shape
    kinds = (measured.wrong, measured.losses)
    values = np.concatenate([kind.mean(axis=1) for kind in kinds])  # [2s, n]
    sums = np.stack([np.bincount(groups, row, count) for row in values], axis=1)  # [g, 2s]
    members = np.bincount(groups, minlength=count)
    draws = np.empty((_DRAWS, 2 * sizes))
    for draw in draws:
        times = np.bincount(rng.integers(count, size=count), minlength=count)
        draw[:] = times @ sums / (times @ members)
    of_seeds = np.concatenate([kind.mean(axis=2) for kind in kinds])  # [2s, r]
    drawn = rng.integers(seeds, size=(_DRAWS, sizes, seeds))
    drawn = np.concatenate([drawn, drawn], axis=1)
    deviations = of_seeds - of_seeds.mean(axis=1, keepdims=True)
    noise = deviations[np.arange(2 * sizes)[:, None], drawn].mean(axis=2)
    draws += noise * np.sqrt(seeds / (seeds - 1))
    found = (values.mean(axis=1), draws, of_seeds.std(axis=1, ddof=1))
    first, second = (
        Resampled(*(array[..., part] for array in found))
        for part in (slice(sizes), slice(sizes, None))
    )
    return first, second


def fit_errors(sizes: np.ndarray, errors: Resampled, last: int | None = None) -> Fits | None:
    """Laws of at least four sizes, up to the largest.

    Source: Hestness et al. (2017), section 2: small sizes lie before the region of the power law.

    Args:
        sizes: int64 [s].
        errors: of them.
        last: sizes from this place on are left out; None: none are.

    Returns:
        None: not even the largest four sizes follow a law, or there are fewer.
    """
    end = len(sizes) if last is None else last
    fits = []
    for first in range(end - _LEAST_SIZES + 1):
        part = slice(first, end)
        found = (errors.values[part], errors.draws[:, part], errors.errors[part])
        fit = _fit(first, sizes[part], *found)
        if fit.likelihood >= _UNLIKELY:
            fits.append(fit)
    return Fits(fits) if fits else None


def _fit(
    first: int, sizes: np.ndarray, values: np.ndarray, draws: np.ndarray, errors: np.ndarray
) -> Fit:
    law = fit_power_laws(sizes, values[None], errors)
    laws = fit_power_laws(sizes, draws, errors)
    left = values - law.at(sizes)[0]
    by_chance = draws - laws.at(sizes) - left
    squares = np.square(left / errors).sum()
    # A law that passes through all values leaves nothing, but for the last bits
    likelihood = np.mean(np.square(by_chance / errors).sum(axis=1) >= squares - 1e-9)
    return Fit(first, law, laws, float(likelihood))


def check_doubling(sizes: np.ndarray, errors: Resampled, confidence: float) -> DoublingCheck | None:
    """Foretell the error of all pictures from those of half of them, and look.

    Returns:
        None: too few sizes are small enough, or they follow no law.
    """
    last = int(np.searchsorted(sizes, _HALF * sizes[-1], side="right"))
    fits = fit_errors(sizes, errors, last)
    if fits is None:
        return None
    foretold = fits.draws_at(sizes[-1:])[:, 0]
    measured = np.tile(errors.draws[:, -1], len(fits.fits))
    low, high = _interval(foretold - measured, _CHECK_CONFIDENCE)
    return DoublingCheck(
        int(sizes[last - 1]),
        float(fits.at(sizes[-1:])[0]),
        _interval(foretold, confidence),
        low <= 0 <= high,
    )


def foretell(
    sizes: np.ndarray,
    errors: Resampled,
    fits: Fits | None,
    check: DoublingCheck | None,
    more: int,
    confidence: float,
    judged: int | None = None,
) -> Forecast | None:
    """What so many more training pictures would bring.

    Args:
        fits: of ``fit_errors``.
        check: of ``check_doubling``; None: there is none.
        more: training pictures besides ``sizes[-1]``.
        confidence: of the interval.
        judged: the number of pictures, if the errors are the share of wrong ones.

    Returns:
        None: no law holds, so that there is nothing to go by.
    """
    if fits is None:
        return None
    ends = np.array([sizes[-1], sizes[-1] + more])
    low, high = _interval(-np.diff(fits.draws_at(ends))[:, 0], confidence)
    gain = float(-np.diff(fits.at(ends))[0])
    return Forecast(gain, (low, high), _find_doubt(errors, check, low, judged))


def _find_doubt(
    errors: Resampled, check: DoublingCheck | None, low: float, judged: int | None
) -> str:
    wrong = errors.values[-1] * judged if judged else _LEAST_WRONG
    if wrong < _LEAST_WRONG:
        return f"only {wrong:.0f} of {judged:,} pictures are wrong"
    if check and not check.holds:
        return "the law of half of the pictures did not foretell what all of them gave"
    return "" if low > 0 else "the interval contains 0"


def _interval(draws: np.ndarray, confidence: float) -> tuple[float, float]:
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
