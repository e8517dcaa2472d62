# covers: B3, B1, R8
"""A training that is interrupted, however often and wherever, ends as one that was not."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from living import wait_until
from project import Project, environment, make_project

from pawprint.data.datasets import steps_per_epoch, training_batches
from pawprint.data.labels import write_labels
from pawprint.networks.architectures import add_probs, build_head
from pawprint.networks.model_files import ModelInfo, save_model
from pawprint.runner.files import move_directory
from pawprint.runner.params import HeadParams, Params
from pawprint.runner.stage import unfinished_work
from pawprint.storage.shards import shard_name, write_shard
from pawprint.storage.tables import write_json
from pawprint.training.checkpoints import Checkpoints
from pawprint.training.fit import Validation, train_model

RNG = np.random.default_rng(0)
LABELS = np.arange(70) % 2
FEATURES = (RNG.normal(size=(70, 6)) + 0.5 * np.eye(6)[LABELS]).astype(np.float32)
AT_VALIDATION = -1
Moment = tuple[int, int]  # epoch and batch, from 0; AT_VALIDATION: when the epoch is judged
Go = Callable[[str], None]


class PowerCut(Exception):
    """The end of a process, as far as its files are concerned."""


class Interrupted(Validation):
    """Validation by which a training breaks off at a given moment."""

    moment: Moment | None = None
    epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if self.moment == (self.epoch, batch):
            raise PowerCut

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_epoch_end(epoch, logs)
        if self.moment == (epoch, AT_VALIDATION):
            raise PowerCut


def section(committed: Params, **changes: Any) -> HeadParams:
    """The section head; nine batches an epoch, so that two accumulated ones may span epochs."""
    small = {"hidden": [8, 8], "batch_norm": True, "dropout": 0.4, "batch_size": 8, "lr": 0.02}
    return committed.head.model_copy(update=small | changes)


def train(
    params: HeadParams,
    val_labels: np.ndarray = LABELS,
    moment: Moment | None = None,
    kept: Path = Path("kept"),
) -> None:
    """Train a head in the current directory and save it, as a stage does."""
    keras.utils.set_random_seed(1)
    head = build_head(params, 6, 2)
    validation = Interrupted(tf.data.Dataset.from_tensor_slices(FEATURES).batch(16), val_labels)
    validation.moment = moment
    trained = train_model(
        head,
        training_batches(lambda epoch, rows: (FEATURES[rows],), LABELS, params, lambda x: x),
        steps_per_epoch(len(LABELS), params.batch_size),
        validation,
        params,
        Checkpoints(kept),
        blend=0.75,
    )
    move_directory(trained.curves, Path("plots/train_head"))
    write_json(Path("metrics/train_head.json"), trained.summary)
    save_model(add_probs(head), Path("models/head.keras"), ModelInfo(["cat", "dog"], 8))


def interrupt(params: HeadParams, moment: Moment, **options: Any) -> None:
    with pytest.raises(PowerCut):
        train(params, moment=moment, **options)


def results(root: Path = Path()) -> dict[str, bytes]:
    """Contents of all files that a training stage, or features, leaves."""
    places = ("models", "plots", "metrics", "data/features")
    files = [path for name in places for path in (root / name).rglob("*")]
    return {str(p.relative_to(root)): p.read_bytes() for p in files if p.is_file()}


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Go:
    """Makes a new directory the current one."""

    def go(name: str) -> None:
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)

    return go


def test_cosine_with_dropout_accumulated_batches_and_bfloat16(
    committed: Params, go: Go, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {"schedule": "cosine", "warmup": 0.2, "accumulate": 2, "epochs": 5}
    params = section(committed, precision="bfloat16", **changes)
    go("undisturbed")
    train(params)
    expected = results()
    go("interrupted")
    for moment in ((0, 3), (1, AT_VALIDATION), (3, 8), (4, AT_VALIDATION)):
        interrupt(params, moment)
    capsys.readouterr()
    train(params)
    printed = capsys.readouterr().out
    assert "continuing after epoch 4 of 5\n" in printed
    assert re.findall(r"^Epoch (\d)/5$", printed, re.MULTILINE) == ["5"]
    assert results() == expected


def test_plateau_with_early_stopping(
    committed: Params, go: Go, capsys: pytest.CaptureFixture[str]
) -> None:
    """Validated on the opposite labels, every epoch is worse than the one before."""
    params = section(committed, schedule="plateau", patience=4, epochs=12)
    opposite = 1 - LABELS
    go("undisturbed")
    train(params, opposite)
    assert "Epoch 5: early stopping" in capsys.readouterr().out
    expected = results()
    go("interrupted")
    for moment in ((1, 0), (3, AT_VALIDATION), (4, 8)):
        interrupt(params, moment, val_labels=opposite)
    capsys.readouterr()
    train(params, opposite)
    printed = capsys.readouterr().out
    assert "continuing after epoch 4 of 12\n" in printed
    assert re.findall(r"^Epoch (\d)/12$", printed, re.MULTILINE) == ["5"]
    assert re.findall(r"Epoch (\d): ReduceLROnPlateau", printed) == ["3", "5"]
    assert "Epoch 5: early stopping" in printed
    assert results() == expected
    train(params, opposite)  # as if it had been killed before it had saved the model
    printed = capsys.readouterr().out
    assert "continuing after epoch 5 of 12\n" in printed
    assert "Epoch 6/12" not in printed
    assert results() == expected


@pytest.fixture
def short(committed: Params) -> HeadParams:
    return section(committed, epochs=4)


def test_interrupted_after_its_last_epoch(
    short: HeadParams, go: Go, capsys: pytest.CaptureFixture[str]
) -> None:
    go("undisturbed")
    train(short)
    expected = results()
    for path in map(Path, expected):
        path.unlink()
    capsys.readouterr()
    train(short)
    printed = capsys.readouterr().out
    assert "continuing after epoch 4 of 4\n" in printed
    assert "Epoch 4/4" not in printed
    assert results() == expected


def flip(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda content: content[:-1],
    "half": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "zeros": lambda content: bytes(len(content)),
    "flipped checksum": lambda content: flip(content, 0),
    "flipped weight": lambda content: flip(content, len(content) // 2),
}


@pytest.fixture
def kept_two(short: HeadParams, go: Go) -> list[Path]:
    """What is left of a training that broke off in its fourth epoch."""
    go("interrupted")
    interrupt(short, (3, 2))
    return sorted(Path("kept").glob("*.checkpoint"))


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_checkpoint_is_noticed(
    damage: str, kept_two: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert [path.name for path in kept_two] == ["epoch_00002.checkpoint", "epoch_00003.checkpoint"]
    newest = kept_two[-1]
    newest.write_bytes(DAMAGE[damage](newest.read_bytes()))
    found = Checkpoints(Path("kept")).load()
    assert found is not None
    assert len(found.logs) == 2
    assert capsys.readouterr().out == f"{newest} is damaged and not used\n"


@pytest.mark.parametrize(
    ("damaged", "message"), [(1, "continuing after epoch 2 of 4"), (2, "Epoch 1/4")]
)
def test_training_with_damaged_checkpoints_continues_before_them(
    damaged: int,
    message: str,
    kept_two: list[Path],
    short: HeadParams,
    go: Go,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for path in kept_two[-damaged:]:
        path.write_bytes(path.read_bytes()[:-100])
    capsys.readouterr()
    train(short)
    lines = capsys.readouterr().out.splitlines()
    assert lines[: damaged + 1] == [
        *(f"{path} is damaged and not used" for path in reversed(kept_two[-damaged:])),
        message,
    ]
    interrupted = results()
    go("undisturbed")
    train(short)
    assert interrupted == results()


def test_file_that_was_being_written_is_no_checkpoint(
    kept_two: list[Path], short: HeadParams, capsys: pytest.CaptureFixture[str]
) -> None:
    newest = kept_two[-1]
    newest.with_name("epoch_00004.checkpoint.tmp").write_bytes(newest.read_bytes()[:999])
    train(short)
    assert capsys.readouterr().out.count("continuing after epoch 3 of 4\n") == 1
    assert not list(Path("kept").glob("*.tmp"))


PIPELINE = """
stages:
  train_head:
    deps: [features.npy]
    params: [head, runtime]
