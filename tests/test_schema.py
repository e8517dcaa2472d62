"""The schema of params.yaml: that of today, true of the file, and found by editors."""

from __future__ import annotations

import json
import shutil
from typing import Any

import jsonschema_rs
import pytest
import yaml
from project import ROOT, make_project

from pawprint.registry.backbones import BACKBONES
from pawprint.runner.params_file import load_params
from pawprint.runner.schema import build_schema

# covers: C5, B8

FILE = "docs/params.schema.json"
PARAMS = (ROOT / "params.yaml").read_text(encoding="utf-8")
SCHEMA = build_schema(PARAMS)
FIRST_LINE = f"# yaml-language-server: $schema={FILE}"


def test_the_committed_schema_is_that_of_the_types():
    committed = json.loads((ROOT / FILE).read_text(encoding="utf-8"))
    assert committed == SCHEMA, f"it is old: python -m pawprint.runner.schema > {FILE}"


def test_the_first_line_of_params_names_it():
    assert PARAMS.splitlines()[0] == FIRST_LINE


def test_an_experiment_keeps_the_first_line(tmp_path):
    project = make_project(tmp_path / "project", tmp_path / "home", {})
    shutil.copyfile(ROOT / "params.yaml", project.root / "params.yaml")
    project.commit()
    project.dvc("exp", "run", "-S", "finetune.lr=1e-5", "params")
    text = project.read("params.yaml")
    assert text.splitlines()[0] == FIRST_LINE
    assert load_params(project.root / "params.yaml").finetune.lr == 1e-5


VALIDATOR = jsonschema_rs.Draft7Validator(SCHEMA)


def values() -> dict[str, Any]:
    return load_params(ROOT / "params.yaml").model_dump()


def test_params_fit_it():
    assert [error.message for error in VALIDATOR.iter_errors(yaml.safe_load(PARAMS))] == []


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("finetune", "lr", 0),
        ("finetune", "lr", "fast"),
        ("head", "epochs", 2.5),
        ("augment", "flip", "yes"),
        ("data", "source", "web"),
        ("data", "sha256", "abc"),
        ("model", "weights", "mine.h5"),
        ("export", "model", "last"),
        ("baseline", "filters", []),
    ],
)
def test_it_refuses_what_the_stages_refuse(section, key, value):
    wrong = values()
    wrong[section][key] = value
    (error,) = VALIDATOR.iter_errors(wrong)
    assert error.instance_path[:2] == [section, key]


def test_it_refuses_keys_too_many_and_too_few():
    wrong = values()
    wrong["head"]["learning_rat"] = wrong["head"].pop("lr")
    missing, unknown = sorted(error.message for error in VALIDATOR.iter_errors(wrong))
    assert '"lr"' in missing
    assert "learning_rat" in unknown


def entry(section: str, key: str) -> dict[str, Any]:
    reference = SCHEMA["properties"][section]["$ref"].rpartition("/")[2]
    return SCHEMA["$defs"][reference]["properties"][key]


def test_comments_are_its_descriptions():
    assert entry("augment", "rotation")["description"] == "degrees, either way"
    assert entry("runtime", "engine")["description"].endswith("if it can use a GPU")
    patience = "epochs without a better validation loss"
    assert entry("baseline", "patience")["description"] == patience
    assert entry("head", "patience")["description"] == patience


def test_editors_are_told_the_names_of_backbones_and_models():
    assert entry("model", "backbone")["examples"] == [backbone.name for backbone in BACKBONES]
    assert "finetuned" in entry("export", "model")["enum"]
