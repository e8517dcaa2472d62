# covers: R2, R3, R15, R16, B3, C5
"""Studies as files: what is refused, what the figures are, and how they are run and go on."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from living import descendants, living, wait_until
from project import ROOT, Project, environment

from pawprint.data.manifest import Picture, write_manifest
from pawprint.evaluation.predictions import Prediction
from pawprint.registry.backbones import BACKBONES
from pawprint.runner.errors import DataError, ParamsError, StageError
from pawprint.runner.params import Params
from pawprint.runner.times import StageTime, note_time, read_times
from studies.__main__ import main
from studies.chart import render_chart
from studies.report import Report, Reported, as_values, render_report
from studies.runs import SCORES, SETTLED, STAGES, TIMED, Journal, Result
from studies.scores import judge
from studies.study_file import Row, Study, read_study

STUDY: dict[str, Any] = {
    "about": "Two rates",
    "model": "finetuned",
    "params": {"finetune.epochs": 1},
    "rows": [
        {"name": "low", "params": {"finetune.lr": 1e-5}},
        {"name": "high rate", "params": {"finetune.lr": 1e-3}},
    ],
}
LITE0 = {"model.backbone": "EfficientNetLite0"}
PICTURES = [Picture(path, "cat", "test", f"{i:064}", path) for i, path in enumerate("abcd")]


def read(
    tmp_path: Path,
    committed: Params,
    content: Mapping[str, Any],
    settings: Mapping[str, Any] | None = None,
    rows: tuple[str, ...] = (),
) -> Study:
    path = tmp_path / "rates.yaml"
    path.write_text(yaml.safe_dump(dict(content), sort_keys=False), encoding="utf-8")
    return read_study(path, committed, settings or {}, rows)


def test_a_row_is_params_yaml_with_its_values(tmp_path, committed):
    study = read(tmp_path, committed, STUDY, {"head.hidden": [8]})
    low, high = study.runs
    assert low.experiment == f"study-{study.name}-low"
    assert high.experiment == f"study-{study.name}-high-rate"
    assert low.params.finetune == replace_params(committed.finetune, epochs=1, lr=1e-5)
    assert high.params.finetune == replace_params(committed.finetune, epochs=1, lr=1e-3)
    assert low.params.head == replace_params(committed.head, hidden=[8])
    assert low.params.baseline == committed.baseline


def test_other_settings_are_other_experiments(tmp_path, committed):
    """The same value of another key, too, and values that a name cannot tell apart."""
    settings: list[dict[str, Any]] = [
        {},
        {"head.epochs": 2},
        {"baseline.epochs": 2},
        {"head.hidden": [2]},
        {"head.dropout": 0.25, "baseline.dropout": 0.5},
        {"head.dropout": 0.5, "baseline.dropout": 0.25},
        {"augment.flip": True},
        {"head.batch_norm": True},
    ]
    names = [read(tmp_path, committed, STUDY, each).name for each in settings]
    assert names[0] == "rates"
    assert len(set(names)) == len(settings)
    assert re.fullmatch("rates-2-[0-9a-f]{6}", names[1])
    turned = dict(reversed(settings[4].items()))
    assert read(tmp_path, committed, STUDY, turned).name == names[4]
    long = read(tmp_path, committed, STUDY, {"model.weights_file": "a/" * 90}).name
    assert len(long) < 60


def replace_params(section: Any, **values: Any) -> Any:
    return section.model_copy(update=values)


def test_seeds_are_an_experiment_each(tmp_path, committed):
    study = read(tmp_path, committed, STUDY | {"seeds": [0, 7]}, rows=("low",))
    assert [run.experiment for run in study.runs] == [
        "study-rates-low-seed0",
        "study-rates-low-seed7",
    ]
    found = [(run.params.head.seed, run.params.finetune.seed) for run in study.runs]
    assert found == [(0, 0), (7, 7)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parms": {}}, r"parms: unknown key; known: about, model, seeds, each, params, rows"),
        ({"model": "best"}, r"model: expected one of baseline, head, finetuned, found 'best'"),
        ({"seeds": [1, 1]}, r"seeds: expected a list of different whole numbers .* \[1, 1\]"),
        ({"seeds": [True]}, r"seeds: expected a list .*, found \[True\]"),
        ({"each": "layer"}, r"each: expected one of block, backbone, found 'layer'"),
        ({"each": ["block"]}, r"each: expected one of block, backbone, found \['block'\]"),
        (
            {"seeds": [1], "params": {"head.seed": 2}},
            r"params: head\.seed: the file's `seeds` set it; remove one of them",
        ),
        ({"rows": []}, r"rows: expected a list of at least one row, or `each`"),
        ({"params": {"head.units": 1}}, r"params: head\.units: unknown key; known: head\.epochs, "),
        (
            {"params": {"lr": 1}},
            r"params: lr: unknown key; expected SECTION\.KEY, such as head\.lr",
        ),
        ({"params": {"split.seed": 1}}, r"params: split\.seed: a study compares on the same pict"),
        ({"params": [1]}, r"params: expected keys such as head\.lr, found \[1\]"),
        (
            {"params": {"finetune.blend": 2}},
            r"row 'low': finetune\.blend: input should be less than or equal to 1, found 2 \(int\)",
        ),
        (
            {"params": {"model.cut": "block9z"}},
            r"row 'low': model\.cut: EfficientNetLite0 has no block 'block9z'; expected auto",
        ),
        (
            {"params": {"model.backbone": "VGG61"}},
            r"model\.backbone: unknown 'VGG61'; known: Effic",
        ),
        (
            {"params": {"model.weights": "file"}},
            r"row 'low': model\.weights_file: expected the path",
        ),
    ],
)
def test_what_does_not_fit_is_one_line_with_file_and_key(tmp_path, committed, change, message):
    with pytest.raises(ParamsError, match=rf"^\S+rates\.yaml: {message}") as caught:
        read(tmp_path, committed, STUDY | change)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "LOW"}, r"row 'LOW': name: row 'low' gives experiments of the same name"),
        ({"name": "a/b"}, r"row 'a/b': name: expected up to 60 letters, .* found 'a/b'"),
        ({"name": 5}, r"row 2: name: expected up to 60 letters, .* found 5"),
        ({"model": "best"}, r"row 'high': model: expected one of baseline, head, finetuned"),
        ({"prams": {}}, r"row 'high': prams: unknown key; known: name, model, params"),
        ({"params": {"finetune.lr": 99}}, r"row 'high': finetune\.lr: input should be less than"),
        ({"params": {"finetune.lr": "x"}}, r"row 'high': finetune\.lr: .* found 'x' \(str\)"),
        ({"params": {"finetune.rate": 1}}, r"row 'high': finetune\.rate: unknown key; known: fine"),
        ({"params": {"head.seed": 1}}, r"row 'high': head\.seed: the file's `seeds` set it"),
        ({"params": {"head.lr": 1}}, r"row 'high': head\.lr: --set would make its rows the same"),
    ],
)
def test_the_row_is_named(tmp_path, committed, change, message):
    rows = [STUDY["rows"][0], {"name": "high"} | change]
    with pytest.raises(ParamsError, match=rf"^\S+rates\.yaml: {message}"):
        read(tmp_path, committed, STUDY | {"rows": rows, "seeds": [0]}, {"head.lr": 1e-3})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rows: [", "not valid YAML: "),
        ("- 1", "expected keys and values, found list"),
        ("seeds: [1]\nseeds: [2]", r"line 2: key 'seeds' stands twice; remove one"),
    ],
)
def test_a_file_that_is_no_study_is_refused(tmp_path, committed, text, message):
    path = tmp_path / "rates.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ParamsError, match=rf"^{path}(:|,) {message}"):
        read_study(path, committed, {})


def test_wrong_options_are_told(tmp_path, committed):
    with pytest.raises(ParamsError, match=r"--rows: no row 'lowest'; known: 'low', 'high rate'"):
        read(tmp_path, committed, STUDY, rows=("lowest",))
    with pytest.raises(ParamsError, match=r"^--set: head\.units: unknown key"):
        read(tmp_path, committed, STUDY, {"head.units": 1})
    with pytest.raises(ParamsError, match=r"--set: finetune\.seed: the file's `seeds` set it"):
        read(tmp_path, committed, STUDY | {"seeds": [0, 1]}, {"finetune.seed": 7})


def test_unfreezing_has_a_row_for_each_block_of_any_backbone(committed):
    for backbone in BACKBONES:
        settings = {"model.backbone": backbone.name, "model.weights": "none"}
        study = read_study(ROOT / "studies/unfreezing.yaml", committed, settings)
        names = [row.name for row in study.rows]
        assert names[0] == backbone.cut
        others = [block for block in reversed(backbone.blocks) if block != backbone.cut]
        assert names[1:] == [*others, "input", "depthwise too", "frozen"]
        assert {len(row.runs) for row in study.rows} == {3}


def test_the_studies_of_the_repository_fit(committed, monkeypatch):
    monkeypatch.setattr("studies.study_file.has_imagenet_weights", lambda name: "Lite" in name)
    vgg16 = read_study(ROOT / "studies/vgg16.yaml", committed, {})
    assert [row.model for row in vgg16.rows] == ["head", "head", "head", "finetuned"]
    assert "the weights of VGG16 are not here: Keras must download vgg16_" in vgg16.rows[0].missing
    assert not read_study(ROOT / "studies/vgg16.yaml", committed, LITE0).rows[0].missing
    backbones = read_study(ROOT / "studies/backbones.yaml", committed, {})
    assert [row.name for row in backbones.rows] == [f"EfficientNetLite{i}" for i in range(3)]
    assert [row.name for row in backbones.left_out] == [b.name for b in BACKBONES[3:]]
    named = read_study(ROOT / "studies/backbones.yaml", committed, {}, ("ResNet50",))
    assert [row.name for row in named.rows] == ["ResNet50"]  # asked for: Keras may download


def test_what_a_study_runs_and_reads_is_in_the_pipeline():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert [name for name in stages if name in STAGES] == list(STAGES)
    assert SETTLED in stages
    assert set(TIMED) == {"baseline", "head", "finetuned"}
    assert {stage for names in TIMED.values() for stage in names} < set(STAGES)
    assert {Path(SCORES).parent.as_posix(): {"cache": False}} in stages["evaluate"]["metrics"]


# --- scores, computed by hand ---


def said(right: str, probability: float = 0.5) -> dict[str, Prediction]:
    """Of pictures a, b, c ...: which are right; each class has this probability."""
    return {
        path: Prediction(path, "cat", "cat" if c == "1" else "dog", 0.9, probability)
        for path, c in zip("abcdefgh", right, strict=False)
    }


def test_one_seed_is_scored_as_compare_does():
    """Bonett and Price: (4, 2) / 6, difference -1/3, its error the root of (1 - 1/9) / 6."""
    found = judge([[said("1110")], [said("0001", 0.25)]], {}, 0.95)
    first, this = found.rows
    assert (first.accuracy.median, this.accuracy.median) == (0.75, 0.25)
    assert first.accuracy.interval == pytest.approx((0.3006, 0.9544), abs=1e-4)  # Wilson's
    assert first.against is None
    assert this.against is not None
    assert (this.against.only_first, this.against.only_this) == (3, 1)
    assert this.against.p_value == 0.625  # 2 (1 + 4) / 16
    assert this.against.accuracy == -0.5
    high = -1 / 3 + 1.959964 * math.sqrt(8 / 9 / 6)
    assert this.against.accuracy_interval == pytest.approx((-1, high), abs=1e-6)
    assert this.against.log_loss == pytest.approx(math.log(2))
    assert this.against.log_loss_interval is None  # all differences are alike


def test_several_seeds_are_medians_and_their_intervals_are_over_pictures():
    """Gains of the pictures 0, 1/3, 2/3, 1: standard error 0.21517, Student's 3.18245."""
    rows = [[said("1110"), said("1100"), said("1000")], [said("1111")] * 3]
    first, this = judge(rows, {}, 0.95).rows
    assert first.accuracy.seeds == (0.75, 0.5, 0.25)
    assert (first.accuracy.median, first.accuracy.mean) == (0.5, 0.5)
    assert this.against is not None
    assert (this.against.only_first, this.against.only_this) == (0, 2)  # by most seeds
    assert this.against.p_value == 0.5
    low = 0.5 - 3.182446 * 0.215166
    assert this.against.accuracy_interval == pytest.approx((low, 1), abs=1e-5)


