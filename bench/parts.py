"""What is measured: each part runs both sides once and returns their figures."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from bench.measure import CLOSE, Usage
from bench.projects import (
    ROOT,
    Project,
    clone,
    count_images_per_s,
    make_one_stage_project,
    take_fifth,
)
from pawprint.runner.errors import PawprintError
from pawprint.runner.params_file import load_params

Figures = dict[str, float]
Sides = dict[str, Figures]
HEAD_EPOCHS = 8
NOOP_ROUNDS = 5
PRECISIONS = {"features_f32": "float32", "features_bf16": "bfloat16"}


class Workbench:
    """The temporary projects of one benchmark; what can be shared is made once.

    Args:
        directory: temporary; holds everything.
        archive: a zip of pictures in it.
        steps: batches of each kind that the plain way is timed on; 0: all.
        log: receives progress, a line at a time.
        settings: keys of params.yaml for both sides.
    """

    def __init__(
        self,
        directory: Path,
        archive: Path,
        steps: int,
        log: Callable[[str], None],
        settings: Mapping[str, Any],
    ) -> None:
        self.home = directory / "home"
        self.steps = steps
        self.log = log
        self._directory = directory
        self._settings = settings
        self._archive = archive
        self.full = cache(lambda: self.clone("full", archive))
        self.fifth = cache(self._make_fifth)
        self.one_stage = cache(self._make_one_stage)  # unpacked → project
        self._plain = cache(self._run_plain)

    def clone(self, name: str, archive: Path | None = None) -> Project:
        epochs = load_params(ROOT / "params.yaml").finetune.epochs
        values = {
            "head.epochs": HEAD_EPOCHS,
            "head.patience": HEAD_EPOCHS,  # no early stop: both sides do the same number of epochs
            "finetune.patience": max(3, epochs),
            "features.views": 1,  # the plain way's features are those of the pictures as they are
            "evaluate.tta": 1,  # and so are its answers
            **self._settings,
        }
        return clone(self._directory / name, self.home, archive or self._archive, values)

    def prepare(self, project: Project, *target: str, values: Mapping[str, Any] = {}) -> None:
        """Bring a project up to a stage, not measured; most often nothing is left to do."""
        project.set_params(values)
        self.log(" ".join(["preparing", project.root.name, "data: dvc repro", *target]))
        project.dvc("repro", *target)

    def plain(self, what: str, repeat: int) -> tuple[dict[str, Figures], Usage]:
        """Costs that ``bench.plain`` prints; parts of one repeat share its run."""
        self.prepare(self.full(), "preprocess")
        return self._plain(what, repeat)

    def plain_to_the_end(self, repeat: int) -> dict[str, Figures]:
        """What the plain way's whole training gives; ``plain`` shares it if that does all steps."""
        if not self.steps:
            return self.plain("train", repeat)[0]
        self.prepare(self.full(), "preprocess")
        return self._run_plain("train", repeat, 0)[0]

    def _run_plain(
        self, what: str, repeat: int, steps: int | None = None
    ) -> tuple[dict[str, Figures], Usage]:
        self.log(f"plain {what}")
        number = str(self.steps if steps is None else steps)
        usage = self.full().python("bench.plain", what, "--steps", number)
        return json.loads(usage.text.strip().splitlines()[-1]), usage

    def _make_fifth(self) -> Project:
        self.prepare(self.full(), "download")
        archive = self._directory / "fifth.zip"
        take_fifth(self.full().root / "data/raw/images.zip", archive)
        return self.clone("fifth", archive)

    def _make_one_stage(self, unpacked: bool) -> Project:
        self.prepare(self.full(), "download")
        root = self._directory / ("one_stage_of_files" if unpacked else "one_stage")
        archive = self.full().root / "data/raw/images.zip"
        project = make_one_stage_project(root, self.home, archive, unpacked)
        project.dvc("repro")
        return project


def _add(costs: Iterable[Figures], usage: Usage) -> Figures:
    """The sum of what the plain way printed, and its largest memory."""
    costs = list(costs)
    total = {key: sum(cost[key] for cost in costs) for key in ("wall_s", "cpu_s")}
    return total | {"peak_mb": usage.peak_mb}


