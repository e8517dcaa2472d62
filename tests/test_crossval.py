# covers: B14, R18, B3, B4, B6, B15
"""Cross-validation: its scores, its table, and its stage on a few drawn features."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from living import wait_until
from project import Project, environment, make_project

from pawprint.choosing.crossval import make_tasks
from pawprint.choosing.out_of_fold import OutOfFold, read_out_of_fold, write_out_of_fold
from pawprint.choosing.pictures import read_labelled_features
from pawprint.choosing.scores import mean_interval, score_folds, share_interval, standard_error
from pawprint.data.labels import write_labels
from pawprint.data.manifest import Picture, write_manifest
from pawprint.evaluation.metrics import wilson_interval
from pawprint.runner.errors import DataError
from pawprint.runner.params import Params
from pawprint.runner.params_file import load_params
from pawprint.storage.shards import shard_name, write_shard
from pawprint.storage.tables import write_json
from stages.crossval import main

PROBS = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.5, 0.5]], np.float32)
LABELS = np.array([0, 1, 1, 0])
NAMES = ["cat", "a, b"]


def test_scores_of_four_pictures_in_two_folds() -> None:
    found = score_folds(LABELS, PROBS, np.array([0, 0, 1, 1]), np.arange(4), 0.95, 12)
    losses = -np.log([0.9, 0.4, 0.8, 0.5])
    assert found["accuracy"] == 0.75
    assert found["accuracy_folds"] == [0.5, 1.0]
    assert found["accuracy_spread"] == pytest.approx(np.sqrt(0.125), abs=1e-6)
    assert found["accuracy_se"] == 0.25  # the root of 0.1875 / 3
    assert found["log_loss"] == pytest.approx(losses.mean(), abs=1e-6)
    assert found["log_loss_se"] == pytest.approx(np.std(losses, ddof=1) / 2, abs=1e-6)
    assert (found["pictures"], found["groups"], found["folds"]) == (4, 4, 2)
    # Wilson's of 0.75 among 3: 1/4 and 1/12 of the variance of one picture
    assert found["accuracy_on_test"] == pytest.approx([0.256094, 0.963166], abs=2e-5)


def test_pictures_that_belong_together_count_as_one() -> None:
    """Each picture twice: the standard error is that of the groups, and not a root of 2 smaller."""
    values = np.array([1.0, 0.0, 1.0, 1.0, 0.0])
    alone = standard_error(values, np.arange(5))
    assert alone == pytest.approx(values.std(ddof=1) / np.sqrt(5))
    twice, groups = np.repeat(values, 2), np.repeat(np.arange(5), 2)
    assert standard_error(twice, groups) == pytest.approx(alone)
    assert standard_error(twice, np.arange(10)) < 0.71 * alone
    assert standard_error(twice, np.zeros(10, int)) == 0


def test_intervals_of_single_pictures_are_those_of_evaluate() -> None:
    values = np.array([1.0] * 37 + [0.0] * 3)
    assert share_interval(values, np.arange(40), 0.95) == pytest.approx(
        wilson_interval(37, 40, 0.95)
    )
    low, high = mean_interval(np.array([1.0, 2.0, 3.0]), np.arange(3), 0.95)
    assert (low, high) == pytest.approx((0.0, 2 + 4.302653 / np.sqrt(3)), abs=1e-5)


def test_other_pictures_have_a_chance_of_their_own() -> None:
    """Of as many others the variance is twice that of the mean: half as many pictures."""
    values = np.array([1.0] * 36 + [0.0] * 4)
    alone = np.arange(40)
    assert share_interval(values, alone, 0.95, 40) == pytest.approx(wilson_interval(18, 20, 0.95))
    losses = np.tile([1.0, 3.0], 500)
    low, high = mean_interval(losses, np.arange(1000), 0.95, 1000)
    assert high - low == pytest.approx(2 * 1.962 * np.sqrt(2 / 1000), rel=1e-3)


def test_intervals_of_groups_are_those_of_fewer_pictures() -> None:
    values = np.repeat([1.0] * 37 + [0.0] * 3, 5)
    groups = np.repeat(np.arange(40), 5)
    found = share_interval(values, groups, 0.95)
    assert found == pytest.approx(wilson_interval(37, 40, 0.95), abs=2e-3)
    right = share_interval(np.ones(200), groups, 0.95)
    assert right == pytest.approx(wilson_interval(40, 40, 0.95))


TABLE = OutOfFold(
    ["a/1.jpg", "b/2.jpg"], ["train", "val"], LABELS[:2], LABELS[:2], PROBS[:2], NAMES
)
TEXT = (
    'path,split,fold,actual,predicted,probability_cat,"probability_a, b"\n'
    "a/1.jpg,train,0,cat,cat,0.900000,0.100000\n"
    'b/2.jpg,val,1,"a, b",cat,0.600000,0.400000\n'
)


def test_the_table_is_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    write_out_of_fold(path, TABLE)
    assert path.read_text(encoding="utf-8") == TEXT
    found = read_out_of_fold(path)
    assert (found.paths, found.splits, found.class_names) == (TABLE.paths, TABLE.splits, NAMES)
    assert found.folds.tolist() == found.labels.tolist() == [0, 1]
    assert found.probs.tolist() == PROBS[:2].tolist()


@pytest.mark.parametrize(
    "text",
    [
        "",
        TEXT.replace("path,", "file,"),
        TEXT.replace("0.600000", "often"),
        TEXT.replace(",cat,cat", ",fox,cat"),
        TEXT + TEXT.splitlines()[1] + "\n",
    ],
    ids=["empty", "no path", "no number", "no such class", "one picture twice"],
)
def test_another_table_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "predictions.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"predictions\.csv: expected .* `dvc repro -f crossval`$"):
        read_out_of_fold(path)


def test_weights_of_classes_are_those_of_a_folds_own_training_pictures(committed: Params) -> None:
    balanced = committed.head.model_copy(update={"class_weights": "balanced"})
    labels, folds = np.array([0, 0, 0, 1, 0, 1]), np.array([0, 0, 0, 0, 1, 1])
    first, second = make_tasks(labels, folds, balanced, ["cat", "dog"], first=4)
    assert first.class_weights is not None
    assert first.class_weights.tolist() == [1, 1]  # trained on fold 1
    assert second.class_weights is not None
    assert second.class_weights.tolist() == pytest.approx([4 / 6, 2])
    assert (first.chosen_by, second.chosen_by) == ((5,), (4,))


def write_features(root: Path, views: int = 1) -> np.ndarray:
    """Two classes of 80 pictures in train and val, ten patients each; labels int64 [160]."""
    rng = np.random.default_rng(0)
    labels = np.arange(160) % 2
    features = rng.normal(size=(160, views, 6)) + labels[:, None, None] * [2, -1, 0, 0, 0, 0]
    paths = [f"{NAMES[1 - label][0]}/patient{i % 20}_{i}.png" for i, label in enumerate(labels)]
    pictures = [Picture("test/x.png", "cat", "test", "0", "x")]
    for split, rows in (("train", slice(0, 128)), ("val", slice(128, 160))):
        of_split = features[rows] if split == "train" else features[rows, :1]
        write_shard(root / "features/pooled" / split / shard_name(0), of_split.astype(np.float32))
        index = [(p, "", int(label)) for p, label in zip(paths[rows], labels[rows], strict=True)]
        write_labels(root / "processed", split, index)
        pictures += [Picture(p, "", split, p, p) for p in paths[rows]]
    write_json(root / "processed/classes.json", ["cat", "dog"])
    write_manifest(root / "split.csv", pictures)
    return labels


def test_views_and_named_groups_are_read(committed: Params, tmp_path: Path) -> None:
    labels = write_features(tmp_path, views=2)
    params = committed.split.model_copy(
        update={"groups_file": str(tmp_path / "processed"), "groups_pattern": "(patient[0-9]+)_"}
    )
    places = (tmp_path / "processed", tmp_path / "features/pooled", tmp_path / "split.csv")
    found = read_labelled_features(*places, params)
    assert found.labels.tolist() == labels.tolist()
    assert found.splits == ["train"] * 128 + ["val"] * 32
    assert [view.shape for view in found.views] == [(160, 6)] * 2
    assert not np.array_equal(found.views[0][:128], found.views[1][:128])
    assert np.array_equal(found.views[0][128:], found.views[1][128:])
    assert found.groups[:2] == ["group patient0", "group patient1"]
    assert len(set(found.groups)) == 20
    (tmp_path / "split.csv").write_text("path,class_name,split,sha256,group\n")
    with pytest.raises(DataError, match=r"split\.csv: expected a row for each picture of train"):
        read_labelled_features(*places, params.model_copy(update={"groups_pattern": ""}))


@pytest.fixture(scope="module")
def project() -> Iterator[Project]:
    """A project as it is before the stage crossval; patients are named."""
    with tempfile.TemporaryDirectory() as directory:
        changes = {
            "head.epochs": 5,
            "split.groups_pattern": "(patient[0-9]+)_",
            "head.batch_size": 8,
            "head.lr": 0.1,
        }
        project = make_project(Path(directory, "project"), Path(directory, "home"), changes)
        write_features(project.root / "data")
        yield project


def run_here(project: Project, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Run the stage in this process; what it leaves."""
    monkeypatch.chdir(project.root)
    main(load_params())
    files = ("crossval.json", "crossval/predictions.csv", "crossval/details.json")
    return {name: (project.root / "metrics" / name).read_bytes() for name in files}