def test_p_values_are_raised_for_the_number_of_rows():
    rows = [[said("11111")], [said("00001")], [said("11110")]]  # p = 2 / 16 and 1
    found = [row.against for row in judge(rows, {}, 0.95).rows if row.against]
    assert [against.p_value for against in found] == [0.125, 1.0]
    assert [against.p_holm for against in found] == [0.25, 1.0]


def test_pictures_that_belong_together_count_as_one():
    group_of = {path: "one" for path in "abc"}
    alone = judge([[said("1111")], [said("0001")]], {}, 0.95)
    found = judge([[said("1111")], [said("0001")]], group_of, 0.95)
    assert (alone.grouped, found.grouped) == (0, 3)
    intervals = [r.against.accuracy_interval for j in (alone, found) for r in j.rows if r.against]
    assert intervals[1][1] - intervals[1][0] > intervals[0][1] - intervals[0][0]


def test_only_common_pictures_are_judged():
    found = judge([[said("11110")], [said("1111")]], {}, 0.95)
    assert (found.pictures, found.dropped) == (4, 1)
    assert found.rows[0].accuracy.median == 1
    with pytest.raises(DataError, match="no test picture in common"):
        judge([[said("1")], [{}]], {}, 0.95)


def make_report(committed: Params, tmp_path: Path) -> Report:
    study = read(tmp_path, committed, STUDY, {"head.dropout": 0.5})
    judgement = judge([[said("1110")], [said("0001", 0.25)]], {}, 0.95)
    times = [StageTime(stage, 10, 19.6, stage == "features") for stage in TIMED["finetuned"]]
    missing = Row("ResNet50", "head", study.rows[0].runs, "Keras must download it")
    rows = (
        Reported(study.rows[0], judgement.rows[0], (0.7,), (times,)),
        Reported(study.rows[1], judgement.rows[1], (0.6,), (None,)),
    )
    study = replace(study, left_out=(missing,))
    return Report(study, "some.zip, 40 pictures", "A, 2 cores", judgement, rows, {}, 0.95)


