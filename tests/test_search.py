# covers: B14, B8, C5, C6
"""The search: what it takes, what it proposes, what it says, and its experiments in real DVC."""

from __future__ import annotations

import ast
import csv
import json
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from living import descendants, living, wait_until
from project import Project, environment, make_project
from shard_tasks import ray_node
from test_crossval import write_features

from pawprint.choosing.scores import PairedMean, paired_mean
from pawprint.cli.search import main
from pawprint.runner.errors import DataError, ParamsError, PawprintError
from pawprint.runner.files import file_digest
from pawprint.runner.params import Params
from pawprint.runner.params_file import change_params, load_params, parse_value
from pawprint.search.chart import render_search
from pawprint.search.experiments import edit_params
from pawprint.search.optimism import nested_loss
from pawprint.search.progress import Budget
from pawprint.search.ranges import Choices, NumberRange, count_combinations, parse_ranges
from pawprint.search.study import Study, Trial
from pawprint.search.summary import describe_best_head, describe_trials, rank, write_trials
from stages.crossval import main as crossval

ROOT = Path(__file__).parents[1]
# Of DVC's own libraries
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")

# ---- Ranges


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("head.lr", "head.lr: expected KEY=a..b"),
        ("lr=1..2", "lr=1..2: expected KEY=a..b"),
        ("head.lr=0.1", "head.lr: expected a range or choices .*a single value is set in params"),
        ("head.lr=1e-3..20", "head.lr: input should be less than or equal to 10, found 20"),
        ("head.lr=0..1", "head.lr: input should be greater than 0, found 0"),
        ("head.lr=1..1", "head.lr: expected a range a..b with a below b, found 1..1"),
        ("head.lr=a..b", "head.lr: expected two numbers, a..b, found 'a..b'"),
        ("head.lr=1..2..3", "head.lr: expected two numbers"),
        ("head.lr=1..inf", "head.lr: expected two numbers"),
        ("head.lr=.nan..1", "head.lr: expected two numbers"),
        ("head.dropout=0..0.5:log", "head.dropout: a range with :log begins above 0"),
        ("head.dropout=0..0.5:lin", "head.dropout: expected :log, or nothing"),
        ("head.epochs=1.5..3", "head.epochs: input should be a valid integer, found 1.5"),
        ("head.epochs=0..3", "head.epochs: input should be greater than or equal to 1, found 0"),
        ("head.hidden=1..3", "head.hidden: holds no number, so that it has choices"),
        ("head.batch_norm=0..1", "head.batch_norm: holds no number"),
        ("head.hidden=[]|5", "head.hidden: input should be a valid list, found 5"),
        ("head.hidden=[]|[0]", "head.hidden.0: input should be greater than or equal to 1"),
        ("head.hidden=[]|[", r"head.hidden: '\[' is not valid YAML"),
        ("head.hidden=[]|[ ]", r"head.hidden: the choice \[ \] stands twice"),
        ("head.schedule=cosine|linear", "head.schedule: input should be 'cosine', 'plateau' or"),
        ("head.class_weights=none|[1,-1]", "head.class_weights: expected none, balanced, or a"),
        ("head.lrr=1..2", "head.lrr: unknown key; known: epochs, batch_size, lr"),
        ("head.lr.x=1..2", r"head.lr.x: unknown key; known"),
        ("other.x=1..2", r"other.x: unknown key; searched are head.\* and finetune.\*"),
        ("head.seed=0..9", "head.seed: a seed is luck and no setting"),
        ("crossval.folds=2..9", "crossval.folds: is the measure itself"),
        ("model.backbone=A|B", "model.backbone: changes what the frozen network gives.* rank`"),
        ("augment.zoom=0..0.1", "augment.zoom: changes what the frozen network gives"),
        ("runtime.threads=1..2", "runtime.threads: changes how long a training takes"),
    ],
)
def test_a_range_that_cannot_be_is_refused_by_its_key(
    committed: Params, argument: str, message: str
) -> None:
    with pytest.raises(ParamsError, match=f"^{message}"):
        parse_ranges([argument], committed)


def test_a_key_stands_once_and_there_is_one(committed: Params) -> None:
    with pytest.raises(ParamsError, match=r"^head\.lr: stands twice; remove one$"):
        parse_ranges(["head.lr=0.1..0.2", "head.lr=0.1|0.2"], committed)
    with pytest.raises(ParamsError, match=r"^expected keys and their ranges, found none"):
        parse_ranges([], committed)


