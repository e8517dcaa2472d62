"""A trial of settings of fine-tuning: the stages themselves, by ``dvc exp run`` in a clone.

On a cluster (``compute.engine: ray``) each trial is a task; see ``pawprint/workplaces/tasks.py``.

It takes what training and fine-tuning take, for each trial, and is judged on the validation split.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pawprint.runner.errors import StageError
from pawprint.runner.params import Params
from pawprint.search.experiments import remove_experiment
from pawprint.search.study import Planned, Trial
from pawprint.workplaces.snapshots import WantedExperiment
from pawprint.workplaces.tasks import Finished, run_on_cluster
from pawprint.workplaces.workplace import Workplace, open_workplace


class FinetuneTrials:
    """Runs the stages of one place, trial after trial.

    Args:
        workplace: what runs them, and hands over their experiments.
        figures: of stage finetune, such as ``metrics/finetune.json``.
        directory: where what DVC says is kept.
        params: whether there is a cluster, and how many threads a training has.
    """

    def __init__(self, workplace: Workplace, figures: str, directory: Path, params: Params) -> None:
        self._workplace, self._figures, self._params = workplace, figures, params
        self._logs = directory / "logs"

    def run(
        self,
        number: int,
        values: dict[str, Any],
        name: str,
        follow: Callable[[float], None] = lambda share: None,
    ) -> Trial:
        """As ``HeadTrials.run``; what is done of a trial is not known while it runs."""
        planned, began = Planned(number, values, name), time.monotonic()
        remove_experiment(self._workplace.commit, name)
        log = self._logs / f"{name}.txt"
        log.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._workplace.run(name, _changes(planned), log, shown=False)
        except StageError as error:
            return self._failed(planned, error, time.monotonic() - began)
        return self._read(planned, time.monotonic() - began)

    def run_all(
        self, planned: Sequence[Planned], follow: Callable[[float], None] = lambda share: None
    ) -> Iterator[Trial]:
        """Run several, on a cluster at the same time; they come in their order."""
        if self._params.compute.engine == "local":
            yield from (self.run(each.number, each.values, each.name, follow) for each in planned)
            return
        began = time.monotonic()
        ended: dict[int, Trial] = {}

        def tell(place: int, finished: Finished) -> None:
            each, seconds = planned[place], time.monotonic() - began
            error = finished.error()
            ended[place] = (
                self._failed(each, error, seconds) if error else self._read(each, seconds)
            )
            follow(len(ended) / len(planned))

        orders = [WantedExperiment(each.name, _changes(each)) for each in planned]
        run_on_cluster(self._workplace, orders, self._params, self._logs, tell)
        yield from (ended[place] for place in range(len(planned)))

    def _failed(self, planned: Planned, error: StageError, seconds: float) -> Trial:
        reason = f"{error.reason} ({self._logs / planned.name}.txt)"
        return Trial(planned.number, planned.values, reason=reason, training_s=seconds)

    def _read(self, planned: Planned, seconds: float) -> Trial:
        figures = json.loads(self._workplace.read(planned.name, self._figures))
        return Trial(
            planned.number,
            planned.values,
            loss=figures["val_log_loss"],
            accuracy=figures["val_accuracy"],
            experiment=planned.name,
            commit=self._workplace.find(planned.name),
            training_s=seconds,
        )


def _changes(planned: Planned) -> dict[str, str]:
    """What the trial changes; the first has what params.yaml has, as it is written there."""
    values = planned.values.items() if planned.number else ()
    return {key: as_override(value) for key, value in values}


@contextmanager
def open_trials(
    keys: Sequence[str], figures: str, directory: Path, params: Params
) -> Iterator[FinetuneTrials]:
    """Trials of the project as it is now, whatever is changed in it while they run.

    Args:
        keys: that are searched: of the head, which is then trained anew for each trial, and of
            fine-tuning.
        figures: as of ``FinetuneTrials``.
        directory: what is kept of the search, in the project; git and DVC ignore it.
        params: as of ``FinetuneTrials``.

    Raises:
        PawprintError: as ``open_workplace``.
    """
    with_head = any(key.partition(".")[0] == "head" for key in keys)
    stages = ("train_head", "finetune") if with_head else ("finetune",)
    settled = "features" if with_head else "train_head"
    with open_workplace(stages, settled, directory / "workplace", "search") as workplace:
        yield FinetuneTrials(workplace, figures, directory, params)


def as_override(value: Any) -> str:
    """A value as ``dvc exp run -S`` reads it.

    >>> as_override([256, 64]), as_override(True), as_override("cosine"), as_override("a (b)")
    ('[256,64]', 'true', 'cosine', "'a (b)'")
    """
    if not isinstance(value, str):
        return json.dumps(value, separators=(",", ":"))
    if re.fullmatch(r"[\w./+-]+", value, re.ASCII):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
