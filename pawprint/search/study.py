"""The trials of a search in a file of Optuna's, and what it proposes next.

The only module that imports Optuna. A trial is written when it has ended, never before: one that
was killed has left nothing, and is done once more. What is proposed for a trial follows from the
seed, the trial's number and the trials before it, so that a search may be stopped anywhere.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState, create_trial

from pawprint.runner.errors import DataError
from pawprint.search.ranges import NumberRange, Searched, read_all, suggest_all

_ATTEMPTS = 20  # at a setting that was not tried yet
_CONDITIONS, _TRIAL = "conditions", "trial"  # names in the file
_FEWEST = 10  # trials with a score, for importances


@dataclass(frozen=True)
class Planned:
    """A trial that is to be run.

    Attributes:
        number: from 0, which has the values that params.yaml has.
        values: of the searched keys.
        name: of its experiment.
    """

    number: int
    values: dict[str, Any]
    name: str


@dataclass(frozen=True)
class Trial:
    """A setting that was tried.

    Attributes:
        number: from 0, which has the values that params.yaml has.
        values: of the searched keys.
        loss: the log loss; None if the trial failed.
        loss_se: its standard error; 0 where it is not known.
        accuracy: of the same predictions; None if the trial failed.
        fold_losses: the mean log loss of each fold; empty where there are no folds.
        reason: why it failed; empty if it did not.
        experiment: the name of its DVC experiment; empty if it has none.
        commit: of this experiment.
        training_s: seconds of training.
        dvc_s: seconds until the experiment was written.
    """

    number: int
    values: dict[str, Any]
    loss: float | None = None
    loss_se: float = 0.0
    accuracy: float | None = None
    fold_losses: list[float] = field(default_factory=list)
    reason: str = ""
    experiment: str = ""
    commit: str = ""
    training_s: float = 0.0
    dvc_s: float = 0.0

    @property
    def key(self) -> str:
        """The same for equal settings."""
        return json.dumps(self.values)


class Study:
    """The trials of one search.

    Args:
        path: Optuna's journal; made if missing.
        ranges: what is searched.
        seed: of the proposals.
        conditions: all that must stay the same while a search goes on, as texts by their names.

    Raises:
        DataError: the file is damaged, or not one of Optuna's.
    """

    def __init__(
        self, path: Path, ranges: Sequence[Searched], seed: int, conditions: dict[str, str]
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        _drop_unfinished_line(path)
        self._ranges, self._seed = list(ranges), seed
        self._distributions = {each.key: _distribution(each) for each in ranges}
        try:
            storage = JournalStorage(JournalFileBackend(str(path), lock_obj=_OneProcess(str(path))))
            self._study = optuna.create_study(
                storage=storage, study_name="search", direction="minimize", load_if_exists=True
            )
            if _CONDITIONS not in self._study.user_attrs:
                self._study.set_user_attr(_CONDITIONS, conditions)
            self.trials = [_read_trial(trial) for trial in self._study.trials]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{path}: expected the trials of a search, found a damaged file ({error}); "
                "begin anew with --fresh"
            ) from None

    @property
    def conditions(self) -> dict[str, str]:
        """Those under which the search began."""
        return dict(self._study.user_attrs[_CONDITIONS])

    def propose(
        self, planned: Sequence[dict[str, Any]] = (), judged: int | None = None
    ) -> dict[str, Any]:
        """Values of the searched keys that were not tried yet.

        Args:
            planned: values of trials that come before it and have not ended.
            judged: how many of the trials it follows from; None: all.

        Source: Bergstra et al., Algorithms for Hyper-Parameter Optimization (2011): TPE.
        """
        tried = {trial.key for trial in self.trials} | {Trial(0, each).key for each in planned}
        history = optuna.create_study()
        history.add_trials(self._study.trials[:judged])
        values: dict[str, Any] = {}
        for attempt in range(_ATTEMPTS):
            number = len(self.trials) + len(planned)
            sequence = np.random.SeedSequence([self._seed, number, attempt])
            seed = int(sequence.generate_state(1)[0])
            # Where choices repeat themselves, the last attempts are those of chance
            by_chance = attempt >= _ATTEMPTS // 2
            history.sampler = (
                optuna.samplers.RandomSampler(seed)
                if by_chance
                else optuna.samplers.TPESampler(seed=seed)
            )
            values = read_all(self._ranges, history.ask(self._distributions).params)
            if Trial(0, values).key not in tried:
                return values
        return next(
            (values for values in _all_values(self._ranges) if Trial(0, values).key not in tried),
            values,
        )

    def add(self, trial: Trial) -> None:
        """Write a trial that has ended; it is on the disk afterwards."""
        self._study.add_trial(_write_trial(trial, self._ranges, self._distributions))
        self.trials.append(trial)

    def importances(self) -> dict[str, float]:
        """The share of each searched key in how the logarithm of the log loss varies.

        Empty where there are too few trials to tell. Source: Hutter et al., An Efficient Approach
        for Assessing Hyperparameter Importance (2014).
        """
        inside = [t for t in self._study.get_trials(states=(TrialState.COMPLETE,))]
        inside = [t for t in inside if set(t.params) == set(self._distributions)]
        if len(inside) < _FEWEST:
            return {}
        history = optuna.create_study()
        history.add_trials(inside)
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=self._seed)
        found = optuna.importance.get_param_importances(
            history, evaluator=evaluator, target=_logarithm
        )
        return {each.key: float(found.get(each.key, 0.0)) for each in self._ranges}


class _OneProcess(JournalFileOpenLock):
    """Optuna's own locks are files that a killed process leaves; the command has a better one."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


def _drop_unfinished_line(path: Path) -> None:
    """Cut off what a process left that was killed while it wrote."""
    if not path.exists():
        return
    with open(path, "r+b") as file:
        content = file.read()
        if content and not content.endswith(b"\n"):
            file.truncate(content.rfind(b"\n") + 1)
            os.fsync(file.fileno())


def _distribution(searched: Searched) -> BaseDistribution:
    if not isinstance(searched, NumberRange):
        return CategoricalDistribution(searched.texts)
    if searched.whole:
        return IntDistribution(int(searched.low), int(searched.high), log=searched.log)
    return FloatDistribution(float(searched.low), float(searched.high), log=searched.log)


def _all_values(ranges: Sequence[Searched]) -> Iterator[dict[str, Any]]:
    """All settings, where every key has a finite number of values."""
    first, *rest = ranges
    if isinstance(first, NumberRange):
        own: Sequence[Any] = (
            range(int(first.low), int(first.high) + 1) if first.whole else (first.low,)
        )
    else:
        own = first.values
    for value in own:
        for others in _all_values(rest) if rest else [{}]:
            yield {first.key: value, **others}


def _write_trial(
    trial: Trial, ranges: Sequence[Searched], distributions: dict[str, BaseDistribution]
) -> FrozenTrial:
    """As Optuna has it; values that lie in no range, of trial 0, stand only in what we add."""
    inside = suggest_all(ranges, trial.values)
    failed = trial.loss is None
    return create_trial(
        state=TrialState.FAIL if failed else TrialState.COMPLETE,
        value=trial.loss,
        params=inside,
        distributions={key: distributions[key] for key in inside},
        user_attrs={_TRIAL: asdict(trial)},
    )


def _logarithm(trial: FrozenTrial) -> float:
    return float(np.log(trial.values[0]))


def _read_trial(trial: FrozenTrial) -> Trial:
    return Trial(**trial.user_attrs[_TRIAL])