def test_ranges_are_read_by_the_types_of_their_keys(committed: Params) -> None:
    found = parse_ranges(
        [
            "head.lr=1e-4..1e-2:log",
            "head.epochs=5..20",
            "head.hidden=[]|[256, 64]",
            "head.dropout=0..0.6",
            "head.class_weights=none|balanced",
        ],
        committed,
    )
    assert found == [
        NumberRange("head.lr", 1e-4, 1e-2, True, False),
        NumberRange("head.epochs", 5, 20, False, True),
        Choices("head.hidden", ("[]", "[256, 64]"), ([], [256, 64])),
        NumberRange("head.dropout", 0, 0.6, False, False),
        Choices("head.class_weights", ("none", "balanced"), ("none", "balanced")),
    ]
    assert [each.size for each in found[1:3]] == [16, 2]
    assert count_combinations(found[1:3]) == 32
    epochs, lr = found[1].read(7), found[0].read(0.01 + 1e-9)
    assert (epochs, type(epochs), lr) == (7, int, 0.01)


def test_a_changed_value_is_checked_as_in_params_yaml(committed: Params) -> None:
    assert parse_value("1e-05") == 1e-05
    changed = change_params(committed, {"head.dropout": 0, "head.hidden": [8]})
    assert (changed.head.dropout, changed.head.hidden) == (0.0, [8])
    assert changed.finetune == committed.finetune
    with pytest.raises(ParamsError, match=r"^head\.dropout: input should be less than 1, found 1"):
        change_params(committed, {"head.dropout": 1})


def test_only_the_searched_values_change_in_params_yaml() -> None:
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    changed = edit_params(text, {"head.lr": 0.0023, "head.hidden": [256]})
    before, after = text.splitlines(), changed.splitlines()
    differences = [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]]
    assert [" ".join(line.split()) for _, line in differences] == [
        "hidden: [256] # units of dense layers before the last",
        "lr: 0.0023",
    ]
    assert edit_params(text, {}) == text


@pytest.mark.parametrize("value", [[], [8], [4, 4]])
def test_a_list_that_dvc_has_written_below_its_key_is_replaced(value: list[int]) -> None:
    """As after `dvc exp run -S 'head.hidden=[16]'`."""
    from dvc.utils.serialize import dumps_yaml, parse_yaml_for_update

    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    content = parse_yaml_for_update(text, "params.yaml")
    content["head"]["hidden"], content["head"]["class_weights"] = [16], [1.0, 2.0]
    written = dumps_yaml(content)
    expected = yaml.safe_load(written)
    expected["head"]["hidden"], expected["head"]["class_weights"] = value, "balanced"
    changes = {"head.hidden": value, "head.class_weights": "balanced"}
    assert yaml.safe_load(edit_params(written, changes)) == expected


# ---- The study


SPACE = ["head.lr=1e-4..1e-2:log", "head.epochs=5..20", "head.hidden=[]|[256]"]


def loss_of(values: dict[str, Any]) -> float:
    far = (np.log10(values["head.lr"]) + 2.5) ** 2 + abs(values["head.epochs"] - 9) / 20
    return float(0.1 + far + (0.2 if values["head.hidden"] else 0))


def search(path: Path, params: Params, trials: int, seed: int = 0) -> list[Trial]:
    """A search of a formula, up to a number of trials."""
    study = Study(path, parse_ranges(SPACE, params), seed, {"a": "b"})
    while len(study.trials) < trials:
        number = len(study.trials)
        values = (
            study.propose()
            if number
            else {"head.lr": 0.5, "head.epochs": 15, "head.hidden": []}  # outside
        )
        failed = number % 7 == 3
        loss = None if failed else loss_of(values)
        study.add(Trial(number, values, loss, reason="diverged" if failed else ""))
    return study.trials


def test_a_search_that_stopped_anywhere_proposes_the_same(
    committed: Params, tmp_path: Path
) -> None:
    whole = search(tmp_path / "whole", committed, 25)
    for stop in range(1, 25, 3):
        search(tmp_path / "parts", committed, stop)
        if stop == 13:  # killed while it wrote
            with open(tmp_path / "parts", "ab") as file:
                file.write(b'{"op_code": 4, "work')
    assert search(tmp_path / "parts", committed, 25) == whole
    assert whole != search(tmp_path / "other", committed, 25, seed=1)
    assert all(1e-4 <= trial.values["head.lr"] <= 1e-2 for trial in whole[1:])
    best = rank(whole)[0].loss
    assert best is not None
    assert best < 0.2


