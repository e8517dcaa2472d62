# covers: B14, B3, B4, B6, B15
"""The learning curve: its law, its parts of the pictures, what it foretells, and its command."""

from __future__ import annotations

import json
import logging
import re
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from project import make_project
from scipy.stats import norm

from pawprint.__main__ import main
from pawprint.choosing.folds import assign_folds
from pawprint.choosing.heads import train_heads
from pawprint.cli.learning_curve import CurveProgress
from pawprint.data.labels import write_labels
from pawprint.data.manifest import Picture, write_manifest
from pawprint.learning_curve import forecast, measurement
from pawprint.learning_curve.forecast import (
    Forecast,
    check_doubling,
    fit_errors,
    foretell,
    resample_errors,
)
from pawprint.learning_curve.measurement import Measurements, make_size_tasks
from pawprint.learning_curve.power_law import fit_power_laws
from pawprint.learning_curve.results import Curve, describe_curve, describe_forecast, fit_curve
from pawprint.learning_curve.subsets import Plan, order_pictures, plan_curve
from pawprint.runner.errors import DataError
from pawprint.runner.params import CrossvalParams, Params
from pawprint.runner.stage import held_alone
from pawprint.storage.shards import shard_name, write_shard
from pawprint.storage.tables import write_json

NAMES = ["cat", "dog"]


@pytest.fixture(autouse=True)
def _few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast, "_DRAWS", 200)


@pytest.mark.parametrize(
    ("values", "a", "b", "c"),
    [
        ([1.0, 0.19, 0.109, 0.1009], 0.1, 0.9, 1.0),
        ([2.0, 0.2, 0.02, 0.002], 0.0, 2.0, 1.0),
        ([0.1, 0.19, 0.199, 0.1999], 0.2, -0.1, 1.0),  # more pictures make it worse
    ],
    ids=["floor", "no floor", "rising"],
)
def test_a_law_is_found_from_its_values(values: list[float], a: float, b: float, c: float) -> None:
    sizes = np.array([1, 10, 100, 1000])
    law = fit_power_laws(sizes, np.array([values]), np.ones(4))
    assert (law.a[0], law.b[0], law.c[0]) == pytest.approx((a, b, c), abs=2e-3)
    assert law.at(sizes)[0] == pytest.approx(values, abs=1e-3)


def test_a_law_has_no_error_below_0_and_values_of_large_error_hardly_count() -> None:
    sizes = np.array([1, 2, 3, 4, 5])
    falling = fit_power_laws(sizes, np.array([[0.5, 0.4, 0.3, 0.2, 0.1]]), np.ones(5))
    assert falling.a[0] == 0
    odd = np.array([[9.0, 0.5, 1 / 3, 0.25, 0.2]])
    law = fit_power_laws(sizes, odd, np.array([1e4, 1, 1, 1, 1]))
    assert law.at(sizes[1:])[0] == pytest.approx(odd[0, 1:], abs=1e-3)


def drawn_pictures(count: int, group: int = 1) -> tuple[np.ndarray, list[str]]:
    """Labels int64 [count], a quarter of them 1, and names of groups of so many pictures."""
    return (np.arange(count) // group % 4 == 0).astype(np.int64), [
        f"group {i // group}" for i in range(count)
    ]


def plan(count: int, group: int = 1, **changes: Any) -> tuple[Plan, np.ndarray, list[str]]:
    labels, groups = drawn_pictures(count, group)
    options = {"seeds": 2, "num_sizes": 5} | changes
    params = CrossvalParams(folds=3, seed=7)
    return plan_curve(labels, groups, NAMES, params, **options), labels, groups


def test_subsets_are_nested_and_have_the_classes_in_their_shares() -> None:
    found, labels, _ = plan(2400)
    assert found.shares == pytest.approx([1 / 32 * 32 ** (i / 4) for i in range(5)])
    assert found.sizes.tolist() == [51, 119, 283, 673, 1600]
    for run in found.runs:
        subsets = [set(run.subset(share).tolist()) for share in found.shares]
        assert all(small < large for small, large in pairwise(subsets))
        assert subsets[-1] == set(range(2400)) - set(run.held_out.tolist())
        for subset in subsets:
            assert abs(labels[list(subset)].mean() - 0.25) * len(subset) <= 1
    assert subset_of(found, 0) != subset_of(found, 1)  # each fold has others