def _features(bench: Workbench, repeat: int, name: str) -> Sides:
    """Wall clock without the start, which ``features_stage_s`` has; CPU-seconds with it."""
    plain, plain_usage = bench.plain("features", repeat)
    project = bench.full()
    project.set_params({"features.precision": PRECISIONS[name]})
    bench.log("dvc repro --force --single-item features")
    usage = project.dvc("repro", "--force", "--single-item", "features")
    rate = count_images_per_s(usage.text)
    count = _count_rows(project, ("train", "val"))
    started = _add([plain["startup"], plain["predict"]], plain_usage)
    return {
        "plain": started
        | {
            "wall_s": plain["predict"]["wall_s"],
            "images_per_s": count / plain["predict"]["wall_s"],
        },
        "pawprint": usage.figures()
        | {"wall_s": count / rate, "images_per_s": rate, "features_stage_s": usage.wall_s},
    }


def _count_rows(project: Project, splits: Iterable[str]) -> int:
    files = [project.root / "data/processed" / split / "index.csv" for split in splits]
    return sum(len(file.read_text("utf-8").splitlines()) - 1 for file in files)


def features_f32(bench: Workbench, repeat: int) -> Sides:
    return _features(bench, repeat, "features_f32")


def features_bf16(bench: Workbench, repeat: int) -> Sides:
    return _features(bench, repeat, "features_bf16")


def head_experiment(bench: Workbench, repeat: int) -> Sides:
    plain, plain_usage = bench.plain("train", repeat)
    project = bench.full()
    bench.prepare(project, "train_head")
    lr = project.params["head"]["lr"] * (1 + (repeat + 1) / 100)  # one that has never been run
    project.set_params({"head.lr": lr})
    bench.log(f"head.lr: {lr:.6g}; dvc repro train_head")
    usage = project.dvc("repro", "train_head")
    return {
        "plain": _add([plain["head_startup"], plain["head"]], plain_usage),
        "pawprint": usage.figures(),
    }


def finetune_epoch(bench: Workbench, repeat: int) -> Sides:
    plain, plain_usage = bench.plain("train", repeat)
    bench.prepare(bench.full(), "train_head")
    return {
        "plain": _add([plain["finetune_epoch"]], plain_usage),
        "pawprint": _epoch(bench, "finetune", "finetune"),
    }


def baseline_epoch(bench: Workbench, repeat: int) -> Sides:
    plain, plain_usage = bench.plain("baseline", repeat)
    return {
        "plain": _add([plain["baseline_epoch"]], plain_usage),
        "pawprint": _epoch(bench, "baseline", "train_baseline"),
    }


def _epoch(bench: Workbench, section: str, stage: str) -> Figures:
    """An epoch of a training: half of what three take longer than one."""
    project, usages = bench.full(), {}
    for epochs in (1, 3):
        project.set_params({f"{section}.epochs": epochs})
        bench.log(f"{section}.epochs: {epochs}; dvc repro --force --single-item {stage}")
        usages[epochs] = project.dvc("repro", "--force", "--single-item", stage)
    epoch = {
        "wall_s": (usages[3].wall_s - usages[1].wall_s) / 2,
        "cpu_s": (usages[3].cpu_s - usages[1].cpu_s) / 2,
    }
    if min(epoch.values()) <= 0:
        raise PawprintError(
            f"{section}.epochs: 3 took no longer than 1: too few pictures to time; give more"
        )
    return epoch | {"peak_mb": usages[3].peak_mb, "stage_of_3_epochs_s": usages[3].wall_s}


def first_run(bench: Workbench, repeat: int) -> Sides:
    plain, plain_usage = bench.plain("train", repeat)
    project = bench.clone(f"first{repeat}")
    bench.log("a new clone: dvc repro finetune")
    usage = project.dvc("repro", "finetune")
    shutil.rmtree(project.root)
    phases = ("unpack", "head_startup", "head", "finetune_startup", "finetune")
    return {
        "plain": _add([plain[phase] for phase in phases], plain_usage),
        "pawprint": usage.figures(),
    }


def preprocess(bench: Workbench, repeat: int) -> Sides:
    project = bench.full()
    bench.prepare(project, "preprocess")
    bench.log("python -m stages.preprocess")
    usage = project.python("stages.preprocess")
    count = len((project.root / "data/split.csv").read_text("utf-8").splitlines()) - 1
    return {"pawprint": usage.figures() | {"images_per_s": count / usage.wall_s}}


