"""Runs the rows of a study by DVC, and remembers which are done and what they took."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pawprint.cli.compare import PLACES
from pawprint.comparison.trees import Project, open_tree
from pawprint.evaluation.predictions import Prediction, read_predictions
from pawprint.runner.errors import DataError, PawprintError, StageError
from pawprint.runner.files import UNFINISHED
from pawprint.runner.lock import hash_output
from pawprint.runner.params_file import parse_yaml
from pawprint.runner.times import ASKED, StageTime, read_times
from pawprint.search.finetune_trials import as_override
from pawprint.storage.tables import read_json, write_json
from pawprint.versions.cache import FRESH
from pawprint.workplaces.dvc_process import own_environment
from pawprint.workplaces.snapshots import WantedExperiment
from pawprint.workplaces.tasks import Finished, run_on_cluster
from pawprint.workplaces.workplace import Workplace, open_workplace
from studies.study_file import Row, Run, Study

STAGES = (
    "preprocess",
    "train_baseline",
    "features",
    "train_head",
    "finetune",
    "ensemble",
    "evaluate",
)
SETTLED = "split"  # whose results they start from
PLACE = UNFINISHED / "studies"
SCORES = "metrics/scores/{}.json"
# Of each model: the stages behind preprocess that make it
TIMED = {
    "baseline": ("train_baseline",),
    "head": ("features", "train_head"),
    "finetuned": ("features", "train_head", "finetune"),
}


@dataclass(frozen=True)
class Result:
    """What is read of an experiment.

    Attributes:
        experiment: its name.
        said: path → what the judged model said of that test picture.
        val_log_loss: of its training, in nats.
        times: stage → what it took when it ran in this study; a stage that did not is not in it.
    """

    experiment: str
    said: Mapping[str, Prediction]
    val_log_loss: float
    times: Mapping[str, StageTime] = field(default_factory=dict)


@dataclass
class Journal:
    """What is known of finished experiments, in a file that each one replaces.

    Attributes:
        path: of the file.
        runs: experiment → ``key``: of all that determines it, ``commit``: of git, ``stages``:
            stage → key of its own inputs.
        times: key of a stage's inputs → what it took.
    """

    path: Path
    runs: dict[str, dict[str, Any]]
    times: dict[str, dict[str, Any]]

    @classmethod
    def open(cls, path: Path) -> Journal:
        """One that is damaged is begun anew: DVC's cache still has what was computed."""
        try:
            found = read_json(path) if path.is_file() else {}
            return cls(path, dict(found.get("runs", {})), dict(found.get("times", {})))
        except (ValueError, AttributeError, TypeError):
            return cls(path, {}, {})

    def times_of(self, experiment: str) -> dict[str, StageTime]:
        """stage → what it took, where that is known."""
        stages = self.runs[experiment]["stages"]
        known = {stage: self.times.get(key) for stage, key in stages.items()}
        return {stage: StageTime(**found) for stage, found in known.items() if found}

    def add(
        self,
        experiment: str,
        key: str,
        commit: str,
        stages: Mapping[str, str],
        taken: Mapping[str, StageTime],
    ) -> None:
        """Note a finished experiment; the file is written whole."""
        self.runs[experiment] = {"key": key, "commit": commit, "stages": dict(stages)}
        for stage, found in taken.items():
            self.times[stages[stage]] = asdict(found)
        write_json(self.path, {"runs": self.runs, "times": self.times})


def run_study(study: Study, say: Callable[[str], None]) -> dict[str, Result | PawprintError]:
    """Have each experiment of a study, and read it; those that are done are not run again.

    Args:
        study: what is run.
        say: tells the user a line.

    Returns:
        experiment → its result, or why it has none.

    Raises:
        PawprintError: the project cannot run any, as ``open_workplace`` says.
    """
    place = PLACE / study.name
    with open_workplace(STAGES, SETTLED, place, f"python -m studies {study.name}") as workplace:
        bench = _Bench(workplace, study, workplace.project.root / place)
        runs = [(row, run) for row in study.rows for run in row.runs]
        if runs and runs[0][1].params.compute.engine != "local":
            bench.run_on_cluster([run for _, run in runs], say)
        return {
            run.experiment: bench.have(run, row.model, number, say)
            for number, (row, run) in enumerate(runs, start=1)
        }


