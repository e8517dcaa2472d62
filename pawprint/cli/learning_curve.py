"""``python -m pawprint learning-curve``: what more pictures would bring."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from pawprint.runner.errors import PawprintError
from pawprint.runner.files import UNFINISHED, file_digest, files_of
from pawprint.runner.fingerprint import fingerprint
from pawprint.runner.params import Params
from pawprint.runner.params_file import load_params
from pawprint.runner.stage import held_alone, keep_work

if TYPE_CHECKING:
    from pawprint.choosing.pictures import LabelledFeatures
    from pawprint.learning_curve.subsets import Plan

_PROCESSED, _POOLED, _MANIFEST = "data/processed", "data/features/pooled", "data/split.csv"
_MOST_GROWTH = 10  # times the pictures that there are; beyond, nothing can be foretold
_WORK = "learning-curve"  # what is kept of one that was stopped
_START_S = 6  # TensorFlow's
_OWN = ("pawprint/cli/learning_curve.py", "pawprint/learning_curve")  # besides stage crossval's


def main(arguments: list[str], prog: str) -> int:
    """Train the head on growing parts of train and val; print and write what they tell.

    Args:
        arguments: behind the command's name.
        prog: how the command was called, for its help.

    Returns:
        The exit code, 0; what cannot be told is no mistake.

    Raises:
        PawprintError: features are missing or out of date, there are too few pictures, or a
            training has diverged.
    """
    options = _parse(arguments, prog)
    params = load_params()
    pictures, plan = _prepare(params, options)
    try:
        with held_alone(UNFINISHED / _WORK, "another learning-curve is at work in this project"):
            _draw_curve(params, options, pictures, plan)
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on where it was", file=sys.stderr)
        raise
    return 0


def _prepare(params: Params, options: argparse.Namespace) -> tuple[LabelledFeatures, Plan]:
    """All that can be refused is refused here, before TensorFlow is imported."""
    from pawprint.choosing.folds import find_scarce_classes, warn_of_scarce_classes
    from pawprint.choosing.pictures import read_labelled_features
    from pawprint.data.datasets import read_class_names
    from pawprint.learning_curve.subsets import plan_curve
    from pawprint.runner.class_counts import check_all_class_weights
    from pawprint.runner.lock import check_outputs

    processed, pooled, manifest = Path(_PROCESSED), Path(_POOLED), Path(_MANIFEST)
    if unknown := check_outputs([_MANIFEST, _POOLED], params, Path("dvc.lock")):
        print(f"warning: {unknown}", file=sys.stderr)
    check_all_class_weights(params, read_class_names(processed))
    pictures = read_labelled_features(processed, pooled, manifest, params.split)
    names = pictures.class_names
    plan = plan_curve(
        pictures.labels, pictures.groups, names, params.crossval, options.seeds, options.sizes
    )
    folds = params.crossval.folds
    if scarce := find_scarce_classes(pictures.labels, pictures.groups, folds, names):
        print(warn_of_scarce_classes(scarce, folds), file=sys.stderr)
    most = (_MOST_GROWTH - 1) * int(plan.sizes[-1])
    if options.more > most:
        raise PawprintError(
            f"--more: expected at most {most}, for {_MOST_GROWTH} times the {plan.sizes[-1]:,} "
            f"training pictures that there are; found {options.more}"
        )
    return pictures, plan


def _draw_curve(
    params: Params, options: argparse.Namespace, pictures: LabelledFeatures, plan: Plan
) -> None:
    from pawprint.learning_curve.figure import render_curve
    from pawprint.learning_curve.measurement import estimate_seconds, measure_curve
    from pawprint.learning_curve.results import describe_curve, fit_curve, write_curve
    from pawprint.networks.runtime import start_tensorflow

    seconds = estimate_seconds(plan, pictures, params.head.epochs)
    print(
        f"{len(plan.runs) * len(plan.sizes)} heads on {plan.sizes[0]:,} to {plan.sizes[-1]:,} "
        f"pictures: about {_duration(_START_S + sum(seconds))} on 2 cores",
        flush=True,
    )
    start_tensorflow(params.runtime.threads, params.head.seed)
    with keep_work(_WORK, _key(params, options)) as work:
        with CurveProgress(plan.sizes.tolist(), seconds.tolist()) as progress:
            measured = measure_curve(pictures, plan, params.head, work, progress.follow)
        confidence, seed = params.evaluate.confidence, params.head.seed
        curve = fit_curve(measured, plan.sizes, pictures.groups, options.more, confidence, seed)
        out = Path(options.out)
        write_curve(out, curve, measured)
        render_curve(out / "curve.png", curve)
    print(describe_curve(curve))
    print(f"\n{out}/: curve.png, curve.csv, curve.json")


def _key(params: Params, options: argparse.Namespace) -> str:
    """Of the measurements: a hash of all that determines them.

    Stage crossval reads the same data, parameters and modules, but for this command's own.
    """
    own = [(path.as_posix(), file_digest(path)) for path in files_of(_OWN)]
    shape = [options.seeds, options.sizes, fingerprint("crossval", params), own]
    return hashlib.sha256(json.dumps(shape).encode()).hexdigest()


class CurveProgress:
    """A bar with the time left, and a line for each size where nobody watches, as in a log.

    Args:
        sizes: training pictures.
        seconds: what each of them is expected to take; only their shares matter.
    """

    def __init__(self, sizes: Sequence[int], seconds: Sequence[float]) -> None:
        self._sizes, self._seconds = sizes, seconds
        self._watched = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._bar = tqdm(
            total=100,
            desc="learning curve",
            disable=not self._watched,
            bar_format="{desc}: {percentage:3.0f} %|{bar}| {elapsed}, {remaining} left{postfix}",
        )
        self._began: tuple[float, float] | None = None
        self._told: set[int] = set()  # sizes that have their line
        self._clock: Callable[[], float] = time.monotonic

    def __enter__(self) -> CurveProgress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def follow(self, place: int, share: float) -> None:
        """As ``measure_curve`` tells it."""
        done = sum(self._seconds[:place]) + share * self._seconds[place]
        done *= 100 / sum(self._seconds)
        if self._began is None and share < 1:  # what was kept of an earlier run took no time
            self._began = (self._clock(), done)
            self._bar.initial = done
        self._bar.set_postfix_str(f"{self._sizes[place]:,} pictures", refresh=False)
        self._bar.update(done - self._bar.n)
        if share == 1 and not self._watched and place not in self._told:
            self._told.add(place)
            print(f"{self._sizes[place]:,} pictures: {self._left(done)}", file=sys.stderr)

    def _left(self, done: float) -> str:
        began, at_first = self._began or (0.0, done)
        if done <= at_first:
            return f"{done:.0f} % done"
        left = (self._clock() - began) * (100 - done) / (done - at_first)
        return f"{done:.0f} % done, about {_duration(left)} left"


def _duration(seconds: float) -> str:
    """
    >>> _duration(42.3), _duration(200)
    ('42 s', '3.3 min')
    """
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


def _parse(arguments: list[str], prog: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Train the head on growing parts of train and val, by the recipe of "
        "params.yaml, and say what more pictures would bring. Each size is judged on all of these "
        "pictures, by heads that have not seen them (crossval.folds). The test split is not read. "
        "Run it from the project's root, after stage features.",
    )
    add = parser.add_argument
    add(
        "--more",
        type=_whole(1, None),
        default=1000,
        metavar="N",
        help="how many more training pictures are asked about (%(default)s)",
    )
    add(
        "--seeds",
        type=_whole(2, 100),
        default=5,
        metavar="N",
        help="of each size: other folds, parts and first weights (%(default)s)",
    )
    add(
        "--sizes",
        type=_whole(5, 12),
        default=6,
        metavar="N",
        help="from a 32nd of the pictures, or as many as are needed, to all (%(default)s)",
    )
    add(
        "--out",
        default="plots/learning_curve",
        metavar="DIR",
        help="where curve.png, curve.csv and curve.json are written (%(default)s)",
    )
    options = parser.parse_args(arguments)
    if not options.out or (Path(options.out).exists() and not Path(options.out).is_dir()):
        parser.error(f"--out: expected a folder, found {options.out!r}")
    return options


def _whole(low: int, high: int | None) -> Callable[[str], int]:
    limits = f"from {low}" if high is None else f"from {low} to {high}"

    def convert(text: str) -> int:
        if not text.isdecimal() or int(text) < low or (high is not None and int(text) > high):
            raise argparse.ArgumentTypeError(f"expected a whole number {limits}, found {text!r}")
        return int(text)

    return convert