def test_the_table_says_what_it_shows(tmp_path, committed):
    report = make_report(committed, tmp_path)
    text = render_report(report, "rates.png")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    table = {row[0]: row[1:] for row in rows if len(row) == 11}
    assert table["low"] == [
        *(
            "75.00",
            "30.06 to 95.44",
            "",
            "",
            "",
            "0.6931",
            "0.6931 to 0.6931",
            "",
            "0.7000",
            "≥ 59 (30)",
        )
    ]
    assert table["high rate"] == [
        *("25.00", "4.56 to 69.94", "-50.00 (-100.00 to +42.11)", "3 / 1", "0.625 (0.625)"),
        *("1.3863", "1.3863 to 1.3863", "+0.6931", "0.6000", "-"),
    ]
    assert "Data: some.zip, 40 pictures, 4 test pictures judged." in text
    assert "Changed for all rows: `head.dropout=0.5`." in text
    assert "These are figures of the test split, for all rows." in text
    assert "- ResNet50: Keras must download it" in text
    assert "≥: a stage was stopped" in text
    assert "-: some of these stages were in DVC's cache" in text
    values = json.loads(json.dumps(as_values(report), allow_nan=False))
    assert values["rows"][1]["against_first"]["p_value"] == 0.625
    assert values["rows"][0]["cpu_seconds"] == 58.8
    assert values["rows"][0]["values"] == {
        "finetune.epochs": 1,
        "head.dropout": 0.5,
        "finetune.lr": 1e-5,
    }


