"""Every backbone through the whole pipeline, small: which stage fails with which of them.

    make backbones ARGS="--only MobileNetV3Large"

A row of the table is a backbone cut at a block or at the input, its last map averaged or flattened,
features and fine-tuning in float32 or bfloat16. Behind a cut, the activations are kept if the map
is averaged, and computed anew by the trunk if it is flattened. The last rows of a backbone run all
on TensorFlow, as a machine with a GPU does. A backbone has a project of its own and two processes,
one for each of Keras' backends, in which the stages run one after the other. All take about an hour
on two cores beside other work; a run that was stopped goes on with the backbones that are named.

Random weights let most of these networks answer nothing but zeros, which every format would repeat.
So the mean and variance of batch norm are first set to those of the training pictures.
"""

from __future__ import annotations

import argparse
import gc
import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import h5py
import numpy as np
from project import Project, environment, make_project

from pawprint.evaluation.predictions import read_predictions
from pawprint.registry.backbones import AUTO, BACKBONES, INPUT, Backbone
from pawprint.storage.shards import ShardedArray
from pawprint.storage.tables import read_json

SIZE = 64
PARAMS: dict[str, Any] = {
    "data.sample_images": 60,
    "preprocess.image_size": SIZE,
    "baseline.image_size": 32,
    "baseline.filters": [4],
    "baseline.dense": 4,
    "baseline.epochs": 1,
    "head.epochs": 2,
    "head.batch_size": 16,
    "finetune.epochs": 1,
    "finetune.batch_size": 16,
    "finetune.lr": 1e-3,
    "finetune.freeze_depthwise": False,
    "ensemble.picks": 3,
    "export.model": "finetuned",
    "export.int8": True,
    "export.calibration": 10,
    "export.int8_min_agreement": 0.0,
    "gradcam.fixed": 2,
    "gradcam.worst": 1,
}
OPENVINO, TENSORFLOW = "openvino", "tensorflow"
FIRST = ("params", "download", "split", "preprocess", "train_baseline")  # the same for all
# others: TensorFlow
ENGINES = dict.fromkeys(("features", "ensemble", "evaluate", "gradcam"), OPENVINO)
STAGES = (
    "features",
    "train_head",
    "finetune",
    "ensemble",
    "evaluate",
    "deciding",
    "export",
    "gradcam",
)
HEADER = (
    f"{'backbone':<18} {'cut':<6} {'pooling':<8} {'precision':<9} {'engine':<11}"
    + "".join(f"{stage:>11}" for stage in STAGES)
    + f"{'tuned':>9}{'difference':>12}"
)
FORMATS = {"openvino", "saved_model", "onnx", "tflite", "tflite_int8"}
WEIGHTS = "weights"  # what a process is asked for besides stages
EXACT = 0.01  # largest share of the answers' spread by which a float format may differ
ALIVE = 1e-3  # standard deviation over the pictures, as a share of the mean feature's size


@dataclass
class Row:
    """How one backbone fared, cut, pooled and trained in one way.

    Attributes:
        seconds: of each stage that came to its end.
        faults: of each stage that did not.
        tuned: weights that fine-tuning changed, and all, such as ``12/40``.
        difference: largest of any probability between Keras and the float formats, as a share of
            the probabilities' spread over the pictures.
    """

    backbone: str
    cut: str
    pooling: str
    precision: str
    engine: str
    seconds: dict[str, float] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    tuned: str = ""
    difference: str = ""

    @property
    def name(self) -> str:
        return f"{self.backbone}, {self.cut}, {self.pooling}, {self.precision}, {self.engine}"

    def params(self) -> dict[str, Any]:
        return {
            "model.cut": self.cut,
            "model.pooling": self.pooling,
            "features.precision": self.precision,
            "features.max_gb": 20 if self.pooling == "avg" else 0,
            "finetune.precision": self.precision,
            "runtime.engine": self.engine,
        }

    def line(self) -> str:
        cells = [
            "FAILED"
            if stage in self.faults
            else f"{self.seconds[stage]:.1f} s"
            if stage in self.seconds
            else "-"
            for stage in STAGES
        ]
        return (
            f"{self.backbone:<18} {self.cut:<6} {self.pooling:<8} {self.precision:<9} "
            f"{self.engine:<11}{''.join(f'{cell:>11}' for cell in cells)}"
            f"{self.tuned:>9}{self.difference:>12}"
        )


