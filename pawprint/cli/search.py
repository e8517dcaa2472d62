"""``python -m pawprint search``: better settings of the head or of fine-tuning, within a budget."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pawprint.registry.models import MODELS
from pawprint.runner.errors import ParamsError, PawprintError
from pawprint.runner.machine import describe_machine
from pawprint.runner.params import Params
from pawprint.runner.params_file import load_params
from pawprint.runner.stage import held_alone
from pawprint.search.ranges import Searched, count_combinations, look_up, parse_ranges, suggest_all

if TYPE_CHECKING:
    from pawprint.search.experiments import Experiments
    from pawprint.search.head_trials import HeadTrials
    from pawprint.search.progress import Budget
    from pawprint.search.study import Planned, Study, Trial

_PROCESSED, _POOLED, _MANIFEST = "data/processed", "data/features/pooled", "data/split.csv"
_SEARCHES = Path("searches")  # git ignores it, DVC does not know it
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")  # also of git's references
_CHART, _TABLE = "importance.png", "trials.csv"


class Trials(Protocol):
    """What can run trials; see ``HeadTrials.run_all``."""

    def run_all(
        self, planned: Sequence[Planned], follow: Callable[[float], None]
    ) -> Iterator[Trial]: ...


def main(arguments: list[str], prog: str) -> int:
    """Try settings until the budget is used, and say what was found; all of it is kept.

    Args:
        arguments: behind the command's name.
        prog: how the command was called, for its help.

    Returns:
        The exit code: 0; 1: no trial has a score; 130: interrupted.

    Raises:
        PawprintError: something does not fit, before the first trial.
    """
    began = time.monotonic()
    options = _parse(arguments, prog)
    params = load_params()
    ranges = parse_ranges(options.ranges, params)
    finetuned = any(each.key.startswith("finetune.") for each in ranges)
    name = options.name or ("finetune" if finetuned else "head")
    from pawprint.search.experiments import Experiments
    from pawprint.search.progress import Budget
    from pawprint.search.study import Study

    if not finetuned:
        _check_features(params, ranges)
    experiments = Experiments("finetune" if finetuned else "crossval")
    directory = _SEARCHES / name
    with held_alone(directory, "this search is running already; give another one a --name"):
        if options.fresh:
            _forget(directory, name)
        conditions = _conditions(experiments, ranges, options.seed, options.together)
        study = Study(directory / "optuna.log", ranges, options.seed, conditions)
        _check_unchanged(study.conditions, conditions, name)
        budget = Budget(options.minutes, options.trials, began)
        search = Search(params, ranges, name, directory, study, budget, options.together)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        if finetuned:
            return search.finetune()
        return search.heads(experiments)


class Search:
    """A search whose arguments have been checked.

    Args:
        params: all of params.yaml.
        ranges: what is searched.
        name: of the search.
        directory: what is kept of it.
        study: its trials.
        budget: what it may take.
        together: how many trials are proposed before any of them is judged.
    """

    def __init__(
        self,
        params: Params,
        ranges: Sequence[Searched],
        name: str,
        directory: Path,
        study: Study,
        budget: Budget,
        together: int,
    ) -> None:
        self._params, self._ranges, self._name = params, list(ranges), name
        self._directory, self._study, self._budget = directory, study, budget
        self._keys = [each.key for each in ranges]
        self._together = together

    def heads(self, experiments: Experiments) -> int:
        """Search settings of the head; returns the exit code."""
        from pawprint.choosing.folds import (
            assign_folds,
            find_scarce_classes,
            warn_of_scarce_classes,
        )
        from pawprint.choosing.pictures import read_labelled_features
        from pawprint.networks.runtime import start_tensorflow
        from pawprint.search.head_trials import HeadTrials

        params = self._params
        pictures = read_labelled_features(
            Path(_PROCESSED), Path(_POOLED), Path(_MANIFEST), params.split
        )
        labels, groups, names = pictures.labels, pictures.groups, pictures.class_names
        folds = assign_folds(labels, groups, params.crossval, len(names))
        self._say_start(f"{params.crossval.folds} folds of {len(folds)} pictures")
        if scarce := find_scarce_classes(labels, groups, params.crossval.folds, names):
            print(warn_of_scarce_classes(scarce, params.crossval.folds), flush=True)
        if self._may_go_on():
            start_tensorflow(params.runtime.threads, params.head.seed)
        trials = HeadTrials(params, pictures, folds, experiments, self._directory)
        interrupted = self._run(nullcontext(trials))
        return self._end(interrupted, lambda: self._describe_heads(trials))

    def finetune(self) -> int:
        """Search settings of fine-tuning; returns the exit code."""
        from pawprint.search.finetune_trials import open_trials
        from pawprint.search.summary import describe_best_finetuned
        from pawprint.storage.tables import read_csv

        count = len(read_csv(Path(_PROCESSED, "val", "index.csv")))
        self._say_start(
            f"{count} validation pictures; each trial runs the stages in a copy, and takes as long "
            "as they do"
        )
        figures = next(model.figures for model in MODELS if model.stage == "finetune")
        interrupted = self._run(open_trials(self._keys, figures, self._directory, self._params))
        return self._end(interrupted, lambda: describe_best_finetuned(self._study.trials, count))

    def _say_start(self, judged: str) -> None:
        done = len(self._study.trials)
        begun = f"; continuing after {done} trials" if done else ""
        print(f"search {self._name}: judged on {judged}{begun}", flush=True)

    def _may_go_on(self) -> bool:
        return self._budget.allows(len(self._study.trials)) and not self._is_exhausted()

    def _is_exhausted(self, planned: Sequence[Planned] = ()) -> bool:
        """Whether every setting was tried, or is going to be."""
        tried = [trial.values for trial in self._study.trials]
        tried += [each.values for each in planned]
        known = [suggest_all(self._ranges, values) for values in tried]
        inside = {json.dumps(values) for values in known if len(values) == len(self._ranges)}
        return len(inside) >= count_combinations(self._ranges)

    def _run(self, place: AbstractContextManager[Trials]) -> bool:
        """Run trials until the budget is used; whether a user has stopped them.

        Args:
            place: of the trials; who stops them leaves it by an error, so that it keeps its work.
        """
        if not self._may_go_on():
            return False
        try:
            with place as trials:
                self._run_all(trials)
        except KeyboardInterrupt:
            return True
        return False

    def _run_all(self, trials: Trials) -> None:
        from pawprint.search.progress import SearchProgress

        study, budget = self._study, self._budget
        progress = SearchProgress(budget, study.trials)
        try:
            while self._may_go_on():
                for trial in trials.run_all(self._plan(), progress.follow):
                    study.add(trial)
                    budget.note(trial.training_s + trial.dvc_s)
                    progress.tell_trial(trial)
        finally:
            progress.close()

    def _plan(self) -> list[Planned]:
        """The next trials up to the end of a round; what they are, its other trials do not change.

        So a search that was stopped within a round goes on with the trials that it would have had.
        """
        from pawprint.search.study import Planned

        first, together = len(self._study.trials), self._together
        judged = first - first % together
        end = judged + together
        if self._budget.trials is not None:
            end = min(end, self._budget.trials)
        planned: list[Planned] = []
        for number in range(first, end):
            if planned and self._is_exhausted(planned):
                break
            known = [each.values for each in planned]
            values = self._study.propose(known, judged) if number else self._current()
            planned.append(Planned(number, values, f"search-{self._name}-{number:04d}"))
        return planned

    def _current(self) -> dict[str, Any]:
        """What params.yaml has of the searched keys."""
        return {key: look_up(self._params, key) for key in self._keys}

    def _end(self, interrupted: bool, describe: Callable[[], str]) -> int:
        """Write and say what was found; the exit code."""
        from pawprint.search.experiments import find_experiment, read_baseline
        from pawprint.search.summary import describe_trials, rank, write_trials

        trials = self._study.trials
        if not trials:
            told, rest = (
                ("stopped", "") if interrupted else ("--minutes: used up", "; give it more")
            )
            print(f"{told} before the first trial could end{rest}")
            return 130 if interrupted else 1
        write_trials(self._directory / _TABLE, trials, self._keys)
        print(describe_trials(trials, self._keys))
        if self._is_exhausted():
            print("every setting of these choices was tried")
        if interrupted:
            print("stopped; all finished trials are kept: the same command goes on")
        if not (ranked := rank(trials)):
            return 130 if interrupted else 1
        print(describe())
        self._draw()
        print(f"of each trial: {self._directory / _TABLE}; as experiments: dvc exp show")
        if ranked[0].number:
            best = ranked[0].experiment
            if find_experiment(read_baseline(), best):
                print(f"to take the best: dvc exp apply {best} && dvc repro")
            else:
                print(f"{best} has been removed: its values are in the table above")
        return 130 if interrupted else 0

    def _draw(self) -> None:
        from pawprint.search.chart import render_search
        from pawprint.search.summary import describe_importances

        importances = self._study.importances()
        path = self._directory / _CHART
        render_search(path, self._study.trials, self._ranges, importances)
        print(f"{describe_importances(importances)}; picture: {path}")

    def _describe_heads(self, trials: HeadTrials) -> str:
        from pawprint.choosing.scores import paired_mean
        from pawprint.search.summary import describe_best_head, rank

        best, current = rank(self._study.trials)[0], self._study.trials[0]
        confidence = self._params.evaluate.confidence
        gain = None
        if best.number and current.loss is not None:
            before, after = (trials.read_losses(trial.number) for trial in (current, best))
            gain = paired_mean(before - after, trials.groups, confidence)
        return describe_best_head(self._study.trials, trials.fold_sizes, gain, confidence)


def _check_features(params: Params, ranges: Sequence[Searched]) -> None:
    """Refuse class weights that do not fit the classes, in params.yaml and among the choices."""
    from pawprint.data.datasets import read_class_names
    from pawprint.runner.class_counts import check_all_class_weights
    from pawprint.runner.params_file import change_params
    from pawprint.search.ranges import Choices

    if not Path(_PROCESSED, "classes.json").exists():
        raise PawprintError(
            f"{_PROCESSED}: expected the pictures of stage preprocess, found none; run "
            "`dvc repro crossval` first"
        )
    names = read_class_names(Path(_PROCESSED))
    check_all_class_weights(params, names)
    for each in ranges:
        if isinstance(each, Choices):
            for value in each.values:
                check_all_class_weights(change_params(params, {each.key: value}), names)


def _conditions(
    experiments: Experiments, ranges: Sequence[Searched], seed: int, together: int
) -> dict[str, str]:
    """All that must stay the same while a search goes on, by the names that a message has."""
    from importlib import metadata

    machine = {**describe_machine(), "optuna": metadata.version("optuna")}
    return {
        "the ranges": " ".join(f"{each.key}={each.text}" for each in ranges),
        "--seed": str(seed),
        **({} if together == 1 else {"--together": str(together)}),
        "the commit": experiments.baseline[:7],  # on which its experiments are
        **experiments.conditions,
        **machine,
    }


def _check_unchanged(before: Mapping[str, str], now: Mapping[str, str], name: str) -> None:
    for key in [*now, *before]:
        old, new = before.get(key), now.get(key)
        if old == new:
            continue
        what = f"{key} changed" if key == "data or code" else f"{key} was {old}, now {new}"
        raise ParamsError(
            f"search {name}: {what} since it began, so that its trials cannot be compared; give "
            "another --name, or begin anew with --fresh"
        )


def _forget(directory: Path, name: str) -> None:
    """Remove a search's trials and its experiments."""
    from pawprint.search.experiments import remove_experiments

    for path in directory.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    if count := remove_experiments(f"search-{name}"):
        print(f"--fresh: {count} experiments of the search before are removed")