def test_the_same_report_is_the_same_picture(tmp_path, committed):
    report = make_report(committed, tmp_path)
    for name in ("one.png", "two.png"):
        render_chart(tmp_path / name, report)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert (tmp_path / "one.png").stat().st_size > 5000


def test_stages_write_their_time_where_it_is_asked_for(tmp_path, monkeypatch):
    path = tmp_path / "times.jsonl"
    monkeypatch.setenv("PAWPRINT_TIMES", str(path))
    with note_time("head", resumed=False):
        pass
    with pytest.raises(ValueError, match="stop"), note_time("finetune", resumed=False):
        raise ValueError("stop")
    with note_time("head", resumed=True):
        pass
    path.write_text(path.read_text() + '{"stage": "cut sho')
    (found,) = read_times(path).values()  # the last of each that ended well
    assert (found.stage, found.resumed) == ("head", True)
    assert 0 <= found.seconds < 5
    assert found.cpu_seconds > 0
    assert read_times(tmp_path / "none.jsonl") == {}


def test_a_damaged_journal_is_begun_anew(tmp_path):
    for text in ("{", "[]", '{"runs": 5}'):
        (tmp_path / "journal.json").write_text(text)
        assert Journal.open(tmp_path / "journal.json").runs == {}


# --- the command ---


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's root with a study and a manifest, in which this process works."""
    for folder in ("studies", "data/groups"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copyfile(ROOT / "params.yaml", tmp_path / "params.yaml")
    (tmp_path / "studies/rates.yaml").write_text(yaml.safe_dump(STUDY, sort_keys=False))
    write_manifest(tmp_path / "data/split.csv", PICTURES)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_row_that_failed_is_told_and_the_others_are_shown(here, monkeypatch, capsys):
    results = {
        "study-rates-low": StageError("finetune", "out of memory"),
        "study-rates-high-rate": Result("study-rates-high-rate", said("1110"), 0.6),
    }
    monkeypatch.setattr("studies.runs.run_study", lambda study, say: results)
    assert main(["rates"]) == 1
    text = (here / "studies/results/rates.md").read_text(encoding="utf-8")
    assert "- low: stage finetune: out of memory\n" in text
    assert "`low`, the first row, has no results: the others are compared with `high rate`." in text
    assert "| high rate |" in text
    assert "drawn pictures (seed 0), 4 pictures" in text
    results["study-rates-high-rate"] = results["study-rates-low"]
    assert main(["rates"]) == 2
    assert capsys.readouterr().err == (
        "error: no row has results; the first failed: stage finetune: out of memory\n"
    )


def test_studies_and_rows_are_listed(here, capsys):
    assert main([]) == 0
    assert capsys.readouterr().out == "rates       Two rates\n"
    assert main(["rates", "--list", "--set", "head.lr=1e-3"]) == 0
    listed = re.sub("rates-0-001-[0-9a-f]{6}-", "NAME-", capsys.readouterr().out)
    assert listed == (
        "low  (finetuned)\n    study-NAME-low: finetune.epochs=1, head.lr=0.001, "
        "finetune.lr=1e-05\nhigh rate  (finetuned)\n    study-NAME-high-rate: "
        "finetune.epochs=1, head.lr=0.001, finetune.lr=0.001\n"
    )
    assert {path.name for path in here.iterdir()} == {"data", "params.yaml", "studies"}


def test_a_wrong_command_is_one_line(here, capsys):
    assert main(["vgg61"]) == 2
    assert capsys.readouterr().err == "error: no study 'vgg61' in studies/; known: rates\n"
    with pytest.raises(SystemExit):
        main(["rates", "--set", "head.lr"])
    assert "--set: expected KEY=VALUE, as model.cut=input, found head.lr" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["rates", "--list", "--set", "head.lr=0.1", "--set", "head.lr=0.2"])
    assert "--set: head.lr: given twice; leave one away" in capsys.readouterr().err