def subset_of(found: Plan, run: int) -> list[int]:
    return found.runs[run].subset(found.shares[0]).tolist()


def test_groups_are_whole_in_every_subset() -> None:
    found, _, groups = plan(2400, group=4)
    for run in found.runs:
        for share in found.shares:
            inside = {groups[row] for row in run.subset(share)}
            assert len(run.subset(share)) == 4 * len(inside)
    assert found.sizes[0] >= 50


def test_the_first_seed_has_the_folds_of_stage_crossval() -> None:
    found, labels, groups = plan(600)
    folds = assign_folds(labels, groups, CrossvalParams(folds=3, seed=7), 2)
    own = [run.held_out.tolist() for run in found.runs if run.seed == 0]
    assert own == [np.flatnonzero(folds == fold).tolist() for fold in range(3)]
    assert own != [run.held_out.tolist() for run in found.runs if run.seed == 1]


def test_the_order_of_the_pictures_does_not_matter_and_the_key_does() -> None:
    labels, groups = drawn_pictures(200, group=2)
    order = np.random.default_rng(0).permutation(200)
    joins = order_pictures(labels, groups, "key")
    turned = order_pictures(labels[order], [groups[i] for i in order], "key")
    assert turned.tolist() == joins[order].tolist()
    assert order_pictures(labels, groups, "other").tolist() != joins.tolist()


def test_few_pictures_of_a_class_make_the_smallest_part_larger_or_are_refused() -> None:
    labels, groups = drawn_pictures(600)
    labels[:] = 0
    labels[:18] = 1  # 12 in each fold's training: two of them are a sixth, from the second on
    params = CrossvalParams(folds=3, seed=0)
    found = plan_curve(labels, groups, NAMES, params, 2, 5)
    assert found.shares[0] == pytest.approx(1.5 / 12)
    assert {int(labels[run.subset(found.shares[0])].sum()) for run in found.runs} == {2}
    labels[3:18] = 0
    with pytest.raises(
        DataError, match=r"found 600 pictures in train and val, 3 of them of dog; add pic"
    ):
        plan_curve(labels, groups, NAMES, params, 2, 5)
    with pytest.raises(
        DataError, match=r"at least 50, 2 of each class; found 270 pictures in train"
    ):
        plan(270)


def test_heads_choose_for_others_of_their_seed_alone(committed: Params) -> None:
    found, labels, _ = plan(600)
    tasks = make_size_tasks(labels, found, found.shares[1], committed.head, NAMES)
    assert [task.chosen_by for task in tasks] == [(1, 2), (0, 2), (0, 1), (4, 5), (3, 5), (3, 4)]
    assert [task.params.seed for task in tasks] == [0, 0, 0, 1, 1, 1]
    assert [task.stream for task in tasks] == [0, 1, 2, 0, 1, 2]


