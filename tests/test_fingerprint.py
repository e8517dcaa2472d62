# covers: B3
"""The key of unfinished work is another one as soon as anything that determines the result is.

And what determines it must stay as it is while a stage works.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pawprint.runner.errors import DataError
from pawprint.runner.fingerprint import fingerprint, unchanged_inputs
from pawprint.runner.params import Params
from pawprint.runner.params_file import load_params

ROOT = Path(__file__).resolve().parent.parent
PIPELINE = """
stages:
  features:
    deps: [pixels, "${model.weights_file}"]
    params: [features, preprocess.max_pixels]
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("dvc.yaml").write_text(PIPELINE, encoding="utf-8")
    for name in ("pixels/train/00000.npy", "weights.h5"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(name)
    return tmp_path


def key(committed: Params, **changes: dict[str, Any]) -> str:
    """That of the stage with some keys of params.yaml changed, section by section."""
    changed = {"model": {"weights_file": "weights.h5"}} | changes
    sections = {
        name: getattr(committed, name).model_copy(update=update) for name, update in changed.items()
    }
    return fingerprint("features", committed.model_copy(update=sections))


@pytest.mark.usefixtures("project")
def test_another_file_of_weights_at_the_same_path_is_another_key(committed: Params) -> None:
    before = key(committed)
    assert key(committed) == before
    Path("weights.h5").write_text("of another training")
    assert key(committed) != before


@pytest.mark.usefixtures("project")
def test_what_python_compiles_among_the_modules_is_not_part_of_the_key(committed: Params) -> None:
    before = key(committed)
    compiled = Path("pixels/__pycache__/shards.cpython-311.pyc")
    compiled.parent.mkdir()
    compiled.touch()
    assert key(committed) == before
    Path("pixels/labels.csv").touch()
    assert key(committed) != before


@pytest.mark.usefixtures("project")
def test_only_tracked_sections_and_keys_count(committed: Params) -> None:
    before = key(committed)
    assert key(committed, features={"seed": 1}) != before
    assert key(committed, preprocess={"max_pixels": 1}) != before
    assert key(committed, preprocess={"image_size": 32}, head={"seed": 1}) == before


def set_key(key: str, value: str) -> None:
    """Edit the project's params.yaml by hand; the key must stand in it once."""
    path = Path("params.yaml")
    lines = path.read_text(encoding="utf-8").splitlines()
    (place,) = [i for i, line in enumerate(lines) if line.startswith(f"  {key}: ")]
    lines[place] = f"  {key}: {value}"
    path.write_text("\n".join(lines), encoding="utf-8")


@pytest.fixture
def params(project: Path) -> Params:
    """Those of a params.yaml that lies in the project."""
    (project / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    set_key("weights_file", "weights.h5")
    (project / "pixels/labels.csv").write_text("cat")
    return load_params()


def replace_pixels() -> None:
    Path("pixels/train/00000.npy").write_text("of a new archive")


def replace_labels() -> None:
    Path("pixels/labels.csv").write_text("dog")


def remove_weights() -> None:
    Path("weights.h5").unlink()


def add_pixels() -> None:
    Path("pixels/train/00001.npy").touch()


def set_limit() -> None:
    set_key("max_pixels", "123456")


def break_params() -> None:
    Path("params.yaml").write_text("features: [")


@pytest.mark.parametrize(
    ("edit", "name"),
    [
        (replace_pixels, r"pixels/train/00000\.npy"),
        (replace_labels, r"pixels/labels\.csv"),
        (remove_weights, r"weights\.h5"),
        (add_pixels, r"pixels/train/00001\.npy"),
        (set_limit, r"params\.yaml: preprocess\.max_pixels"),
        (break_params, r"params\.yaml: features"),
    ],
)
def test_what_is_edited_while_a_stage_runs_is_told(
    params: Params, edit: Callable[[], None], name: str
) -> None:
    """DVC would note it beside outputs that were made before."""
    line = (
        f"^{name}: changed while this stage ran, which has read it at its start; run `dvc repro` "
        "again$"
    )
    with pytest.raises(DataError, match=line), unchanged_inputs("features", params):
        edit()


def test_what_a_stage_does_not_depend_on_may_be_edited_meanwhile(params: Params) -> None:
    """And code may be written anew as it was, as git does where it puts changes aside."""
    with unchanged_inputs("features", params):
        set_key("rotation", "16")
        Path("notes.txt").touch()
        Path("pixels/labels.csv").unlink()
        Path("pixels/labels.csv").write_text("cat")
    assert load_params() != params
    with unchanged_inputs("no such stage", params):
        replace_pixels()
    assert Path("pixels/train/00000.npy").read_text() == "of a new archive"