# --- run by real DVC, with stages that take no time ---

STEP = """
import sys, time
from pathlib import Path
sys.path.append(ROOT)
import numpy as np
from pawprint.evaluation.predictions import make_predictions, write_predictions
from pawprint.runner.stage import run_stage
from pawprint.storage.tables import write_json

def main(params):
    name, held = Path(__file__).stem, Path(HELD)
    while name == "finetune" and params.finetune.lr > 1e-4 and held.exists():
        time.sleep(0.02)
    if name != "evaluate":
        Path(name + ".out").write_text(str(params.finetune.lr) if name == "finetune" else name)
        return
    lr = float(Path("finetune.out").read_text())
    right = 0.9 if lr < 1e-4 else 0.2  # of the last picture
    probs = np.array([[0.9, 0.1]] * 3 + [[right, 1 - right]])
    models = dict.fromkeys(("baseline", "head", "finetuned"), probs)
    said = make_predictions(list("abcd"), np.zeros(4, int), models, ["cat", "dog"])
    write_predictions(Path("metrics/evaluate/predictions.csv"), said)
    for model in models:
        write_json(Path("metrics/scores", model + ".json"), {"val_log_loss": lr})

run_stage(main)
"""
DEPS = {
    "preprocess": "data/split.csv",
    "train_baseline": "preprocess.out",
    "features": "preprocess.out",
    "train_head": "features.out",
    "finetune": "train_head.out",
    "ensemble": "finetune.out",
    "evaluate": "finetune.out",
}


