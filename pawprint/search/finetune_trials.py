"""A trial of settings of fine-tuning: the stages themselves, by ``dvc exp run`` in a clone.

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
from pawprint.search.experiments import find_experiment, remove_experiment
from pawprint.search.study import Trial
from pawprint.workplaces.workplace import Workplace, open_workplace


class FinetuneTrials:
    """Runs the stages of one place, trial after trial.

    Args:
        workplace: what runs them, and hands over their experiments.
        figures: of stage finetune, such as ``metrics/finetune.json``.
        directory: where what DVC says is kept.
    """

    def __init__(self, workplace: Workplace, figures: str, directory: Path) -> None:
        self._workplace, self._figures, self._directory = workplace, figures, directory

    def run(
        self,
        number: int,
        values: dict[str, Any],
        name: str,
        follow: Callable[[float], None] = lambda share: None,
    ) -> Trial:
        """As ``HeadTrials.run``; what is done of a trial is not known while it runs."""
        began = time.monotonic()
        baseline = self._workplace.commit
        remove_experiment(baseline, name)
        # The first has what params.yaml has, as it is written there
        changes = {key: as_override(value) for key, value in values.items()} if number else {}
        log = self._directory / "logs" / f"{number:04d}.txt"
        log.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._workplace.run(name, changes, log, shown=False)
        except StageError as error:
            seconds = time.monotonic() - began
            return Trial(number, values, reason=f"{error.reason} ({log})", training_s=seconds)
        figures = json.loads((self._workplace.root / self._figures).read_text(encoding="utf-8"))
        return Trial(
            number,
            values,
            loss=figures["val_log_loss"],
            accuracy=figures["val_accuracy"],
            experiment=name,
            commit=find_experiment(baseline, name),
            training_s=time.monotonic() - began,
        )


@contextmanager
def open_trials(keys: Sequence[str], figures: str, directory: Path) -> Iterator[FinetuneTrials]:
    """Trials of the project as it is now, whatever is changed in it while they run.

    Args:
        keys: that are searched: of the head, which is then trained anew for each trial, and of
            fine-tuning.
        figures: as of ``FinetuneTrials``.
        directory: what is kept of the search, in the project; git and DVC ignore it.

    Raises:
        PawprintError: as ``open_workplace``.
    """
    with_head = any(key.partition(".")[0] == "head" for key in keys)
    stages = ("train_head", "finetune") if with_head else ("finetune",)
    settled = "features" if with_head else "train_head"
    with open_workplace(stages, settled, directory / "workplace", "search") as workplace:
        yield FinetuneTrials(workplace, figures, directory)


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
