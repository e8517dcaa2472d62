"""A learning curve as a table, sentences and files."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pawprint.choosing.scores import number_groups
from pawprint.learning_curve.forecast import (
    DoublingCheck,
    Fits,
    Forecast,
    Resampled,
    check_doubling,
    fit_errors,
    foretell,
    resample_errors,
)
from pawprint.learning_curve.measurement import Measurements
from pawprint.storage.tables import write_csv, write_json

_DECIMALS = 6
_WIDTH = 100


@dataclass(frozen=True)
class Score:
    """One error of all sizes, its law, and what more pictures would take off it.

    Attributes:
        name: accuracy or log_loss; of accuracy the error is the share of wrong pictures.
        errors: of s sizes.
        fits: its laws; None: none holds.
        check: None: there is nothing to check.
        forecast: None: there is no law to go by.
    """

    name: str
    errors: Resampled
    fits: Fits | None
    check: DoublingCheck | None
    forecast: Forecast | None


@dataclass(frozen=True)
class Curve:
    """Both scores of all sizes.

    Attributes:
        sizes: int64 [s], training pictures.
        judged: the number of pictures that judge each size.
        groups: of how many groups they are.
        seeds: of each size.
        more: the training pictures whose effect is foretold.
        confidence: of all intervals.
        accuracy: as its share of wrong pictures.
        log_loss: in nats.
    """

    sizes: np.ndarray
    judged: int
    groups: int
    seeds: int
    more: int
    confidence: float
    accuracy: Score
    log_loss: Score


def fit_curve(
    measured: Measurements,
    sizes: np.ndarray,
    groups: list[str],
    more: int,
    confidence: float,
    seed: int,
) -> Curve:
    """Fit, check and foretell both scores.

    Args:
        measured: of n pictures.
        sizes: int64 [s], training pictures.
        groups: of each picture, the name of what belongs together.
        more: training pictures besides the last size.
        confidence: of the intervals.
        seed: of the draws.
    """
    of_groups = number_groups(groups)
    resampled = resample_errors(measured, of_groups, seed)
    scores = []
    for name, errors in zip(("accuracy", "log_loss"), resampled, strict=True):
        judged = len(groups) if name == "accuracy" else None
        fits, check = fit_errors(sizes, errors), check_doubling(sizes, errors, confidence)
        forecast = foretell(sizes, errors, fits, check, more, confidence, judged)
        scores.append(Score(name, errors, fits, check, forecast))
    seeds = measured.wrong.shape[1]
    return Curve(sizes, len(groups), int(of_groups.max()) + 1, seeds, more, confidence, *scores)


def describe_curve(curve: Curve) -> str:
    """The table, the laws, and what more pictures would bring; lines of 100 characters at most."""
    lines = [
        f"{curve.judged:,} pictures, each judged by heads that have not seen it; "
        f"{curve.seeds} seeds",
        *_table(curve),
        "se: standard error, of pictures and seeds; sd: of the seeds alone; law: as fitted.",
        "All sizes are judged on the same pictures: steps between them are surer than se tells.",
    ]
    for score in (curve.accuracy, curve.log_loss):
        said = [*_describe_law(curve, score), describe_forecast(curve, score)]
        lines += ["", *(textwrap.fill(line, _WIDTH, subsequent_indent="  ") for line in said)]
    return "\n".join(lines)


def _table(curve: Curve) -> Iterator[str]:
    heads = ["training", "accuracy %", "se", "sd", "law", "log loss", "se", "sd", "law"]
    columns = [_score_columns(curve, score) for score in (curve.accuracy, curve.log_loss)]
    rows = zip(*columns, strict=True)
    sizes = [f"{size:,}" for size in curve.sizes.tolist()]
    yield _row(heads)
    for size, (accuracy, loss) in zip(sizes, rows, strict=True):
        yield _row([size, *accuracy, *loss])


def _row(cells: list[str]) -> str:
    first, *rest = cells
    return f"{first:>9} | " + " | ".join(
        " ".join([f"{part[0]:>10}", *(f"{cell:>7}" for cell in part[1:])])
        for part in (rest[:4], rest[4:])
    )


def _score_columns(curve: Curve, score: Score) -> list[list[str]]:
    """Of each size: the score, its standard error, the spread over the seeds, the law."""
    unit, digits = (100, 2) if score.name == "accuracy" else (1, 4)
    errors, rows = score.errors, []
    for i, size in enumerate(curve.sizes):
        row = [_level(score, errors.values[i])]
        row += [f"{unit * value[i]:.{digits}f}" for value in (errors.errors, errors.seeds_sd)]
        law = "-"  # of none, and of sizes that it was not fitted to
        if score.fits is not None and i >= score.fits.widest.first:
            law = _level(score, score.fits.widest.law.at(np.array([size]))[0, 0])
        rows.append([*row, law])
    return [[cell.removesuffix(" %") for cell in row] for row in rows]


def _describe_law(curve: Curve, score: Score) -> Iterator[str]:
    title, fits, check = _title(score), score.fits, score.check
    if fits is None:
        yield f"{title}: the largest sizes follow no power law."
        return
    fit, law, unit = fits.widest, fits.widest.law, 100 if score.name == "accuracy" else 1
    suffix = " %" if score.name == "accuracy" else ""
    low, high = np.quantile(
        fits.exponents, [(1 - curve.confidence) / 2, (1 + curve.confidence) / 2]
    )
    error = "error" if score.name == "accuracy" else "log loss"
    yield (
        f"{title}: {error} = {unit * law.a[0]:.3g}{suffix} + {unit * law.b[0]:.3g}{suffix} * "
        f"n^-{law.c[0]:.2f} (exponent {low:.2f} to {high:.2f})"
        + (f", from {curve.sizes[fit.first]:,} pictures on" if fit.first else "")
    )
    if check is None:
        yield "  There are too few sizes to check what it foretells."
        return
    low, high = check.interval
    measured = _level(score, score.errors.values[-1])
    bounds = sorted([_level(score, low), _level(score, high)])
    yield (
        f"  Check: fitted up to {check.up_to:,}, it foretold {_level(score, check.foretold)} "
        f"({bounds[0]} to {bounds[1]}) for {curve.sizes[-1]:,}; measured {measured}"
        f"{'' if check.holds else ': it does not hold'}."
    )


def describe_forecast(curve: Curve, score: Score) -> str:
    """One sentence: what more pictures would bring to a score, or that it cannot be told."""
    title, forecast = _title(score), score.forecast
    now, then = int(curve.sizes[-1]), int(curve.sizes[-1]) + curve.more
    more = f"another {curve.more:,} training pictures"
    if forecast is None:
        return f"{title}: what {more} would bring cannot be told: no power law holds."
    unit = 100 if score.name == "accuracy" else 1
    gain, low, high = (unit * value for value in (forecast.gain, *forecast.interval))
    digits = _digits(max(abs(gain), abs(high)))
    span = f"{low:.{digits}f} to {high:.{digits}f}"
    if forecast.doubt:
        what = "points" if unit == 100 else "of the log loss"
        return f"{title}: what {more} would bring cannot be told ({span} {what}): {forecast.doubt}."
    guess = " More than twice of what there is: a guess." if then > 2 * now else ""
    if unit == 100:
        return f"{title}: {more} would bring about {gain:.{digits}f} points ({span}).{guess}"
    return f"{title}: {more} would lower it by about {gain:.{digits}f} ({span}).{guess}"


def _title(score: Score) -> str:
    return "Accuracy" if score.name == "accuracy" else "Log loss"


def _level(score: Score, error: float) -> str:
    return f"{100 * (1 - error):.2f} %" if score.name == "accuracy" else f"{error:.4f}"


def _digits(value: float) -> int:
    """Decimals that show two digits of a value: 2 of 0.13, 4 of 0.0042, 1 of 3.1."""
    return min(_DECIMALS, max(1, 1 - math.floor(math.log10(value)))) if value > 0 else 2


def write_curve(directory: Path, curve: Curve, measured: Measurements) -> None:
    """Write ``curve.json`` and ``curve.csv``, a row for each size and seed."""
    rows = []
    for i, size in enumerate(curve.sizes.tolist()):
        for seed in range(curve.seeds):
            accuracy = 1 - measured.wrong[i, seed].mean()
            loss = measured.losses[i, seed].mean()
            rows.append([str(size), str(seed), f"{accuracy:.6f}", f"{loss:.6f}"])
    write_csv(directory / "curve.csv", ["pictures", "seed", "accuracy", "log_loss"], rows)
    write_json(
        directory / "curve.json",
        {
            "pictures": curve.judged,
            "groups": curve.groups,
            "seeds": curve.seeds,
            "confidence": curve.confidence,
            "sizes": curve.sizes.tolist(),
            "more": curve.more,
            "accuracy": _as_json(curve, curve.accuracy),
            "log_loss": _as_json(curve, curve.log_loss),
        },
    )


def _as_json(curve: Curve, score: Score) -> dict[str, Any]:
    """Of accuracy, ``error`` is the share of wrong pictures."""
    errors, check, forecast = score.errors, score.check, score.forecast
    return {
        "error": _rounded(errors.values),
        "standard_error": _rounded(errors.errors),
        "seeds_sd": _rounded(errors.seeds_sd),
        "laws": [
            {
                "first_size": int(curve.sizes[fit.first]),
                "a": _rounded(fit.law.a)[0],
                "b": _rounded(fit.law.b)[0],
                "c": _rounded(fit.law.c)[0],
                "likelihood": round(fit.likelihood, 4),
            }
            for fit in (score.fits.fits if score.fits else [])
        ],
        "check": check
        and {
            "fitted_up_to": check.up_to,
            "foretold": round(check.foretold, _DECIMALS),
            "interval": _rounded(np.array(check.interval)),
            "holds": check.holds,
        },
        "forecast": forecast
        and {
            "gain": round(forecast.gain, _DECIMALS),
            "interval": _rounded(np.array(forecast.interval)),
            "told": not forecast.doubt,
            "doubt": forecast.doubt,
        },
        "sentence": describe_forecast(curve, score),
    }


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), _DECIMALS) for value in values]