def test_draws_keep_that_all_sizes_are_judged_on_the_same_pictures() -> None:
    """A picture that is wrong at all sizes moves all errors alike."""
    hard = (np.arange(400) < 40).astype(np.float64)
    wrong = np.broadcast_to(hard, (4, 2, 400))
    accuracy, losses = resample_errors(Measurements(wrong, 2 * wrong), np.arange(400), 0)
    assert accuracy.values.tolist() == [0.1] * 4
    assert accuracy.errors == pytest.approx([np.sqrt(0.09 / 400)] * 4, rel=0.1)
    assert np.ptp(accuracy.draws, axis=1).max() < 1e-12
    assert losses.draws == pytest.approx(2 * accuracy.draws)
    joined, _ = resample_errors(Measurements(wrong, wrong), np.arange(400) // 10, 0)
    assert joined.errors == pytest.approx(accuracy.errors * np.sqrt(10), rel=0.1)


def test_draws_hold_the_spread_of_the_seeds() -> None:
    """Of 0.1, 0.2 and 0.3 of all pictures, wrong in equal parts: a standard error of 0.1 / √3."""
    losses = np.broadcast_to(np.array([0.1, 0.2, 0.3])[:, None], (4, 3, 50))
    _, found = resample_errors(Measurements(losses, losses), np.arange(50), 0)
    assert found.seeds_sd == pytest.approx([0.1] * 4)
    assert found.errors == pytest.approx([0.1 / np.sqrt(3)] * 4, rel=0.1)


SIZES = np.array([50, 100, 200, 400, 800, 1600])


def simulate(rng: np.random.Generator, a: float, b: float, c: float) -> Measurements:
    """1,000 pictures of different difficulty, four seeds of different luck, by a law."""
    errors = a + b * SIZES**-c
    luck = 1 + 0.1 * rng.normal(size=(6, 4)) * np.sqrt(SIZES[0] / SIZES)[:, None]
    score = rng.normal(size=1000) + 0.5 * rng.normal(size=(6, 4, 1000))
    level = (errors[:, None] * luck)[..., None]
    wrong = score / np.sqrt(1.25) < norm.ppf(level)
    return Measurements(wrong.astype(np.float64), level * np.exp(score - 1.25 / 2))


@pytest.mark.parametrize(
    ("law", "told"),
    [((0.03, 2.0, 0.7), True), ((0.1, 0.0, 1.0), False)],
    ids=["gain", "no gain"],
)
def test_intervals_hold_the_truth_as_often_as_they_say(
    law: tuple[float, float, float], told: bool
) -> None:
    """Of 25 simulated sets, at 95 %: fewer than 21 has a chance of 1 in 140."""
    _, b, c = law
    truth = b * (1600.0**-c - 3200.0**-c)
    rng = np.random.default_rng(0)
    held, sure = np.zeros(2, int), np.zeros(2, int)
    for seed in range(25):
        for i, errors in enumerate(resample_errors(simulate(rng, *law), np.arange(1000), seed)):
            fits, check = fit_errors(SIZES, errors), check_doubling(SIZES, errors, 0.95)
            found = foretell(SIZES, errors, fits, check, 1600, 0.95)
            assert found is not None
            held[i] += found.interval[0] <= truth <= found.interval[1]
            sure[i] += not found.doubt
    assert held.min() >= 21
    assert sure.min() >= 20 if told else sure.max() <= 3


def curve_of(measured: Measurements, more: int = 1000, groups: list[str] | None = None) -> Curve:
    names = groups or [str(i) for i in range(measured.wrong.shape[2])]
    return fit_curve(measured, SIZES, names, more, 0.95, seed=0)


def test_what_can_be_told_is_a_sentence_and_a_table_of_100_columns() -> None:
    curve = curve_of(simulate(np.random.default_rng(0), 0.03, 2.0, 0.7))
    text = describe_curve(curve)
    assert max(map(len, text.splitlines())) <= 100
    assert [line.split()[0] for line in text.splitlines()[2:8]] == [f"{n:,}" for n in SIZES]
    accuracy = replace(curve.accuracy, forecast=Forecast(0.00129, (0.000449, 0.0029), ""))
    assert describe_forecast(curve, accuracy) == (
        "Accuracy: another 1,000 training pictures would bring about 0.13 points (0.04 to 0.29)."
    )
    log_loss = replace(curve.log_loss, forecast=Forecast(0.00049, (0.0003, 0.00076), ""))
    assert describe_forecast(curve, log_loss) == (
        "Log loss: another 1,000 training pictures would lower it by about 0.00049 "
        "(0.00030 to 0.00076)."
    )
    assert re.search(r"Check: fitted up to 800, it foretold 9\d\.\d\d % \(9", text)
    assert "log loss = 0.0" in text


def test_beyond_twice_the_pictures_it_is_called_a_guess() -> None:
    measured = simulate(np.random.default_rng(0), 0.03, 2.0, 0.7)
    for more, guess in ((1600, False), (1601, True)):
        curve = curve_of(measured, more)
        text = describe_curve(curve)
        assert ("More than twice of what there is: a guess." in " ".join(text.split())) == guess
        assert max(map(len, text.splitlines())) <= 100


def test_what_cannot_be_told_is_said_with_its_reason() -> None:
    flat = curve_of(simulate(np.random.default_rng(0), 0.1, 0.0, 1.0))
    assert "would bring cannot be told (-0." in describe_forecast(flat, flat.accuracy)
    assert describe_forecast(flat, flat.accuracy).endswith(" points): the interval contains 0.")
    few = curve_of(simulate(np.random.default_rng(0), 0.001, 2.0, 0.9))
    sentence = describe_forecast(few, few.accuracy)
    assert sentence.endswith(": only 5 of 1,000 pictures are wrong.")
    jumping = simulate(np.random.default_rng(0), 0.1, 0.0, 1.0)
    level = np.array([0.5, 0.1, 0.5, 0.1, 0.5, 0.1])[:, None, None]
    odd = curve_of(Measurements(jumping.wrong, jumping.losses * level / 0.1))
    assert describe_forecast(odd, odd.log_loss) == (
        "Log loss: what another 1,000 training pictures would bring cannot be told: no power law "
        "holds."
    )


def test_a_law_that_fails_at_twice_the_pictures_is_not_believed() -> None:
    """It falls by a law up to half, and not at all from there on."""
    measured = simulate(np.random.default_rng(0), 0.0, 2.0, 0.6)
    losses = measured.losses.copy()
    losses[5] = losses[4] * 1.05
    errors = resample_errors(Measurements(measured.wrong, losses), np.arange(1000), 0)[1]
    check = check_doubling(SIZES, errors, 0.95)
    assert check is not None
    assert not check.holds
    assert check.up_to == 800
    found = foretell(SIZES, errors, fit_errors(SIZES, errors), check, 1000, 0.95)
    assert found is None or found.doubt.startswith("the law of half of the pictures did not")


def test_a_log_gets_a_line_for_each_size(capsys: pytest.CaptureFixture[str]) -> None:
    with CurveProgress([50, 1600], [1.0, 3.0]) as progress:
        for place, share in ((0, 0.5), (0, 1.0), (0, 1.0), (1, 0.5), (1, 1.0)):
            progress.follow(place, share)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == ["50 pictures: 25 % done", "1"]
    assert lines[1] == "1,600 pictures: 100 % done, about 0 s left"


def test_what_an_earlier_run_has_done_tells_nothing_of_the_time_left(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with CurveProgress([50, 100, 200], [1.0, 1.0, 2.0]) as progress:
        progress.follow(0, 1.0)  # kept
        progress.follow(1, 0.0)
        progress.follow(1, 1.0)
    kept, trained = capsys.readouterr().err.splitlines()
    assert kept == "50 pictures: 25 % done"
    assert trained.startswith("100 pictures: 50 % done, about ")


def test_a_terminal_gets_a_bar(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with CurveProgress([50, 1600], [1.0, 3.0]) as progress:
        progress.follow(0, 1.0)
        progress.follow(1, 1.0)
    found = capsys.readouterr().err
    assert "learning curve: 100 %|" in found
    assert "left, 1,600 pictures" in found
    assert "% done" not in found


def write_features(root: Path) -> None:
    """Two classes of 240 pictures in train and val, each with a copy."""
    rng = np.random.default_rng(0)
    labels = np.arange(480) // 2 % 2
    features = (rng.normal(size=(480, 1, 6)) + labels[:, None, None] * 1.5).astype(np.float32)
    pictures = []
    for split, rows in (("train", slice(0, 400)), ("val", slice(400, 480))):
        write_shard(root / "features/pooled" / split / shard_name(0), features[rows])
        index = [(f"{i}.png", "", int(labels[i])) for i in range(480)[rows]]
        write_labels(root / "processed", split, index)
        pictures += [Picture(f"{i}.png", "", split, str(i), str(i // 2)) for i in range(480)[rows]]
    write_json(root / "processed/classes.json", NAMES)
    write_manifest(root / "split.csv", pictures)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project as it is after stage features; the current directory."""
    changes = {"crossval.folds": 2, "head.epochs": 2, "head.batch_size": 16, "head.lr": 0.05}
    root = make_project(tmp_path / "project", tmp_path / "home", changes).root
    write_features(root / "data")
    monkeypatch.chdir(root)
    return root


COMMAND = ["learning-curve", "--seeds", "2", "--sizes", "5", "--more", "200"]


def results() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path("plots/learning_curve").iterdir()}


@pytest.mark.usefixtures("project")
def test_the_command_goes_on_where_it_was_stopped_and_leaves_the_same_bytes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[int] = []

    def stop(*arguments: Any, **named: Any) -> Any:
        trained.append(len(arguments[3][0].train))
        if len(trained) == 3:
            raise KeyboardInterrupt
        return train_heads(*arguments, **named)

    monkeypatch.setattr(measurement, "train_heads", stop)
    assert main(COMMAND) == 130
    said = capsys.readouterr()
    assert said.err.endswith("\ninterrupted; the same command goes on where it was\n")
    assert not Path("plots/learning_curve").exists()
    assert main(COMMAND) == 0
    assert len(trained) == 3 + 3  # two sizes were finished
    resumed, printed = results(), capsys.readouterr().out
    assert sorted(resumed) == ["curve.csv", "curve.json", "curve.png"]
    assert not list(Path(".resume").iterdir())
    assert main(COMMAND) == 0
    assert capsys.readouterr().out == printed
    assert results() == resumed
    # Or a warning of TensorFlow's, of many lines, stands among those of the sizes
    assert not logging.getLogger("tensorflow").isEnabledFor(logging.WARNING)

    assert printed.startswith("20 heads on 52 to 240 pictures: about ")
    assert "480 pictures, each judged by heads that have not seen it; 2 seeds\n" in printed
    assert printed.endswith("\nplots/learning_curve/: curve.png, curve.csv, curve.json\n")
    found = json.loads(resumed["curve.json"])
    assert (found["pictures"], found["groups"], found["seeds"]) == (480, 240, 2)
    assert found["sizes"] == sorted(set(found["sizes"]))
    assert found["accuracy"]["error"][-1] < 0.25
    assert found["accuracy"]["sentence"] in " ".join(printed.split())
    rows = resumed["curve.csv"].decode().splitlines()
    assert rows[0] == "pictures,seed,accuracy,log_loss"
    assert len(rows) == 1 + 5 * 2


def refused(command: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(command) == 2
    return capsys.readouterr().err


def test_what_cannot_be_is_one_line_before_anything_is_trained(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measurement, "train_heads", None)
    unknown = "warning: dvc.lock lacks data/split.csv, data/features/pooled: whether this fits "
    assert refused([*COMMAND[:-1], "2161"], capsys) == (
        f"{unknown}params.yaml cannot be told\n"
        "error: --more: expected at most 2160, for 10 times the 240 training pictures that there "
        "are; found 2161\n"
    )
    text = Path("params.yaml").read_text()
    patients = text.replace("folds: 2", "folds: 20").replace("n: ''", "n: '([0-9])'")
    Path("params.yaml").write_text(patients)
    told = refused(COMMAND, capsys).splitlines()[1]
    assert told.startswith(
        "error: crossval.folds: expected at least 20 groups of pictures in train"
    )
    Path("params.yaml").write_text(text.replace("class_weights: none", "class_weights: [1.0]"))
    assert "class_weights: expected 2 numbers" in refused(COMMAND, capsys)
    (project / "data/split.csv").unlink()
    assert refused(COMMAND, capsys) == (
        "error: data/split.csv: expected what the pipeline makes, found nothing; run `dvc repro`\n"
    )


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--more", "0"), "--more: expected a whole number from 1, found '0'"),
        (("--seeds", "1"), "--seeds: expected a whole number from 2 to 100, found '1'"),
        (("--sizes", "4"), "--sizes: expected a whole number from 5 to 12, found '4'"),
    ],
)
def test_options_out_of_range_are_refused(
    option: tuple[str, str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["learning-curve", *option])
    assert capsys.readouterr().err.splitlines()[-1].endswith(f"error: argument {message}")


@pytest.mark.parametrize("out", ["", "params.yaml"])
def test_results_go_into_a_folder_which_is_told_before_the_work(
    out: str, capsys: pytest.CaptureFixture[str], project: Path
) -> None:
    with pytest.raises(SystemExit, match=r"^2$"):
        main([*COMMAND, "--out", out])
    assert f"--out: expected a folder, found {out!r}" in capsys.readouterr().err


def test_two_at_once_are_refused(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with held_alone(project / ".resume/learning-curve", "another one is at work"):
        assert main(COMMAND) == 2
    said = capsys.readouterr()
    assert said.err.endswith(
        "error: .resume/learning-curve: another learning-curve is at work in this project\n"
    )
    assert "about" not in said.out  # it is told before anything is promised or started


def test_a_damaged_note_of_a_finished_size_is_not_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "size_00.npy"
    measurement._write(path, np.arange(3.0))  # noqa: SLF001
    whole = measurement._read(path)  # noqa: SLF001
    assert whole is not None
    assert whole.tolist() == [0, 1, 2]
    path.write_bytes(path.read_bytes()[:-1])
    assert measurement._read(path) is None  # noqa: SLF001
    assert capsys.readouterr().out == f"{path} is damaged and not used\n"