def list_rows(backbone: str) -> list[Row]:
    ways = [
        *product((AUTO, INPUT), ("avg", "flatten"), ("float32", "bfloat16"), (OPENVINO,)),
        *product((AUTO,), ("avg", "flatten"), ("bfloat16",), (TENSORFLOW,)),
    ]
    return [Row(backbone, *way) for way in ways]


class Process:
    """A process that runs stages of a project, one after the other, with one backend of Keras."""

    def __init__(self, project: Project, log: Path) -> None:
        self._log = log.open("a", encoding="utf-8")
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--work"],
            cwd=project.root,
            env={
                **environment(project.home),
                "PYTHONPATH": str(project.root),
                "TQDM_DISABLE": "1",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def run(self, task: str) -> str:
        """What was wrong; empty if nothing was."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{task}\n")
        self._process.stdin.flush()
        reply = self._process.stdout.readline()
        return reply.strip() if reply else f"the process ended with {self._process.wait()}"

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()


def work() -> None:
    """Do the tasks whose names come in, in the current project; say how each one ended."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as replies:
        os.dup2(2, 1)  # what stages print belongs in the log
        for task in sys.stdin:
            print(_attempt(task.strip()), file=replies, flush=True)


def _attempt(task: str) -> str:
    from pawprint.runner.params_file import load_params

    try:
        name, *arguments = task.split()
        if name == WEIGHTS:
            write_weights(*arguments)
        else:
            print(f"--- {name}", flush=True)
            import_module(f"stages.{name}").main(load_params())
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        return " ".join(f"{type(error).__name__}: {error}".split())[:300]
    finally:
        if "keras" in sys.modules:
            import_module("keras").utils.clear_session()
        gc.collect()
        sys.stdout.flush()
    return ""


def write_weights(name: str, path: str) -> None:
    """Random weights of a backbone whose batch norm knows the statistics of what it gets."""
    from pawprint.networks.runtime import start_tensorflow

    start_tensorflow(threads=2, seed=0)
    import keras

    from pawprint.backbones.build import build_backbone

    model = build_backbone(name, SIZE, "none")
    model.trainable = True  # batch norm measures nothing while it is frozen
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    images = ShardedArray(Path("data/processed/train"))
    model(images.gather(range(len(images))).astype(np.float32), training=True)
    if name == "EfficientNetB0":  # what it divides by if it is given a file: see backbones/build.py
        stem = model.get_layer("stem_conv")
        root = np.sqrt([0.229, 0.224, 0.225]).reshape(1, 1, 3, 1)
        stem.set_weights([stem.get_weights()[0] * root])
    model.save_weights(path)


class Trial:
    """One backbone in its project."""

    def __init__(self, backbone: Backbone, base: Project, root: Path) -> None:
        self.project = Project(root, base.home)
        shutil.copytree(base.root, root, ignore=shutil.ignore_patterns(".git"))
        self.log = root / "stages.log"
        self.processes: dict[str, Process] = {}
        values: dict[str, Any] = {"model.backbone": backbone.name, "model.weights": "none"}
        if backbone.scaling != "caffe":  # those answer more than zeros, with random weights too
            fault = self._process(TENSORFLOW).run(f"{WEIGHTS} {backbone.name} any.weights.h5")
            assert not fault, fault
            values |= {"model.weights": "file", "model.weights_file": "any.weights.h5"}
        self.project.set_params(values)

    def _process(self, engine: str) -> Process:
        if engine not in self.processes:
            self.processes[engine] = Process(self.project, self.log)
        return self.processes[engine]

    def close(self) -> None:
        for process in self.processes.values():
            process.close()

    def run(self, row: Row) -> None:
        """Run all stages of a row; those behind a failed one are left out, but for gradcam's."""
        self.project.set_params(row.params())
        for stage in STAGES:
            if set(row.faults) - {"export"}:
                break
            if stage == "export" and row.precision != "float32":
                continue  # what training in bfloat16 saves is the same network in float32
            engine = ENGINES.get(stage, TENSORFLOW)
            process = self._process(TENSORFLOW if row.engine == TENSORFLOW else engine)
            start = time.monotonic()
            fault = process.run(stage)
            if not fault:
                try:
                    fault = self._look(stage, row)
                except (OSError, KeyError, ValueError) as error:
                    fault = f"{type(error).__name__}: {error}"
            if fault:
                row.faults[stage] = fault
            else:
                row.seconds[stage] = time.monotonic() - start

    def _look(self, stage: str, row: Row) -> str:
        """What is wrong with a stage's results."""
        root = self.project.root
        if stage == "features":
            array = ShardedArray(root / "data/features/pooled/train")
            features = array.gather(range(len(array)))[:, 0]
            spread, size = features.std(axis=0).mean(), np.abs(features).mean()
            if not spread > ALIVE * size > 0:
                return f"all pictures have the same features (spread {spread:g}, size {size:g})"
        elif stage == "finetune":
            before, after = (
                read_weights(root / f"models/{m}.keras") for m in ("head", "finetuned")
            )
            changed = [name for name in before if (before[name] != after[name]).any()]
            row.tuned = f"{len(changed)}/{len(before)}"
            if not all(np.isfinite(array).all() for array in after.values()):
                return "weights that are not finite"
            if len(changed) <= 2:  # the kernel and the bias of the head
                return "nothing but the head has changed"
        elif stage == "export":
            scores = read_json(root / "metrics/export.json")
            forms = {name: s for name, s in scores.items() if name not in ("model", "keras")}
            if set(forms) != FORMATS:
                return f"formats {sorted(forms)}, expected {sorted(FORMATS)}"
            floats = [s["largest_difference"] for n, s in forms.items() if n != "tflite_int8"]
            share = max(floats) / spread_of_answers(root / "metrics/evaluate/predictions.csv")
            row.difference = f"{share:.0e}"
            if not share < EXACT:
                return f"a format differs from Keras by {share:.0e} of the answers' spread"
        elif stage == "gradcam":
            overlays = list((root / "plots/gradcam").glob("finetuned_*.png"))
            if len(overlays) < 2:
                return f"{len(overlays)} overlays of the fine-tuned model"
        return ""


def spread_of_answers(path: Path) -> float:
    """Standard deviation over the test pictures of what the fine-tuned model gives one class.

    After a training on so few pictures probabilities may be nearly the same for all.
    """
    said = list(read_predictions(path)["finetuned"].values())
    one = said[0].actual
    ps = [p.actual_probability if p.actual == one else 1 - p.actual_probability for p in said]
    return max(float(np.std(ps)), 1e-6)  # to as many decimals they are written


def read_weights(path: Path) -> Mapping[str, np.ndarray]:
    """All weights of a ``.keras`` file, by their place in it."""
    found: dict[str, np.ndarray] = {}

    def keep(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item[()]

    with ZipFile(path) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:
        file.visititems(keep)
    return found


def make_base(directory: Path) -> Project:
    """What all backbones share, run once."""
    project = make_project(directory / "base", directory / "home", PARAMS)
    process = Process(project, project.root / "stages.log")
    try:
        for stage in FIRST:
            if fault := process.run(stage):
                sys.exit(f"{stage}: {fault}\n{(project.root / 'stages.log').read_text()}")
    finally:
        process.close()
    return project


def try_backbone(backbone: Backbone, base: Project, directory: Path, logs: Path) -> list[Row]:
    trial = Trial(backbone, base, directory / backbone.name)
    try:
        rows = list_rows(backbone.name)
        for row in rows:
            trial.run(row)
            print(row.line(), flush=True)
            for stage, fault in row.faults.items():
                print(f"    {stage}: {fault}", flush=True)
        if any(row.faults for row in rows):
            logs.mkdir(parents=True, exist_ok=True)
            shutil.copy(trial.log, logs / f"{backbone.name}.log")
    finally:
        trial.close()
        shutil.rmtree(trial.project.root)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    names = [backbone.name for backbone in BACKBONES]
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--logs", type=Path, default=Path(tempfile.gettempdir(), "backbones"))
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work()
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # nothing is left behind
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        base = make_base(Path(directory))
        print(HEADER, flush=True)
        rows = [
            row
            for backbone in BACKBONES
            if backbone.name in arguments.only
            for row in try_backbone(backbone, base, Path(directory), arguments.logs)
        ]
    failed = [row for row in rows if row.faults]
    minutes = (time.monotonic() - start) / 60
    print(f"\n{len(rows)} rows in {minutes:.0f} minutes, {len(failed)} with a failure")
    for row in failed:
        print(f"{row.name}: {', '.join(row.faults)}")
    if failed:
        print(f"what the stages said: {arguments.logs}/")
    sys.exit(bool(failed))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted; the rows above are done, --only NAME… does others")