def noop_repro(bench: Workbench, repeat: int) -> Sides:
    """Medians of some rounds: it takes less than a second, and the machine has its moods."""
    projects = {
        "pawprint": bench.full(),
        "one_stage": bench.one_stage(unpacked=False),
        "one_stage_of_files": bench.one_stage(unpacked=True),
    }
    bench.prepare(bench.full(), values={"baseline.epochs": 1, "finetune.epochs": 1})
    bench.log("dvc repro, with nothing to do")
    rounds = [
        {name: _expect_nothing(one.dvc("repro")).figures() for name, one in projects.items()}
        for _ in range(NOOP_ROUNDS)
    ]
    return {
        name: {key: median(turn[name][key] for turn in rounds) for key in rounds[0][name]}
        for name in projects
    }


def _expect_nothing(usage: Usage) -> Usage:
    if "Running stage" in usage.text:
        raise PawprintError("dvc repro: expected nothing to do, but it ran a stage again")
    return usage


def accuracy(bench: Workbench, repeat: int) -> Sides:
    """Test accuracy of both ways' models, each trained to the end."""
    plain = bench.plain_to_the_end(repeat)["accuracy"]
    project = bench.full()
    bench.prepare(project, "evaluate", values={"baseline.epochs": 1})
    details = json.loads((project.root / "metrics/evaluate/details.json").read_text("utf-8"))
    models = {name: model["metrics"] for name, model in details["models"].items()}
    return {"plain": plain, "pawprint": {name: models[name]["accuracy"] for name in plain}}


def memory(bench: Workbench, repeat: int) -> Sides:
    return {
        "full": _peaks(bench, bench.full()),
        "fifth": _peaks(bench, bench.fifth()),
    }


def _peaks(bench: Workbench, project: Project) -> Figures:
    """Peak memory of each stage, DVC's own process apart, in MB."""
    project.set_params({"head.epochs": 2, "baseline.epochs": 1, "finetune.epochs": 1})
    peaks = {}
    for stage in yaml.safe_load((project.root / "dvc.yaml").read_text("utf-8"))["stages"]:
        bench.log(f"memory of {stage}, {project.root.name} data")
        usage = project.dvc("repro", "--force", "--single-item", stage, sampling=CLOSE)
        peaks[stage] = usage.below_peak_mb
    return peaks


def features_scaling(bench: Workbench, repeat: int) -> Sides:
    sides = {}
    for project in (bench.full(), bench.fifth()):
        bench.prepare(project, "preprocess")
        bench.log(f"features of the {project.root.name} data")
        usage = project.dvc("repro", "--force", "--single-item", "features")
        sides[project.root.name] = {"s_per_image": 1 / count_images_per_s(usage.text)}
    return sides


@dataclass(frozen=True)
class Part:
    """One measurement.

    Attributes:
        run: (workbench, number of the repeat) → side → figures.
        over, under: the sides whose ratio is reported; empty: none.
        keys: of the figures that have a ratio; empty: all.
        extrapolated: whether the plain side is, from some steps.
        once: whether it is not repeated.
        long: whether it runs only when asked for.
    """

    run: Callable[[Workbench, int], Sides]
    over: str = "plain"
    under: str = "pawprint"
    keys: tuple[str, ...] = ("wall_s", "cpu_s")
    extrapolated: bool = True
    once: bool = False
    long: bool = False


PARTS = {
    "features_f32": Part(features_f32, extrapolated=False),
    "features_bf16": Part(features_bf16, extrapolated=False),
    "head_experiment": Part(head_experiment),
    "finetune_epoch": Part(finetune_epoch),
    "baseline_epoch": Part(baseline_epoch),
    "first_run": Part(first_run),
    "preprocess": Part(preprocess, over="", extrapolated=False),
    "noop_repro": Part(noop_repro, over="pawprint", under="one_stage", extrapolated=False),
    "accuracy": Part(accuracy, over="", extrapolated=False, once=True, long=True),
    "memory": Part(
        memory, over="full", under="fifth", keys=(), extrapolated=False, once=True, long=True
    ),
    "features_scaling": Part(
        features_scaling,
        over="full",
        under="fifth",
        keys=("s_per_image",),
        extrapolated=False,
        long=True,
    ),
}
