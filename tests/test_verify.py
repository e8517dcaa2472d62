# covers: B1
"""What `make verify` says about two dvc.lock files."""

from __future__ import annotations

import copy
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from verify.__main__ import main, verify
from verify.clones import other_conditions, plain_environment
from verify.compare import Row, compare, explain, explain_machine, render_table

LOCK: dict[str, Any] = {
    "split": {
        "cmd": "python -m stages.split",
        "deps": [{"path": "stages/split.py", "hash": "md5", "md5": "c0de", "size": 9}],
        "params": {"params.yaml": {"split": {"seed": 42}}},
        "outs": [{"path": "data/split.csv", "hash": "md5", "md5": "5911", "size": 7}],
    },
    "features": {
        "deps": [{"path": "data/split.csv", "hash": "md5", "md5": "5911", "size": 7}],
        "outs": [
            {"path": "data/features/boundary", "hash": "md5", "md5": "b0b0.dir", "nfiles": 2},
            {"path": "data/features/pooled", "hash": "md5", "md5": "900l.dir", "nfiles": 2},
        ],
    },
    "evaluate": {
        "deps": [{"path": "data/features/pooled/train", "hash": "md5", "md5": "7a17.dir"}],
        "outs": [
            {"path": "metrics/evaluate.json", "hash": "md5", "md5": "e7a1", "size": 5},
            {"path": "metrics/machine.json", "hash": "md5", "md5": "3ac1", "size": 5},
        ],
    },
}
MACHINE = {"system": "Linux x86_64", "processor": "A: fast, instructions 01", "keras": "3.15"}
RECORD = ["results: 0123", *(f"{name}: {value}" for name, value in MACHINE.items())]


@pytest.fixture
def other() -> dict[str, Any]:
    return copy.deepcopy(LOCK)


def test_equal_files_are_equal_in_every_output(other):
    rows = compare(LOCK, other)
    assert [row.path for row in rows] == [
        *("data/split.csv", "data/features/boundary", "data/features/pooled"),
        "metrics/evaluate.json",
    ]
    assert all(row.equal for row in rows)
    assert explain(LOCK, other) == []
    assert render_table(rows).splitlines()[-1] == "4 of 4 outputs are equal"


def test_one_other_hash_is_one_different_row(other):
    other["features"]["outs"][1]["md5"] = "0ther.dir"
    rows = compare(LOCK, other)
    assert [row for row in rows if not row.equal] == [
        Row("features", "data/features/pooled", "900l.dir", "0ther.dir")
    ]
    table = render_table(rows).splitlines()
    assert table[2] == "DIFFERENT  features  data/features/pooled"
    assert table[-1] == "3 of 4 outputs are equal"


def test_the_stage_where_it_begins_is_told_from_those_that_follow(other):
    other["features"]["outs"][1]["md5"] = "0ther.dir"
    other["evaluate"]["deps"][0]["md5"] = "f0110.dir"
    other["evaluate"]["outs"][0]["md5"] = "0ther"
    assert explain(LOCK, other) == [
        "features: same inputs and parameters, other results",
        "evaluate: follows from data/features/pooled/train",
    ]


def test_other_code_and_other_parameters_are_named(other):
    other["split"]["deps"][0]["md5"] = "newc0de"
    other["split"]["params"]["params.yaml"]["split"]["seed"] = 43
    other["split"]["outs"][0]["md5"] = "0ther"
    assert explain(LOCK, other) == [
        "split: not the same run, since these differ: stages/split.py, its parameters"
    ]


def test_other_code_with_the_same_results_needs_no_explanation(other):
    other["split"]["deps"][0]["md5"] = "newc0de"
    assert all(row.equal for row in compare(LOCK, other))
    assert explain(LOCK, other) == []


def test_a_stage_or_an_output_of_one_run_only_is_different(other):
    del other["evaluate"]
    other["split"]["outs"].append({"path": "data/report", "md5": "4e4.dir"})
    different = [row for row in compare(LOCK, other) if not row.equal]
    assert different == [
        Row("split", "data/report", None, "4e4.dir"),
        Row("evaluate", "metrics/evaluate.json", "e7a1", None),
    ]
    assert explain(LOCK, other)[1] == "evaluate: has been run first only"