"""


@pytest.mark.parametrize("changed", ["parameter", "data", "nothing", "other section"])
def test_another_training_starts_anew(
    changed: str, short: HeadParams, committed: Params, go: Go, capsys: pytest.CaptureFixture[str]
) -> None:
    go("project")
    Path("dvc.yaml").write_text(PIPELINE)
    np.save("features.npy", FEATURES)
    params = committed.model_copy(update={"head": short})
    with (
        pytest.raises(PowerCut),
        unfinished_work("train_head", params) as work,
    ):
        train(short, moment=(2, 0), kept=work)
    if changed == "parameter":
        params = params.model_copy(update={"head": short.model_copy(update={"lr": 0.03})})
    elif changed == "data":
        np.save("features.npy", FEATURES + 1)
    elif changed == "other section":
        params = params.model_copy(update={"finetune": committed.finetune.model_copy()})
    capsys.readouterr()
    with unfinished_work("train_head", params) as work:
        assert [path.name for path in work.parent.iterdir()] == [work.name]
        train(params.head, kept=work)
    starts_anew = changed in ("parameter", "data")
    printed = capsys.readouterr().out
    assert ("Epoch 1/4" in printed) == starts_anew
    assert ("continuing after epoch 2 of 4" in printed) != starts_anew
    assert not list(Path(".resume").iterdir())


SMALL = {
    "baseline.image_size": 32,
    "baseline.filters": [4, 8],
    "baseline.dense": 8,
    "baseline.epochs": 6,
    "baseline.batch_size": 8,
    "baseline.accumulate": 2,
    "baseline.precision": "bfloat16",
}


@pytest.fixture(scope="module")
def project() -> Iterator[Project]:
    """A project as it is before the stage train_baseline."""
    with tempfile.TemporaryDirectory() as directory:
        project = make_project(Path(directory, "project"), Path(directory, "home"), SMALL)
        processed = project.root / "data/processed"
        write_json(processed / "classes.json", ["dark", "light"])
        for split, count in (("train", 500), ("val", 60)):
            labels = np.arange(count) % 2
            pixels = RNG.integers(0, 200, (count, 64, 64, 3)) + 50 * labels[:, None, None, None]
            write_shard(processed / split / shard_name(0), pixels.astype(np.uint8))
            rows = [(f"{i}.png", "", int(label)) for i, label in enumerate(labels)]
            write_labels(processed, split, rows)
        yield project


class Stage:
    """A running stage; ``printed`` is what it printed so far."""

    def __init__(self, project: Project, name: str, **variables: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"stages.{name}"],
            cwd=project.root,
            env=environment(project.home) | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.printed = ""

    def wait_for(self, start: str) -> None:
        """Return when a line that starts so is printed."""
        output: IO[str] = self.process.stdout  # type: ignore[assignment]
        for line in output:
            self.printed += line
            if line.startswith(start):
                return
        raise AssertionError(f"never printed {start!r}:\n{self.printed}")

    def end(self, number: int | None = None) -> int:
        """Send a signal, if any; the exit code."""
        if number is not None:
            self.process.send_signal(number)
        self.printed += self.process.communicate(timeout=600)[0]
        return self.process.returncode


def clear(project: Project) -> None:
    for path in results(project.root):
        (project.root / path).unlink()


def test_killed_stage_continues_and_leaves_the_same_bytes(project: Project) -> None:
    clear(project)
    undisturbed = Stage(project, "train_baseline")
    assert undisturbed.end() == 0, undisturbed.printed
    expected = results(project.root)
    assert {"models/baseline.keras", "metrics/train_baseline.json"} < set(expected)
    clear(project)
    for number, awaited in (
        (signal.SIGKILL, "Epoch 2/"),
        (signal.SIGTERM, "Epoch 4/"),
        (signal.SIGKILL, "Epoch 5/"),
    ):
        stage = Stage(project, "train_baseline")
        stage.wait_for(awaited)
        code = stage.end(number)
        if number == signal.SIGKILL:
            assert code == -number, stage.printed
        else:
            assert code == 1, stage.printed
            assert stage.printed.splitlines()[-1].startswith("error: interrupted; ")
            assert "Traceback" not in stage.printed
    last = Stage(project, "train_baseline")
    assert last.end() == 0, last.printed
    assert "continuing after epoch " in last.printed
    assert results(project.root) == expected
    assert not list((project.root / ".resume").iterdir())


def test_killed_features_continue_and_leave_the_same_bytes(project: Project) -> None:
    """Of nine shards, the first three are done when the stage is killed."""
    clear(project)
    undisturbed = Stage(project, "features")
    assert undisturbed.end() == 0, undisturbed.printed
    expected = results(project.root)
    assert {"models/backbone.keras", "data/features/pooled/train/00007.npy"} < set(expected)
    clear(project)
    stage = Stage(project, "features", HELD=r"journal/0000[3-9]\.json")
    journal = project.root / ".resume/features"
    assert wait_until(lambda: len(list(journal.glob("*/journal/*.json"))) == 3, 120)
    assert stage.end(signal.SIGKILL) == -signal.SIGKILL
    last = Stage(project, "features")
    assert last.end() == 0, last.printed
    assert "continuing: 3 of 9 shards were done\n" in last.printed
    assert results(project.root) == expected
    assert not list((project.root / ".resume").iterdir())