class _Bench:
    """The clone, and what is kept beside it."""

    def __init__(self, workplace: Workplace, study: Study, directory: Path) -> None:
        self._workplace, self._directory = workplace, directory
        self._journal = Journal.open(directory / "journal.json")
        self._files = _list_files(workplace.root)
        self._count = len(study.runs)
        # Each run changes the same keys, as DVC leaves its values in the clone
        self._common = sorted({key for run in study.runs for key in run.values})
        self._taken: list[float] = []
        self._failed: dict[str, StageError] = {}  # of those that a cluster has run

    def run_on_cluster(self, runs: Sequence[Run], say: Callable[[str], None]) -> None:
        """Have a cluster run those that are not done; ``have`` then finds them."""
        left = [run for run in runs if not self._is_done(run, self._key(run))]

        def tell(place: int, finished: Finished) -> None:
            run = left[place]
            if error := finished.error():
                self._failed[run.experiment] = error
                return
            timed = self._directory / f"{run.experiment}.jsonl"
            timed.write_text(finished.times, encoding="utf-8")
            stages = _stage_keys(self._workplace.read(run.experiment, "dvc.lock"))
            self._note(run, self._key(run), stages, timed)
            say(f"   {run.experiment}: {', '.join(finished.ran)}")

        orders = [
            WantedExperiment(run.experiment, self._changes(run), {FRESH: "1"}) for run in left
        ]
        if orders:
            run_on_cluster(self._workplace, orders, left[0].params, self._directory, tell)

    def have(
        self, run: Run, model: str, number: int, say: Callable[[str], None]
    ) -> Result | PawprintError:
        """The result of an experiment, which is run unless it is there."""
        if error := self._failed.get(run.experiment):
            say(f"{number} of {self._count}: {run.experiment}\n   failed: {error}")
            return error
        key = self._key(run)
        if self._is_done(run, key):
            try:
                result = self._read(run, model)
            except PawprintError:  # of what DVC's cache has lost
                pass
            else:
                say(f"{number} of {self._count}: {run.experiment}: done before")
                return result
        left = (self._count - number + 1) * sum(self._taken) / max(len(self._taken), 1)
        coming = f", about {_minutes(left)} left" if self._taken else ""
        say(f"{number} of {self._count}: {run.experiment}{coming}")
        begin = time.monotonic()
        try:
            ran = self._run(run, key)
            result = self._read(run, model)
        except (StageError, DataError) as error:
            say(f"   failed: {error}")
            return error
        self._taken.append(time.monotonic() - begin)
        shown = ", ".join(ran) if ran else "all of it was in the cache"
        say(f"   {self._taken[-1]:.0f} s: {shown}")
        return result

    def _run(self, run: Run, key: str) -> list[str]:
        timed = self._directory / f"{run.experiment}-{key[:12]}.jsonl"
        with tempfile.TemporaryDirectory(prefix="pawprint-") as logs, _asked(timed):
            ran = self._workplace.run(run.experiment, self._changes(run), Path(logs, "log.txt"))
        lock = (self._workplace.root / "dvc.lock").read_text(encoding="utf-8")
        self._note(run, key, _stage_keys(lock), timed)
        return ran

    def _is_done(self, run: Run, key: str) -> bool:
        done = self._journal.runs.get(run.experiment, {})
        return done.get("key") == key and done.get("commit") == self._find(run)

    def _note(self, run: Run, key: str, stages: Mapping[str, str], timed: Path) -> None:
        """Note a finished experiment, and what its stages have written of their times."""
        taken = read_times(timed)  # of a run that was stopped before, too
        known = {stage: found for stage, found in taken.items() if stage in stages}
        self._journal.add(run.experiment, key, self._find(run), stages, known)
        timed.unlink(missing_ok=True)

    def _changes(self, run: Run) -> dict[str, str]:
        content = run.params.model_dump()
        pairs = ((key, *key.split(".")) for key in self._common)
        return {key: as_override(content[section][name]) for key, section, name in pairs}

    def _key(self, run: Run) -> str:
        """Of code, uncommitted changes included, and data (by dvc.lock), weights and values."""
        weights = Path(run.params.model.weights_file)
        given = hash_output(weights) if weights.exists() else ""
        parts = [self._files, given, run.params.model_dump()]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _find(self, run: Run) -> str:
        return self._workplace.find(run.experiment)

    def _read(self, run: Run, model: str) -> Result:
        commit = self._journal.runs[run.experiment]["commit"]
        said, val_log_loss = _read_experiment(self._workplace.project, commit, model)
        return Result(run.experiment, said, val_log_loss, self._journal.times_of(run.experiment))


def _read_experiment(
    project: Project, commit: str, model: str
) -> tuple[Mapping[str, Prediction], float]:
    """What the model said of the test pictures, and its validation log loss."""
    tree = open_tree(project, commit)
    with tempfile.TemporaryDirectory(prefix="pawprint-") as directory:
        table = Path(directory, "predictions.csv")
        try:
            tree.copy(PLACES.predictions, table)
            scores = tree.read_yaml(SCORES.format(model))
        except FileNotFoundError as error:
            raise DataError(f"{commit[:7]}: its results are not in DVC's cache ({error})") from None
        return read_predictions(table)[model], float(scores["val_log_loss"])


def training_times(row: Row, result: Result) -> list[StageTime] | None:
    """What the stages of the judged model took; None: some did not run in this study."""
    found = [result.times.get(stage) for stage in TIMED[row.model]]
    return None if None in found else [each for each in found if each]


def _stage_keys(lock: str) -> dict[str, str]:
    """stage → a hash of what it is made of, of the text of ``dvc.lock``."""
    entries = parse_yaml(lock)["stages"]
    made_of = {
        stage: json.dumps([entry.get(part) for part in ("cmd", "deps", "params")], sort_keys=True)
        for stage, entry in entries.items()
    }
    return {stage: hashlib.sha256(text.encode()).hexdigest() for stage, text in made_of.items()}


def _list_files(root: Path) -> list[str]:
    """The files that git knows of the clone, as it was opened: mode, hash, path; no studies."""
    command = ["git", "ls-files", "--stage", "-z", "--", ".", ":(exclude)studies"]
    done = subprocess.run(
        command, cwd=root, env=own_environment(), check=True, capture_output=True, text=True
    )
    return done.stdout.split("\0")


@contextmanager
def _asked(path: Path) -> Iterator[None]:
    """Have the stages write down what they take, and take nothing from earlier rows."""
    os.environ |= {ASKED: str(path), FRESH: "1"}
    try:
        yield
    finally:
        del os.environ[ASKED], os.environ[FRESH]


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