def test_a_damaged_file_is_one_line(committed: Params, tmp_path: Path) -> None:
    path = tmp_path / "optuna.log"
    path.write_text("no journal\n")
    with pytest.raises(DataError, match=r"optuna\.log: expected the trials of a search.*--fresh$"):
        search(path, committed, 1)


def test_no_setting_is_tried_twice(committed: Params, tmp_path: Path) -> None:
    ranges = parse_ranges(["head.hidden=[]|[8]", "head.epochs=3..6"], committed)
    study = Study(tmp_path / "optuna.log", ranges, 0, {})
    for number in range(8):
        study.add(Trial(number, study.propose(), 0.1 + number / 100))
    assert len({trial.key for trial in study.trials}) == 8


def test_importance_tells_which_key_matters(committed: Params, tmp_path: Path) -> None:
    study = Study(tmp_path / "optuna.log", parse_ranges(SPACE[:2], committed), 0, {})
    for number in range(20):
        values = study.propose()
        study.add(Trial(number, values, 0.1 + abs(np.log10(values["head.lr"]) + 3)))
        if number == 8:
            assert study.importances() == {}
    found = study.importances()
    assert list(found) == ["head.lr", "head.epochs"]
    assert found["head.lr"] > 0.8
    assert sum(found.values()) == pytest.approx(1)


# ---- What is said


def test_luck_is_what_other_folds_do_not_confirm() -> None:
    # Fold 0 of 30 pictures, fold 1 of 10: without fold 0, trial 1 is best; without fold 1, trial 0
    assert nested_loss([[0.1, 0.4], [0.3, 0.2]], np.array([30, 10])) == pytest.approx(
        (30 * 0.3 + 10 * 0.4) / 40
    )
    assert nested_loss([[0.1, 0.2], [0.3, 0.4]], np.array([5, 5])) == pytest.approx(0.15)


def test_a_gain_is_of_pairs() -> None:
    before, after = np.array([1.0, 2.0, 3.0]), np.array([0.5, 1.0, 3.0])
    gain = paired_mean(before - after, np.arange(3), 0.95)
    half = 4.302653 * 0.5 / np.sqrt(3)  # Student's, 2 degrees of freedom; differences 0.5, 1, 0
    assert (gain.mean, gain.low, gain.high) == pytest.approx((0.5, 0.5 - half, 0.5 + half))
    assert not gain.is_told
    one_group = paired_mean(before - after, np.zeros(3, int), 0.95)
    assert (one_group.mean, one_group.is_told, one_group.p_value) == (0.5, False, 1.0)


def trial(number: int, loss: float | None, folds: tuple[float, float] = (0.0, 0.0)) -> Trial:
    if loss is None:
        return Trial(number, {"head.lr": 9.0}, reason="logits: found NaN")
    name = f"search-head-{number:04d}"
    values = {"head.lr": 0.001 * number}
    return Trial(number, values, loss, 0.01, 0.9, list(folds), experiment=name)


def test_the_end_names_best_failed_and_current(tmp_path: Path) -> None:
    trials = [trial(0, 0.5), trial(1, None), *(trial(n, 0.6 - n / 100) for n in range(2, 15))]
    said = describe_trials(trials, ["head.lr"])
    assert said.startswith(
        "15 trials, 1 of them failed\n  trial 1 (head.lr=9.0): logits: found NaN"
    )
    names = re.findall(r"search-head-(\d+)", said)
    assert [int(name) for name in names] == [*range(14, 10, -1), 0, *range(10, 5, -1)]
    assert "search-head-0000 = params.yaml" in said
    write_trials(tmp_path / "trials.csv", trials[:3], ["head.lr"])
    assert (tmp_path / "trials.csv").read_text() == (
        "trial,head.lr,log_loss,log_loss_se,accuracy,failed,experiment\n"
        "0,0.0,0.5,0.01,0.9,,search-head-0000\n"
        "1,9.0,,,,logits: found NaN,\n"
        "2,0.002,0.58,0.01,0.9,,search-head-0002\n"
    )