def start(project: Project, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "stages.crossval"],
        cwd=project.root,
        env=environment(project.home) | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_stage_goes_on_where_it_was_killed_and_leaves_the_same_bytes(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = run_here(project, monkeypatch)
    printed = capsys.readouterr().out
    assert printed.startswith("160 pictures in 5 folds, each judged by a head that has not seen it")
    found = json.loads(expected["crossval.json"])
    assert list(found) == ["accuracy", "accuracy_se", "log_loss", "log_loss_se", "over_folds"]
    assert 0.75 < found["accuracy"] < 1
    table = read_out_of_fold(project.root / "metrics/crossval/predictions.csv")
    of_patient: dict[str, set[int]] = {}
    for path, fold in zip(table.paths, table.folds.tolist(), strict=True):
        of_patient.setdefault(path.split("_")[0][2:], set()).add(fold)
    assert [len(folds) for folds in of_patient.values()] == [1] * 20

    killed = start(project, HELD=r"epoch_00003\.checkpoint")
    kept = project.root / ".resume/crossval"
    assert wait_until(lambda: bool(list(kept.glob("*/epoch_00002.checkpoint"))), 120)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=600)
    assert run_here(project, monkeypatch) == expected
    assert "continuing after epoch 2 of 5\n" in capsys.readouterr().out
    assert not list((project.root / ".resume").iterdir())


def test_too_many_folds_are_one_line(project: Project) -> None:
    project.set_params({"crossval.folds": 21})
    stage = start(project)
    printed, errors = stage.communicate(timeout=600)
    assert (stage.returncode, printed) == (1, "")
    assert errors == (
        "error: crossval.folds: expected at least 21 groups of pictures in train and val, one for "
        "each fold, found 20; add pictures, or set it lower (at least 2)\n"
    )


def test_classes_that_some_folds_lack_are_named(project: Project) -> None:
    project.set_params({"crossval.folds": 11})
    stage = start(project)
    printed, errors = stage.communicate(timeout=600)
    assert stage.returncode == 0, errors
    assert "warning: fewer groups of pictures in train and val than crossval.folds = 11: cat 10, "
    assert "cat 10, dog 10; some folds lack them" in printed
