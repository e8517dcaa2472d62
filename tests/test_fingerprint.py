# covers: B3
"""The key of unfinished work is another one as soon as anything that determines the result is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pawprint.runner.fingerprint import fingerprint
from pawprint.runner.params import Params

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