def test_the_best_is_told_with_its_error_and_its_luck() -> None:
    trials = [trial(0, 0.3, (0.3, 0.3)), trial(1, 0.25, (0.1, 0.4)), trial(2, 0.27, (0.3, 0.24))]
    sizes = np.array([10, 10])
    said = describe_best_head(trials, sizes, PairedMean(0.05, 0.04, 0.02), 0.95)
    assert "best: search-head-0001: log loss 0.2500, standard error 0.0100 over 20 pictures" in said
    assert "0.0500 lower, 95% interval 0.0100 to 0.0900" in said
    assert (
        "it is 0.3500 instead of 0.2500; expect that of new pictures (params.yaml: 0.3000)" in said
    )
    assert "may be chance" not in said
    unsure = describe_best_head(trials, sizes, PairedMean(0.05, 0.06, 0.1), 0.95)
    assert (
        "that may be chance: the settings of params.yaml are not worse beyond the error" in unsure
    )
    none = describe_best_head([trials[0], trials[2]][:1], sizes, None, 0.95)
    assert "none of the others was better than params.yaml" in none


def test_the_picture_has_the_same_bytes(committed: Params, tmp_path: Path) -> None:
    ranges = parse_ranges(["head.lr=1e-4..1e-2:log", "head.hidden=[]|[256]"], committed)
    trials = [
        Trial(n, {"head.lr": 10 ** (-4 + n / 5), "head.hidden": [[], [256], [8]][n % 3]}, 0.1 + n)
        for n in range(9)
    ]
    shares = {"head.lr": 0.7, "head.hidden": 0.3}
    for name in ("a.png", "b.png"):
        render_search(tmp_path / name, trials, ranges, shares)
    assert file_digest(tmp_path / "a.png") == file_digest(tmp_path / "b.png")
    render_search(tmp_path / "c.png", trials, ranges, {})
    assert file_digest(tmp_path / "c.png") != file_digest(tmp_path / "a.png")


def test_a_budget_ends_before_a_trial_that_would_be_too_late() -> None:
    now = [0.0]
    budget = Budget(1.0, 5, 0.0, lambda: now[0])
    assert budget.allows(4)
    assert not budget.allows(5)
    budget.note(20)
    now[0] = 30.0  # and the end takes a few seconds
    assert budget.allows(1)
    assert budget.share(1) == 0.5
    assert budget.seconds_left(1) == 30.0
    now[0] = 40.0
    assert not budget.allows(2)
    unlimited = Budget(None, 100, 0.0, lambda: now[0])
    assert unlimited.seconds_left(0) is None
    unlimited.note(2)
    assert unlimited.seconds_left(90) == 20.0


def test_optuna_is_imported_by_the_search_alone() -> None:
    found = {
        path.relative_to(ROOT).as_posix()
        for folder in ("pawprint", "stages")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"(?m)^\s*(import|from) optuna\b", path.read_text(encoding="utf-8"))
    }
    assert found == {"pawprint/search/study.py"}


# ---- Real DVC


def cut_pipeline(root: Path, stages: dict[str, Any]) -> None:
    """Leave some stages in dvc.yaml; what others would make is there already."""
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}, sort_keys=False))


@pytest.fixture(scope="module")
def base() -> Iterator[Project]:
    """A project with features, and stage crossval."""
    with tempfile.TemporaryDirectory() as directory:
        changes = {
            "head.epochs": 3,
            "split.groups_pattern": "(patient[0-9]+)_",
            "head.batch_size": 8,
            "head.lr": 0.02,
        }
        project = make_project(Path(directory, "project"), Path(directory, "home"), changes)
        write_features(project.root / "data")
        stage = yaml.safe_load((ROOT / "dvc.yaml").read_text("utf-8"))["stages"]["crossval"]
        cut_pipeline(project.root, {"crossval": stage})
        (project.root / "data/.gitignore").write_text("/features\n/processed\n/split.csv\n")
        project.commit()
        yield project


@pytest.fixture
def project(base: Project, tmp_path: Path) -> Project:
    return base.copy(tmp_path / "project")


HEAD = ["head.lr=1e-3..0.5:log", "head.hidden=[]|[4]"]


def run_here(
    project: Project, monkeypatch: pytest.MonkeyPatch, *arguments: str, ranges: list[str] = HEAD
) -> int:
    """The command in this process, without the user's settings."""
    for name, value in environment(project.home).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(project.root)
    return main([*arguments, *ranges], "search")


def experiments(project: Project) -> dict[str, str]:
    """Names and commits, as git has them."""
    form = "--format=%(refname:lstrip=4) %(objectname)"
    lines = project.run("git", "for-each-ref", form, "refs/exps/*/*/search-*").text.splitlines()
    return {name: commit for name, commit in map(str.split, lines)}