def make_steps(directory: Path) -> Project:
    """A project whose stages bear the names of the pipeline's; the first one has run."""
    project = Project(directory / "project", directory / "home")
    step = STEP.replace("ROOT", repr(str(ROOT))).replace("HELD", repr(str(directory / "held")))
    stages: dict[str, Any] = {
        SETTLED: {"cmd": "cp given.csv data/split.csv", "deps": ["given.csv"]}
    }
    stages[SETTLED]["outs"] = ["data/split.csv"]
    for name, dep in DEPS.items():
        stages[name] = {"cmd": f"python steps/{name}.py", "deps": [dep, f"steps/{name}.py"]}
        stages[name]["outs"] = [f"{name}.out"]
    stages["finetune"]["params"] = ["finetune"]
    stages["evaluate"]["outs"] = ["metrics/evaluate"]
    stages["evaluate"]["metrics"] = [{"metrics/scores": {"cache": False}}]
    files = {f"steps/{name}.py": step for name in DEPS} | {
        "dvc.yaml": yaml.safe_dump({"stages": stages}),
        "params.yaml": (ROOT / "params.yaml").read_text(encoding="utf-8"),
        "studies/rates.yaml": yaml.safe_dump(STUDY, sort_keys=False),
        ".gitignore": "/.resume\n",
        ".dvcignore": "/.resume\n",
        "data/groups/README.md": "",
    }
    for path, text in files.items():
        (project.root / path).parent.mkdir(parents=True, exist_ok=True)
        (project.root / path).write_text(text, encoding="utf-8")
    write_manifest(project.root / "given.csv", PICTURES)
    project.run("git", "init", "--quiet")
    project.dvc("init", "--quiet")
    project.dvc("repro", "--quiet", SETTLED)
    project.commit()
    return project


def start(project: Project) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "studies", "rates"],
        cwd=project.root,
        env=environment(project.home) | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_a_study_that_was_killed_goes_on_and_runs_nothing_twice(tmp_path: Path) -> None:
    project, held = make_steps(tmp_path), tmp_path / "held"
    held.touch()
    killed = start(project)
    journal = project.root / ".resume/studies/rates/journal.json"
    assert wait_until(journal.exists, 240), killed.communicate(timeout=10)
    second = project.root / ".resume/studies/rates/clone/finetune.out"
    assert wait_until(lambda: not second.exists(), 120)  # DVC removes it before the stage
    family = descendants(killed.pid)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate(timeout=600)
    assert wait_until(lambda: not living(family), 20)
    held.unlink()
    assert project.changes() == ""

    printed, told = finish(project)
    assert "1 of 2: study-rates-low: done before\n2 of 2: study-rates-high-rate\n" in told
    assert " s: finetune, ensemble, evaluate\n" in told
    text, values = read_results(project)
    assert printed.startswith(text)
    low, high = values["rows"]
    assert (low["accuracy"]["median"], high["accuracy"]["median"]) == (1, 0.75)
    assert (low["val_log_losses"], high["val_log_losses"]) == ([1e-5], [1e-3])
    against = high["against_first"]
    assert (against["only_first"], against["only_this"], against["p_value"]) == (1, 0, 1)
    # The stages that both rows share ran for the first one, and their time is known for both
    assert high["seconds"] is not None
    assert list(high["stages"][0]) == ["features", "train_head", "finetune"]
    assert low["stages"][0]["features"] == high["stages"][0]["features"]
    names = project.run("git", "for-each-ref", "--format=%(refname:lstrip=4)", "refs/exps").text
    assert names.split() == ["study-rates-high-rate", "study-rates-low"]
    assert project.changes() == "?? studies/results/\n"
    assert (project.root / "studies/results/rates.png").is_file()
    assert not (project.root / ".resume/studies/rates/clone").exists()

    _, told = finish(project)
    assert (
        told == "1 of 2: study-rates-low: done before\n2 of 2: study-rates-high-rate: done before\n"
    )
    assert read_results(project) == (text, values)


def finish(project: Project) -> tuple[str, str]:
    process = start(project)
    printed, told = process.communicate(timeout=600)
    assert process.returncode == 0, told
    return printed, told


def read_results(project: Project) -> tuple[str, Any]:
    return (
        project.read("studies/results/rates.md"),
        json.loads(project.read("studies/results/rates.json")),
    )
