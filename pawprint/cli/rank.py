"""``python -m pawprint rank``: backbones and image sizes, by a head on their frozen features."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pawprint.ranking.candidates import (
    STEP_PX,
    Candidate,
    choose_candidates,
    describe_missing,
)
from pawprint.registry.backbones import BACKBONES
from pawprint.runner.errors import ParamsError
from pawprint.runner.files import UNFINISHED
from pawprint.runner.params import Params
from pawprint.runner.params_file import load_params
from pawprint.runner.processes import available_cores
from pawprint.storage.tables import read_csv, write_csv, write_json

if TYPE_CHECKING:
    from pawprint.choosing.out_of_fold import OutOfFold
    from pawprint.ranking.costs import Cost
    from pawprint.workplaces.workplace import Workplace

STAGES = ("preprocess", "features", "crossval")
SETTLED = "split"  # whose results they start from
PLACE = UNFINISHED / "rank"  # of the clone
PREDICTIONS, MANIFEST = "metrics/crossval/predictions.csv", "data/split.csv"
NETWORK, DECODED = "models/backbone.keras", "data/processed"
FEATURES = ("data/features/boundary", "data/features/pooled")


@dataclass(frozen=True)
class Outcome:
    """What is kept of a candidate's run.

    Attributes:
        table: what its heads said.
        network: a copy of its frozen network.
        picture_bytes, model_bytes: as of ``Cost``.
    """

    table: OutOfFold
    network: Path
    picture_bytes: float
    model_bytes: int


def main(arguments: list[str], prog: str) -> int:
    """Have every candidate cross-validated, and print them, the best one first.

    Args:
        arguments: behind the command's name.
        prog: how the command was called, for its help.

    Returns:
        The exit code, 0.

    Raises:
        PawprintError: something does not fit, or a stage has failed.
    """
    options = _parse(arguments, prog)
    params = load_params()
    candidates = choose_candidates(options.candidates, options.sizes, params)
    from pawprint.workplaces.workplace import open_workplace

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if candidates.left_out:
        _say(f"left out: {describe_missing(candidates.left_out)}")
    try:
        with (
            open_workplace(STAGES, SETTLED, PLACE, "rank") as workplace,
            tempfile.TemporaryDirectory(prefix="pawprint-") as directory,
        ):
            outcomes = _run_all(workplace, candidates.chosen, params, Path(directory))
            found = _compare(workplace.root / MANIFEST, outcomes, params, options)
    except KeyboardInterrupt:
        _say("interrupted: finished candidates are kept, and the same command goes on")
        raise
    print(found)
    return 0


def _run_all(
    workplace: Workplace, candidates: Sequence[Candidate], params: Params, directory: Path
) -> dict[Candidate, Outcome]:
    """Run the candidates; `directory` gets copies of their networks."""
    if params.compute.engine == "local":
        _run_here(workplace, candidates, directory)
    else:
        _run_on_cluster(workplace, candidates, params)
    return {
        candidate: _read_outcome(workplace, candidate.experiment, directory)
        for candidate in candidates
    }


def _run_on_cluster(workplace: Workplace, candidates: Sequence[Candidate], params: Params) -> None:
    """Run each as a task; the first that fails ends the command."""
    from pawprint.workplaces.snapshots import WantedExperiment
    from pawprint.workplaces.tasks import Finished, run_on_cluster

    def tell(number: int, finished: Finished) -> None:
        if error := finished.error():
            raise error
        _say(f"{candidates[number]}: {', '.join(finished.ran)}")

    orders = [WantedExperiment(each.experiment, each.changes) for each in candidates]
    run_on_cluster(workplace, orders, params, workplace.project.root / PLACE / "orders", tell)


def _run_here(workplace: Workplace, candidates: Sequence[Candidate], directory: Path) -> None:
    """Run the candidates, one after the other."""
    taken: list[float] = []
    for number, candidate in enumerate(candidates):
        left = (len(candidates) - number) * sum(taken) / max(len(taken), 1)
        coming = f", about {_minutes(left)} left" if taken else ""
        _say(f"{number + 1} of {len(candidates)}: {candidate}{coming}")
        start = time.monotonic()
        ran = workplace.run(
            candidate.experiment, candidate.changes, directory / f"{candidate.experiment}.txt"
        )
        seconds = time.monotonic() - start
        if ran:
            taken.append(seconds)
        _say(f"   {seconds:.0f} s: {', '.join(ran) if ran else 'all of it was in the cache'}")


def _read_outcome(workplace: Workplace, experiment: str, directory: Path) -> Outcome:
    from pawprint.choosing.out_of_fold import read_out_of_fold
    from pawprint.comparison.trees import open_tree

    tree = open_tree(workplace.project, workplace.find(experiment))
    predictions, network = directory / f"{experiment}.csv", directory / f"{experiment}.keras"
    tree.copy(PREDICTIONS, predictions)
    tree.copy(NETWORK, network)
    table = read_out_of_fold(predictions)
    lock = tree.read_yaml("dvc.lock")["stages"]
    size_of = {out["path"]: out["size"] for name in STAGES for out in lock[name]["outs"]}
    features = sum(size_of[path] for path in FEATURES) / len(table.paths)
    pixels = size_of[DECODED] / len(read_csv(workplace.root / MANIFEST))
    return Outcome(table, network, pixels + features, size_of[NETWORK])


def _compare(
    manifest: Path,
    outcomes: Mapping[Candidate, Outcome],
    params: Params,
    options: argparse.Namespace,
) -> str:
    """Rank them, measure what they cost, write the files that were asked for; returns the text."""
    from pawprint.choosing.pictures import group_pictures
    from pawprint.data.manifest import read_manifest
    from pawprint.ranking.comparison import rank
    from pawprint.ranking.words import as_values, render_ranking, table_of, tell_next_step

    group_of = group_pictures(read_manifest(manifest), params.split)
    tables = {candidate: outcome.table for candidate, outcome in outcomes.items()}
    found = rank(tables, group_of, params.evaluate.confidence)
    costs = _measure(outcomes, params)
    if options.csv:
        write_csv(options.csv, *table_of(found, costs))
    if options.json:
        write_json(options.json, as_values(found, costs))
    text = render_ranking(found, costs, available_cores())
    return f"{text}\n\n{tell_next_step(found, _current(params))}"


def _current(params: Params) -> dict[str, str]:
    """The values that a candidate may change."""
    return {
        "preprocess.image_size": str(params.preprocess.image_size),
        "model.backbone": params.model.backbone,
        "model.weights": params.model.weights,
        "model.cut": params.model.cut,
    }


def _measure(outcomes: Mapping[Candidate, Outcome], params: Params) -> dict[Candidate, Cost]:
    from pawprint.networks.runtime import start_engine

    start_engine(params.runtime.engine, params.runtime.threads)
    from pawprint.ranking.costs import Cost, measure_seconds

    seconds = measure_seconds(
        [outcome.network for outcome in outcomes.values()],
        [candidate.size_px for candidate in outcomes],
        params.features.precision,
    )
    return {
        candidate: Cost(each, outcome.picture_bytes, outcome.model_bytes)
        for (candidate, outcome), each in zip(outcomes.items(), seconds, strict=True)
    }


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def _parse(arguments: list[str], prog: str) -> argparse.Namespace:
    known = ", ".join(backbone.name for backbone in BACKBONES)
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Rank backbones and image sizes by the cross-validated log loss of a head on "
        "their frozen features. Stages preprocess, features and crossval run for each in a clone, "
        "as a DVC experiment: what is computed is there for good, and your files stay as they are. "
        "Nothing is downloaded, and the test split is not read.",
    )
    add = parser.add_argument
    add(
        "candidates",
        nargs="*",
        metavar="MODEL[@SIZE]",
        help=f"a backbone, such as ResNet50 or ResNet50@224; without any: all whose weights are on "
        f"this machine, and the current one {STEP_PX} pixels smaller and larger too. "
        f"Known: {known}",
    )
    add(
        "--sizes",
        type=_read_sizes,
        default=(),
        metavar="PX,PX",
        help="image sizes of those without @SIZE (as preprocess.image_size says)",
    )
    add("--json", type=Path, metavar="FILE", help="write the ranking into a file .json too")
    add("--csv", type=Path, metavar="FILE", help="write the table into a file .csv too")
    options = parser.parse_args(arguments)
    for path, suffix in ((options.json, ".json"), (options.csv, ".csv")):
        if path and (path.suffix != suffix or not path.parent.is_dir() or path.is_dir()):
            parser.error(f"--{suffix[1:]}: expected a file {suffix} in a folder, found {path}")
    return options


def _read_sizes(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise ParamsError(
            f"--sizes: expected image sizes in pixels, such as 224,256; found {text!r}"
        )
    return tuple(map(int, parts))
