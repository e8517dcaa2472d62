"""A trial of settings of fine-tuning: the stages themselves, by ``dvc exp run`` in another place.

It takes what training and fine-tuning take, for each trial, and is judged on the validation split.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pawprint.runner.errors import one_line
from pawprint.runner.processes import end_with_parent
from pawprint.search.experiments import find_experiment, remove_experiment
from pawprint.search.study import Trial

STAGE = "finetune"


class FinetuneTrials:
    """Runs stage finetune, and what comes before it, in copies that DVC makes.

    Args:
        baseline: the commit on top of which experiments are.
        figures: the stage's file of figures, such as ``metrics/finetune.json``.
        directory: where what DVC says is kept.
    """

    def __init__(self, baseline: str, figures: str, directory: Path) -> None:
        self._baseline, self._figures, self._directory = baseline, figures, directory

    def run(
        self,
        number: int,
        values: dict[str, Any],
        name: str,
        follow: Callable[[float], None] = lambda share: None,
    ) -> Trial:
        """As ``HeadTrials.run``; what is done of a trial is not known while it runs."""
        import dvc.api

        began = time.monotonic()
        remove_experiment(self._baseline, name)
        changes = [f"--set-param={key}={as_override(value)}" for key, value in values.items()]
        command = ["dvc", "exp", "run", "--temp", "--name", name]
        command += [*(changes if number else []), STAGE]
        log = self._directory / "logs" / f"{number:04d}.txt"
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "w+", encoding="utf-8") as file:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                preexec_fn=end_with_parent,
            )
            file.seek(0)
            said = file.read()
        seconds = time.monotonic() - began
        commit = find_experiment(self._baseline, name)
        if done.returncode or not commit:
            return Trial(number, values, reason=f"{_reason(said)} ({log})", training_s=seconds)
        figures = json.loads(dvc.api.read(self._figures, rev=commit))
        return Trial(
            number,
            values,
            loss=figures["val_log_loss"],
            accuracy=figures["val_accuracy"],
            experiment=name,
            commit=commit,
            training_s=seconds,
        )


def as_override(value: Any) -> str:
    """A value as ``dvc exp run -S`` reads it.

    >>> as_override([256, 64]), as_override(True), as_override("cosine")
    ('[256,64]', 'true', 'cosine')
    """
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _reason(said: str) -> str:
    """The stage's own line, or else DVC's."""
    lines = [line.strip() for line in said.splitlines()]
    for beginning in ("error:", "ERROR:"):
        for line in lines:
            if line.startswith(beginning):
                return one_line(line.removeprefix(beginning).strip())
    return "dvc exp run has failed"