def _parse(arguments: list[str], prog: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Search settings of the head (head.*), judged by cross-validation on cached "
        "features, or of fine-tuning (finetune.*), judged on the validation split by the stages "
        "themselves, which takes far longer. RANGE is a..b, a..b:log, or choices x|y|z. Every "
        "trial is a DVC experiment, search-NAME-0000 and so on; the first has what params.yaml "
        "has. The test split is not read. A search that was stopped goes on when the same command "
        f"is typed again; what is kept of it is in {_SEARCHES}/NAME. Run it from the project's "
        "root, after `dvc repro crossval`, with finetune.* after `dvc repro train_head`.",
        epilog=f"example: {prog} --minutes 15 head.lr=1e-4..1e-2:log head.dropout=0..0.6 "
        "'head.hidden=[]|[256]'",
    )
    add = parser.add_argument
    add("ranges", nargs="*", metavar="KEY=RANGE", help="what is searched")
    add("--minutes", type=_minutes, metavar="M", help="of this call, all included")
    add("--trials", type=_count, metavar="N", help="in all, with those of earlier calls")
    add("--seed", type=_seed, default=0, metavar="N", help="of what is tried (%(default)s)")
    add("--name", type=_name, help="of the search (head, or finetune)")
    add(
        "--together",
        type=_count,
        default=1,
        metavar="N",
        help="trials that are proposed at once, and of finetune.* run at once on a cluster "
        "(compute.engine: ray); see docs/scale.md (%(default)s)",
    )
    add("--fresh", action="store_true", help="forget the trials and experiments of this name")
    options = parser.parse_intermixed_args(arguments)
    if options.minutes is None and options.trials is None:
        parser.error("expected --minutes, --trials or both: when the search is to end")
    return options


def _minutes(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 100_000:
        raise argparse.ArgumentTypeError(f"expected minutes above 0, found {text!r}")
    return value


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 9999:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to 9999, found {text!r}")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**31:
        raise argparse.ArgumentTypeError(f"expected a whole number from 0, found {text!r}")
    return int(text)


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"expected up to 40 letters, digits, - and _, found {text!r}"
        )
    return text
