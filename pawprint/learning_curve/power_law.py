"""Power laws ``a + b * n ** -c`` fitted to errors at several numbers of training pictures.

Source: Cortes et al., Learning Curves: Asymptotic Values and Rate of Convergence (1993), equation
1; Hestness et al., Deep Learning Scaling is Predictable, Empirically (2017), equation 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

EXPONENTS = (0.02, 2.0)  # the least and the most that c may be
PARAMETERS = 3
_COARSE, _FINE, _ROUNDS = 40, 7, 8


@dataclass(frozen=True)
class PowerLaws:
    """k laws.

    Attributes:
        a: float64 [k], at least 0: the error that no number of pictures takes away.
        b: float64 [k]: what a single picture would leave above it. Below 0 where the error rises
            with the number of pictures: whether it falls at all is for the measurements to say.
        c: float64 [k], in ``EXPONENTS``: how fast it falls.
    """

    a: np.ndarray
    b: np.ndarray
    c: np.ndarray

    def at(self, sizes: np.ndarray) -> np.ndarray:
        """The errors at s numbers of pictures, float64 [k, s]."""
        falling = np.asarray(sizes, np.float64) ** -self.c[:, None]
        return self.a[:, None] + self.b[:, None] * falling


def fit_power_laws(sizes: np.ndarray, values: np.ndarray, errors: np.ndarray) -> PowerLaws:
    """The laws of the least squares, each weighed by its standard error.

    At a given c the best a and b are those of a straight line, so that only c is searched for: over
    a grid, then over ever finer ones around the best. Nothing can fail to converge.

    Args:
        sizes: s numbers of training pictures, at least 3.
        values: float64 [k, s], the errors of k curves.
        errors: float64 [s], above 0: the standard errors of the values.
    """
    relative = np.asarray(sizes, np.float64) / max(sizes)  # or n ** -c spans too many magnitudes
    weights = 1 / np.square(errors)
    low, high = np.log(EXPONENTS)
    grid = np.broadcast_to(np.linspace(low, high, _COARSE), (len(values), _COARSE))
    step = (high - low) / (_COARSE - 1)
    for _ in range(_ROUNDS):
        a, b, loss = _fit_lines(relative, values, weights, np.exp(grid))
        best = loss.argmin(axis=1)[:, None]
        a, b, c = (np.take_along_axis(array, best, axis=1) for array in (a, b, grid))
        grid = np.clip(c + np.linspace(-step, step, _FINE), low, high)
        step *= 2 / (_FINE - 1)
    exponent = np.exp(c[:, 0])
    return PowerLaws(a[:, 0], b[:, 0] * float(max(sizes)) ** exponent, exponent)


def _fit_lines(
    x: np.ndarray, values: np.ndarray, weights: np.ndarray, exponents: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For k curves and g exponents each: a, b and the weighed squares that are left, [k, g]."""
    falling = x ** -exponents[..., None]  # [k, g, s]
    y = values[:, None, :]
    total = weights.sum()
    mean_x = (falling * weights).sum(axis=-1) / total
    mean_y = (y * weights).sum(axis=-1) / total
    centred = falling - mean_x[..., None]
    b = (centred * y * weights).sum(axis=-1) / (np.square(centred) * weights).sum(axis=-1)
    a = mean_y - b * mean_x
    through_0 = (falling * y * weights).sum(axis=-1) / (np.square(falling) * weights).sum(axis=-1)
    b = np.where(a < 0, through_0, b)
    a = np.maximum(a, 0)
    left = y - a[..., None] - b[..., None] * falling
    return a, b, (np.square(left) * weights).sum(axis=-1)