def test_an_output_without_a_hash_is_not_equal_to_another_such():
    nothing: dict[str, Any] = {"split": {"outs": []}}
    unhashed = {"split": {"outs": [{"path": "data/split.csv"}]}}
    assert [row.equal for row in compare(nothing, unhashed)] == [False]
    assert [row.equal for row in compare(unhashed, unhashed)] == [False]


def test_another_machine_explains_by_its_fields():
    moved = {"system": "Linux x86_64", "processor": "B: slow, instructions 02", "numpy": "2.4"}
    assert explain_machine(RECORD, moved) == [
        "processor: A: fast, instructions 01 / B: slow, instructions 02",
        "keras: 3.15 / None",
        "numpy: None / 2.4",
    ]


def test_the_same_machine_leaves_pawprint_to_blame():
    assert explain_machine(RECORD, MACHINE) == [
        "both runs describe the same machine: this is a fault of Pawprint"
    ]
    assert explain_machine(None, MACHINE) == ["the machine of the first run is not known"]


def test_the_second_run_differs_in_all_that_must_not_matter(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_HOME", raising=False)
    (tmp_path / ".keras/models").mkdir(parents=True)
    (tmp_path / ".keras/models/vgg16.h5").write_text("weights")
    plain = plain_environment({"PYTHONPATH": "elsewhere", "TZ": "UTC", "PATH": "bin"})
    assert "PYTHONPATH" not in plain
    other = other_conditions(tmp_path / "home")
    assert other["HOME"] == str(tmp_path / "home")
    keras_home = Path(other["KERAS_HOME"])
    assert (keras_home / "models/vgg16.h5").read_text() == "weights"  # still found
    assert "float64" in (keras_home / "keras.json").read_text()
    assert {"LC_ALL", "TZ", "PYTHONHASHSEED"} <= set(other)


def test_a_directory_without_a_committed_run_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([]) == 1
    assert capsys.readouterr().err == (
        "error: dvc.lock: not committed; run `dvc repro`, then commit it\n"
    )


TWO_STAGES = """
stages:
  steady:
    cmd: echo the same > steady.txt
    deps: [given.txt]
    outs: [steady.txt]
  shaky:
    cmd: echo ${TZ-none} > shaky.txt
    deps: [given.txt]
    outs: [shaky.txt]
"""


@pytest.fixture
def committed_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that was run and committed; its user shares one cache among all projects."""
    project, settings = tmp_path / "project", tmp_path / "settings"
    for directory in (project, settings):
        directory.mkdir()
    (settings / "config").write_text(f"[cache]\n    dir = {tmp_path / 'shared'}\n")
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(settings))
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    monkeypatch.setenv("TZ", "UTC")
    (project / "given.txt").touch()
    (project / "dvc.yaml").write_text(TWO_STAGES.replace("${", "\\${"))
    for command in ("git init --quiet", "dvc init --quiet", "dvc repro", "git add --all"):
        run(project, *command.split())
    run(project, "git", "commit", "--quiet", "--message", "run")
    return project


def run(project: Path, *command: str) -> None:
    environment = plain_environment(dict(os.environ))
    subprocess.run(command, cwd=project, env=environment, check=True)


def test_a_result_that_follows_the_time_zone_is_found_though_a_cache_is_shared(
    committed_run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert verify(committed_run, []) == 1
    printed = capfd.readouterr().out
    assert "skipping run" not in printed
    assert "equal      steady  steady.txt\nDIFFERENT  shaky   shaky.txt\n" in printed
    assert "shaky: same inputs and parameters, other results\n" in printed


def test_results_that_follow_nothing_of_the_surroundings_are_equal(
    committed_run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pipeline = (committed_run / "dvc.yaml").read_text()
    (committed_run / "dvc.yaml").write_text(pipeline.replace("\\${TZ-none}", "nothing"))
    for command in ("dvc repro", "git commit --quiet --all --message steady"):
        run(committed_run, *command.split())
    assert verify(committed_run, []) == 0
    assert capfd.readouterr().out.endswith("2 of 2 outputs are equal\n")
