"""Whether exported models tell unlikeness as their Keras model does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pawprint.evaluation.metrics import Array
from pawprint.export.parity import INT8, KERAS, round_up
from pawprint.runner.errors import ModelError
from pawprint.runner.params import ExportParams

Scores = dict[str, dict[str, float]]


def add_scores(scores: Scores, ratios: Mapping[str, Array], unlike_above: float) -> None:
    """Add to the scores of each format how its unlikeness differs from Keras'.

    For each: ``unlike`` (share of the pictures); for all but Keras also ``unlike_agreement`` (share
    of the pictures of which both say the same) and ``ratio_difference``, the largest of
    ``ratio_differences``, rounded up to one digit.

    Args:
        scores: of each format, as of ``pawprint.export.parity.compare``; changed in place.
        ratios: format → d / t, float32 [n]; one of them is ``keras``.
        unlike_above: a picture is unlike the training pictures where its ratio is above this.
    """
    for name, found in ratios.items():
        unlike = found > unlike_above
        scores[name]["unlike"] = round(float(unlike.mean()), 6)
        if name != KERAS:
            same = unlike == (ratios[KERAS] > unlike_above)
            scores[name]["unlike_agreement"] = round(float(same.mean()), 6)
            largest = ratio_differences(found, ratios[KERAS]).max()
            scores[name]["ratio_difference"] = round_up(float(largest))


def describe(scores: Mapping[str, Mapping[str, float]]) -> str:
    """What ``add_scores`` found, as lines to read."""
    lines = ["unlikeness     same verdict  largest difference     unlike"]
    for name, found in scores.items():
        same, largest = found.get("unlike_agreement"), found.get("ratio_difference")
        lines.append(
            f"{name:<12}"
            f"{'' if same is None else f'{100 * same:.2f} %':>15}"
            f"{'' if largest is None else f'{largest:.0e}':>20}"
            f"{100 * found['unlike']:>9.2f} %"
        )
    return "\n".join(lines)


def ratio_differences(found: Array, expected: Array) -> Array:
    """Of each picture: the difference of the ratios over the expected one, or over 1 below 1.

    float64 [n]. Where a ratio is not a number, the difference is 1.

    >>> ratio_differences(np.array([0.3, 5.0, np.nan]), np.array([0.2, 4.0, 0.5])).round(6)
    array([0.1 , 0.25, 1.  ])
    """
    difference = np.abs(found.astype(np.float64) - expected) / np.maximum(expected, 1)
    return np.nan_to_num(difference, nan=1.0, posinf=1.0)


def check(
    ratios: Mapping[str, Array],
    scores: Mapping[str, Mapping[str, float]],
    paths: Sequence[str],
    config: ExportParams,
) -> None:
    """Refuse a model that no longer tells which pictures are unlike.

    Args:
        ratios, scores: see ``add_scores``.
        paths: of the n test pictures.
        config: what is allowed: ``export.tolerance``, and of int8 ``export.int8_min_agreement``.

    Raises:
        ModelError: it names the format, the picture and the figures.
    """
    for name, found in ratios.items():
        if name == INT8:
            _check_agreement(scores[name]["unlike_agreement"], config.int8_min_agreement)
        elif name != KERAS:
            differences = ratio_differences(found, ratios[KERAS])
            worst = int(differences.argmax())
            if differences[worst] > config.tolerance:
                raise ModelError(
                    f"export: {name}: the unlikeness of {paths[worst]} is {found[worst]:.5g}, "
                    f"Keras' {ratios[KERAS][worst]:.5g}, farther apart than export.tolerance = "
                    f"{config.tolerance}; run dvc repro with the versions of requirements.txt, or "
                    "set unlikeness.enabled to false"
                )


def _check_agreement(agreement: float, least: float) -> None:
    if agreement < least:
        raise ModelError(
            f"export: {INT8}: of {agreement:.4f} of the test pictures it says as Keras whether "
            "they are unlike the training pictures, fewer than export.int8_min_agreement = "
            f"{least}; raise export.calibration, or export without int8"
        )
