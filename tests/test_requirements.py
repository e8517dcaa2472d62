"""What is said where the packages of requirements.txt are missing: without the environment."""

from __future__ import annotations

import re

import pytest
from classifiers import ROOT, run_python

# covers: C5

LINE = (
    r"error: needs the requirements: activate \.venv \(source \.venv/bin/activate\) or pip install "
    r"-r requirements\.txt; missing: %s\n"
)
STAGES = sorted({path.stem for path in (ROOT / "stages").glob("*.py")} - {"__init__"})


@pytest.mark.parametrize(
    "command", ["pawprint predict x.jpg", "pawprint serve", *(f"stages.{s}" for s in STAGES)]
)
def test_without_the_environment_one_line_says_what_to_do(command, tmp_path):
    done = run_python("-S", "-m", *command.split(), cwd=tmp_path)  # no site-packages
    assert re.fullmatch(LINE % r"\w+", done.stderr.decode())
    assert done.returncode == 2
    assert list(tmp_path.iterdir()) == []


STAGE = """
import runpy, sys
sys.argv[0] = "-m"
import stages
sys.modules["{missing}"] = None
import {needed}
"""


@pytest.mark.parametrize("needed", ["openvino", "openvino.runtime"])
def test_a_package_that_is_missing_later_is_named_too(needed, tmp_path):
    code = STAGE.format(missing="openvino", needed=needed)
    done = run_python("-c", code, cwd=tmp_path)
    assert re.fullmatch(LINE % "openvino", done.stderr.decode())


@pytest.mark.parametrize("name", ["pawprint.nowhere", "stages.nowhere"])
def test_a_module_of_our_own_is_no_requirement(name, tmp_path):
    done = run_python("-c", STAGE.format(missing=name, needed=name), cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(b"Traceback")
