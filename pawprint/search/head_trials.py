"""A trial of settings of the head: its cross-validation, and the experiment that holds it.

TensorFlow is imported once and the features are read once, so that a trial is its training.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pawprint.choosing.crossval import cross_validate, write_crossval
from pawprint.choosing.pictures import LabelledFeatures
from pawprint.choosing.scores import DECIMALS_OF_SCORES, number_groups, standard_error
from pawprint.evaluation.metrics import picture_losses
from pawprint.runner.errors import DataError, ModelError, PawprintError, one_line
from pawprint.runner.files import atomic_write
from pawprint.runner.params import Params
from pawprint.runner.params_file import change_params
from pawprint.search.experiments import Experiments
from pawprint.search.study import Planned, Trial


class HeadTrials:
    """Trains heads on the folds of some pictures, and keeps what it needs of each trial.

    TensorFlow must have been started.

    Args:
        params: what the keys are that are not searched.
        pictures: n, of c classes.
        folds: int64 [n].
        experiments: of stage crossval.
        directory: where the losses of single pictures are kept.
    """

    def __init__(
        self,
        params: Params,
        pictures: LabelledFeatures,
        folds: np.ndarray,
        experiments: Experiments,
        directory: Path,
    ) -> None:
        self._params, self._pictures, self._folds = params, pictures, folds
        self._experiments, self._directory = experiments, directory
        self.groups = number_groups(pictures.groups)
        self.fold_sizes = np.bincount(folds)

    def run_all(
        self, planned: Sequence[Planned], follow: Callable[[float], None]
    ) -> Iterator[Trial]:
        """Run several, one after the other."""
        yield from (self.run(each.number, each.values, each.name, follow) for each in planned)

    def run(
        self,
        number: int,
        values: dict[str, Any],
        name: str,
        follow: Callable[[float], None] = lambda share: None,
    ) -> Trial:
        """Train with some values, and write the experiment; a failure is a result too.

        Args:
            number: of the trial.
            values: of the searched keys.
            name: of the experiment.
            follow: is told the share of the trial that is done.
        """
        began = time.monotonic()
        try:
            params = change_params(self._params, values)
            table, epochs = _train(params, self._pictures, self._folds, follow)
            losses = picture_losses(table.labels, table.probs)
        except (PawprintError, MemoryError) as error:
            reason = one_line(error) or "not enough memory"
            return Trial(number, values, reason=reason, training_s=time.monotonic() - began)
        trained = time.monotonic()
        commit = self._experiments.save(
            name,
            f"{name}: a trial of python -m pawprint search",
            values if number else {},  # the first has what params.yaml has, as it is written there
            lambda made: write_crossval(
                made / "metrics", table, epochs, self._pictures, params.evaluate.confidence
            ),
        )
        with atomic_write(_losses_of(self._directory, number)) as file:
            np.save(file, losses)
        right = table.probs.argmax(axis=1) == table.labels
        return Trial(
            number,
            values,
            loss=_rounded(losses.mean()),
            loss_se=_rounded(standard_error(losses, self.groups)),
            accuracy=_rounded(right.mean()),
            fold_losses=[_rounded(v) for v in np.bincount(self._folds, losses) / self.fold_sizes],
            experiment=name,
            commit=commit,
            training_s=trained - began,
            dvc_s=time.monotonic() - trained,
        )

    def read_losses(self, number: int) -> np.ndarray:
        """The log loss of each picture in an earlier trial, float64 [n].

        Raises:
            DataError: they are not there.
        """
        path = _losses_of(self._directory, number)
        try:
            losses: np.ndarray = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DataError(
                f"{path}: expected the losses of a trial ({one_line(error)}); begin anew with "
                "--fresh"
            ) from None
        return losses


def _losses_of(directory: Path, number: int) -> Path:
    """Where the log loss of each picture is kept of a trial, float64 [n]."""
    return directory / "losses" / f"{number:04d}.npy"


def _train(
    params: Params,
    pictures: LabelledFeatures,
    folds: np.ndarray,
    follow: Callable[[float], None],
) -> Any:
    try:
        return cross_validate(
            pictures, folds, params.head, follow=lambda done: follow(done / params.head.epochs)
        )
    except PawprintError:
        raise
    except Exception as error:
        from tensorflow.errors import ResourceExhaustedError

        if isinstance(error, ResourceExhaustedError):
            raise ModelError("not enough memory") from None
        raise


def _rounded(value: Any) -> float:
    return round(float(value), DECIMALS_OF_SCORES)