def test_trials_are_experiments_as_dvc_makes_them(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project.set_params({"head.weight_decay": 0.002})  # not committed, and part of each trial
    untouched = project.changes()
    monkeypatch.setattr("pawprint.networks.runtime.start_tensorflow", lambda *_: None)
    assert run_here(project, monkeypatch, "--trials", "3") == 0
    printed, lines = capsys.readouterr()
    assert project.changes() == untouched
    best = re.search(r"^best: (search-head-\d+)", printed, re.MULTILINE)
    assert best
    assert printed.startswith("search head: judged on 5 folds of 160 pictures\n3 trials, 0 of them")
    assert re.search(r"dvc exp apply search-head-000\d && dvc repro\n|better than params", printed)
    assert re.fullmatch(
        r"(trial \d: log loss [\d.]+, [\d.]+ s; \d of 3 trials, best .*\n){3}", lines
    )
    assert sorted(experiments(project)) == [f"search-head-000{n}" for n in range(3)]
    assert (project.root / "searches/head/importance.png").exists()

    rows = (project.root / "searches/head/trials.csv").read_text().splitlines()
    shown = json.loads(project.dvc("exp", "show", "--json").text)
    of_name = {e["name"]: e["revs"][0]["data"] for e in shown[1]["experiments"]}
    found = of_name["search-head-0002"]
    head = found["params"]["params.yaml"]["data"]["head"]
    figures = found["metrics"]["metrics/crossval.json"]["data"]
    assert rows[3].startswith(f"2,{head['lr']},{head['hidden']},{figures['log_loss']},")
    assert (head["weight_decay"], head["epochs"]) == (0.002, 3)

    project.dvc("exp", "apply", "search-head-0002")
    assert project.dvc("status").text.strip() == "Data and pipelines are up to date."
    applied = [*(project.root / "metrics").rglob("*.*"), project.root / "dvc.lock"]
    before = {path: path.read_bytes() for path in applied if path.is_file()}
    assert len(before) == 4
    assert load_params(project.root / "params.yaml").head.lr == head["lr"]
    crossval(load_params())
    project.dvc("commit", "--force", "crossval")
    assert {path: path.read_bytes() for path in before} == before

    assert best[1] != "search-head-0000"
    project.dvc("exp", "remove", best[1])
    project.run("git", "checkout", "--quiet", ".")
    project.set_params({"head.weight_decay": 0.002})
    project.dvc("checkout", "--quiet", "metrics/crossval")
    assert run_here(project, monkeypatch, "--trials", "3") == 0
    assert f"{best[1]} has been removed: its values are in" in capsys.readouterr().out


# A search whose trainings are a formula: no TensorFlow, 0.03 s each
FORMULA = """
import sys, time
import numpy as np
import pawprint.networks.runtime as runtime, pawprint.search.head_trials as trials
from pawprint.choosing.out_of_fold import OutOfFold
from pawprint.runner.errors import ModelError

def cross_validate(pictures, folds, head, follow):
    time.sleep(0.03)
    if head.lr > 0.3:
        raise ModelError("the training has diverged")
    rng = np.random.default_rng(0)
    gap = 1 + head.lr + len(head.hidden)
    logit = rng.normal(size=len(folds)) + (2 * pictures.labels - 1) * gap
    probs = 1 / (1 + np.exp(np.stack([logit, -logit], axis=1)))
    table = (pictures.paths, pictures.splits, folds, pictures.labels, probs.astype(np.float32))
    return OutOfFold(*table, pictures.class_names), [1] * 5

trials.cross_validate = cross_validate
runtime.start_tensorflow = lambda *_: None
"""
COMMAND = FORMULA + "from pawprint.__main__ import main\nsys.exit(main(['search', *sys.argv[1:]]))"


def start(project: Project, *command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        cwd=project.root,
        env=environment(project.home) | {"PYTHONPATH": str(project.root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def outcome(project: Project) -> tuple[str, bytes, dict[str, str]]:
    """What a search leaves: its table, its picture, the trees of its experiments."""
    trees = {
        name: project.run("git", "rev-parse", f"{commit}^{{tree}}").text
        for name, commit in experiments(project).items()
    }
    kept = project.root / "searches/head"
    return (kept / "trials.csv").read_text(), (kept / "importance.png").read_bytes(), trees


def test_a_search_that_is_killed_ends_as_if_it_had_not_been(
    project: Project,
    base: Project,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for place in ("search.head_trials.cross_validate", "networks.runtime.start_tensorflow"):
        monkeypatch.setattr(f"pawprint.{place}", None)  # and what it was comes back at the end
    exec(FORMULA, {})
    undisturbed = base.copy(tmp_path / "undisturbed")
    assert run_here(undisturbed, monkeypatch, "--trials", "12") == 0
    assert "the training has diverged" in capsys.readouterr().out
    rng = random.Random(0)
    for wanted in (1, 5):  # a random moment from the end of such a trial
        killed = start(project, sys.executable, "-c", COMMAND, "--trials", "12", *HEAD)
        assert killed.stderr is not None
        for line in killed.stderr:
            if line.startswith(f"trial {wanted}:"):
                break
        time.sleep(rng.uniform(0, 0.3))
        killed.send_signal(signal.SIGKILL)
        killed.communicate(timeout=600)
    assert not project.changes()
    assert run_here(project, monkeypatch, "--trials", "12") == 0
    assert re.search(r"continuing after \d+ trials\n", capsys.readouterr().out)
    assert outcome(project) == outcome(undisturbed)


def test_what_cannot_go_on_is_one_line(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pawprint.networks.runtime.start_tensorflow", lambda *_: None)
    stop_at = [2]

    def stand_in(pictures: Any, folds: np.ndarray, head: Any, follow: Any) -> Any:
        if not stop_at[0]:
            raise KeyboardInterrupt
        stop_at[0] -= 1
        raise PawprintError("the training has diverged")

    monkeypatch.setattr("pawprint.search.head_trials.cross_validate", stand_in)
    assert run_here(project, monkeypatch, "--trials", "9") == 130
    printed = capsys.readouterr().out
    assert "2 trials, 2 of them failed\n  trial 0 (head.lr=0.02, head.hidden=[]): the" in printed
    assert "stopped; all finished trials are kept: the same command goes on" in printed
    assert experiments(project) == {}
    assert run_here(project, monkeypatch, "--trials", "2") == 1
    assert "continuing after 2 trials\n" in capsys.readouterr().out

    before = "^search head: {} since it began, .*another --name, or begin anew with --fresh$"
    changed = before.format(
        r"the ranges was head\.lr=0\.001\.\.0\.5:log .*, now head\.lr=0\.1\.\.0\.5"
    )
    with pytest.raises(ParamsError, match=changed):
        run_here(project, monkeypatch, "--trials", "2", ranges=["head.lr=0.1..0.5"])
    with pytest.raises(ParamsError, match=before.format("--seed was 0, now 1")):
        run_here(project, monkeypatch, "--trials", "2", "--seed", "1")
    project.set_params({"head.epochs": 4})
    with pytest.raises(ParamsError, match=before.format(r"head\.epochs was 3, now 4")):
        run_here(project, monkeypatch, "--trials", "2")
    project.set_params({"head.epochs": 3})
    features = project.root / "data/split.csv"
    features.write_text(features.read_text().replace("test/x.png", "test/y.png"))
    with pytest.raises(ParamsError, match=before.format("data or code changed")):
        run_here(project, monkeypatch, "--trials", "2")
    stop_at[0] = 1
    assert run_here(project, monkeypatch, "--trials", "1", "--fresh") == 1
    assert run_here(project, monkeypatch, "--trials", "1", "--name", "other") == 130
    capsys.readouterr()
    assert run_here(project, monkeypatch, "--trials", "1", "--name", "third") == 130
    assert capsys.readouterr().out.endswith("stopped before the first trial could end\n")
    assert run_here(project, monkeypatch, "--minutes", "0.01", "--name", "fourth") == 1
    assert capsys.readouterr().out.endswith(
        "--minutes: used up before the first trial could end; give it more\n"
    )
    project.run("git", "commit", "--quiet", "--allow-empty", "--message", "another")
    changed = before.format("the commit was [0-9a-f]{7}, now [0-9a-f]{7}")
    with pytest.raises(ParamsError, match=changed):
        run_here(project, monkeypatch, "--trials", "2")

    with pytest.raises(ParamsError, match=r"head\.class_weights: expected 2 numbers, one for each"):
        run_here(
            project, monkeypatch, "--trials", "2", ranges=["head.class_weights=none|[1.0,2.0,3.0]"]
        )
    (project.root / "data/processed/classes.json").unlink()
    with pytest.raises(PawprintError, match=r"^data/processed: .*run `dvc repro crossval` first$"):
        run_here(project, monkeypatch, "--trials", "2")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected --minutes, --trials or both"),
        (["--minutes", "0"], "--minutes: expected minutes above 0, found '0'"),
        (["--trials", "0"], "--trials: expected a whole number from 1 to 9999, found '0'"),
        (["--trials", "1", "--name", "a/b"], "--name: expected up to 40 letters"),
        (["--trials", "1", "--seed", "-1"], "--seed: expected"),
    ],
)
def test_wrong_options_are_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match=r"^2$"):
        main([*arguments, *HEAD], "search")
    assert message in capsys.readouterr().err


# Stages that take no time; where a file is, other epochs than 5 never end; 9 fail
TUNE = f"""
import json, sys, time, yaml
from pathlib import Path
sys.path.append({str(ROOT)!r})
from pawprint.runner.processes import end_with_dvc
end_with_dvc()
stage, held = sys.argv[1], Path(sys.argv[2])
params = yaml.safe_load(open("params.yaml"))
if stage == "features":
    Path("features.txt").write_text("features")
elif stage == "train_head":
    Path("heads").mkdir()
    text = Path("features.txt").read_text() + str(params["head"]["epochs"])
    Path("heads/head.txt").write_text(text)
    Path("heads/rows.txt").write_text("no stage reads this part of the output")
else:
    values = Path("heads/head.txt").read_text(), params["finetune"]["epochs"]
    half = Path(".resume/half")
    goes_on = half.exists() and half.read_text() == repr(values)
    half.parent.mkdir(exist_ok=True)
    if values[1] != 5 and held.exists():
        half.write_text(repr(values))
        while True:
            time.sleep(60)
    if values[1] == 9:
        sys.exit("error: the training has diverged")
    figures = {{"val_log_loss": 1 / values[1], "val_accuracy": 1.0 if goes_on else 0.5}}
    Path("metrics/finetune.json").write_text(json.dumps(figures))
"""


@pytest.fixture(scope="module")
def tuned_base(base: Project) -> Project:
    """A project with stages up to finetune, which alone has not run."""
    project = base.copy(base.root.parent / "tuned")
    (project.root / "tune.py").write_text(TUNE)
    (project.root / "metrics").mkdir()
    (project.root / "metrics/.gitignore").write_text("/finetune.json\n")
    outs = {
        "features": "features.txt",
        "train_head": "heads",
        "finetune": "metrics/finetune.json",
    }
    deps = {"features": [], "train_head": ["features.txt"], "finetune": ["heads/head.txt"]}
    read = {"features": "features", "train_head": "head", "finetune": "finetune"}
    cut_pipeline(
        project.root,
        {
            name: {
                "cmd": f"{sys.executable} tune.py {name} {base.root.parent / 'held'}",
                "deps": ["tune.py", *deps[name]],
                "params": [read[name]],
                "outs": [out],
            }
            for name, out in outs.items()
        },
    )
    project.dvc("repro", "--quiet", "train_head")
    project.commit()
    return project


@pytest.fixture
def tuned(tuned_base: Project, tmp_path: Path) -> Project:
    return tuned_base.copy(tmp_path / "project")


SEED = ("--seed", "3")  # the trial that fails comes before another


def test_fine_tuning_is_searched_by_its_stage(
    tuned: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run_here(tuned, monkeypatch, "--trials", "9", *SEED, ranges=["finetune.epochs=4|9"])
    assert found == 0
    printed = capsys.readouterr().out
    assert "3 trials, 1 of them failed\n" in printed
    assert re.search(
        r"trial \d \(finetune\.epochs=9\): the training has diverged \(searches/finetune/", printed
    )
    assert "every setting of these choices was tried" in printed
    assert re.search(
        r"best: search-finetune-000\d: validation log loss 0\.2500 \(finetune\.epochs=4\)\n"
        r"params\.yaml: 0\.3333\nthe best of 2 is partly luck: all are judged on the same 32 ",
        printed,
    )
    assert len(experiments(tuned)) == 2
    assert not tuned.changes()
    assert not (tuned.root / "searches/finetune/workplace/clone").exists()


def test_on_a_cluster_trials_run_as_tasks_and_are_the_project_s_experiments(
    tuned: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ranges = ["finetune.epochs=4|9"]
    options = ("--trials", "3", "--together", "3", *SEED)
    with ray_node(cpus=2) as node:
        tuned.set_params({"compute.engine": "ray", "compute.address": node.address})
        tuned.commit()
        assert run_here(tuned, monkeypatch, *options, ranges=ranges) == 0
    printed = capsys.readouterr()
    assert "3 trials, 1 of them failed\n" in printed.out
    assert re.search(r"trial \d \(finetune\.epochs=9\): the training has diverged", printed.out)
    assert "3 experiments, each in a clone, from " in printed.err
    names = [f"search-finetune-000{number}" for number in (0, 1, 2)]
    lost = next(name for name in names if name not in experiments(tuned))
    assert sorted(experiments(tuned)) == sorted({*names} - {lost})
    assert not tuned.changes()
    best = next(name for name in names[1:] if name != lost)
    tuned.dvc("exp", "apply", best)
    assert json.loads(tuned.read("metrics/finetune.json"))["val_log_loss"] == 0.25
    assert tuned.dvc("status", "finetune").text.strip() == "Data and pipelines are up to date."


def test_a_round_that_was_stopped_goes_on_with_the_trials_that_it_would_have_had(
    tmp_path: Path,
) -> None:
    """What follows from a round's trials is another round's."""
    ranges = parse_ranges(["finetune.lr=1e-6..1e-3:log"], load_params(ROOT / "params.yaml"))
    whole, stopped = (Study(tmp_path / name, ranges, 0, {}) for name in ("whole", "stopped"))
    for study in (whole, stopped):
        study.add(Trial(0, {"finetune.lr": 1e-4}, 0.2))
    first = whole.propose([], judged=0)
    second = whole.propose([first], judged=0)
    assert first != second
    stopped.add(Trial(1, first, 0.1))
    assert stopped.propose([], judged=0) == second


BOTH = ("head.epochs=6|7", "finetune.epochs=4|8")


def untouched(project: Project) -> tuple[object, ...]:
    """What the user has: contents, and when they were written."""
    files = ("params.yaml", "new.txt", "tune.py", "dvc.lock", "heads/head.txt", ".git/HEAD")
    told = [
        project.run("git", *command).text
        for command in (("status", "--short"), ("diff",), ("diff", "--cached"), ("stash", "list"))
    ]
    stats = [(project.root / file).stat() for file in files]
    return (*told, *((stat.st_mtime_ns, stat.st_ino) for stat in stats))


def test_killed_while_it_fine_tunes_a_search_leaves_the_workspace_alone_and_goes_on(
    tuned: Project, tuned_base: Project
) -> None:
    """Also what is not committed, which the trials see; and a trial goes on where it was."""
    tuned.set_params({"finetune.epochs": 5})
    (tuned.root / "new.txt").write_text("staged")
    tuned.run("git", "add", "new.txt")
    before = untouched(tuned)
    held = tuned_base.root.parent / "held"
    held.touch()
    half = tuned.root / "searches/finetune/workplace/clone/.resume/half"
    command = (sys.executable, "-m", "pawprint", "search", "--trials", "2", *BOTH)
    process = start(tuned, *command)
    assert wait_until(lambda: half.exists() and half.read_text().endswith(")"), 120)
    family = descendants(process.pid)
    assert len(family) >= 3  # it, DVC and the stage
    assert untouched(tuned) == before
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=600)
    assert wait_until(lambda: not living(family), 20)
    assert untouched(tuned) == before
    assert list(experiments(tuned)) == ["search-finetune-0000"]
    head, epochs = ast.literal_eval(half.read_text())
    held.unlink()
    printed, errors = start(tuned, *command).communicate(timeout=600)
    assert "; continuing after 1 trials\n2 trials, 0 of them failed\n" in printed, errors
    assert untouched(tuned) == before
    assert not (tuned.root / ".dvc/tmp/exps").exists()
    with open(tuned.root / "searches/finetune/trials.csv", newline="") as file:
        rows = [
            (row["log_loss"], row["accuracy"], row["experiment"]) for row in csv.DictReader(file)
        ]
    assert rows == [
        ("0.2", "0.5", "search-finetune-0000"),
        (str(1 / epochs), "1.0", "search-finetune-0001"),
    ]
    for name, of_head, of_tail in (("0000", 3, 5), ("0001", int(head[-1]), epochs)):
        found = experiments(tuned)[f"search-finetune-{name}"]
        params = yaml.safe_load(tuned.run("git", "show", f"{found}:params.yaml").text)
        assert (params["head"]["epochs"], params["finetune"]["epochs"]) == (of_head, of_tail)
        assert tuned.run("git", "show", f"{found}:new.txt").text == "staged"
