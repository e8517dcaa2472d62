# covers: B8, C4
"""Outputs that are not what params.yaml asks for are refused, without running DVC."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from pawprint.runner.errors import DataError
from pawprint.runner.lock import check_outputs, hash_output
from pawprint.runner.params import Params
from pawprint.runner.params_file import load_yaml

ROOT = Path(__file__).parents[1]
SPLIT, POOLED = "data/split.csv", "data/features/pooled"


def test_the_sum_of_a_folder_is_dvcs() -> None:
    deps = load_yaml(ROOT / "dvc.lock")["stages"]["features"]["deps"]
    (expected,) = (entry["md5"] for entry in deps if entry["path"] == "data/weights")
    assert hash_output(ROOT / "data/weights") == expected


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


@pytest.fixture
def lock(committed: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """dvc.lock of a project whose outputs are what it says; to be changed and written again."""
    monkeypatch.chdir(tmp_path)
    Path(POOLED).mkdir(parents=True)
    Path(POOLED, "0.npy").write_bytes(b"features")
    Path(SPLIT).write_bytes(b"split")
    values = committed.model_dump()
    split = {"path": SPLIT, "md5": md5(b"split")}
    stages = {
        "split": {
            "params": {"params.yaml": {"split": dict(values["split"])}},
            "outs": [dict(split)],
        },
        "preprocess": {
            "params": {"params.yaml": {"preprocess.max_value": 0}},
            "deps": [dict(split)],
            "outs": [{"path": "data/processed", "md5": "1.dir"}],
        },
        "features": {
            "params": {"params.yaml": {"model": dict(values["model"])}},
            "deps": [{"path": "data/processed/train", "md5": "2.dir"}],
            "outs": [{"path": POOLED, "md5": hash_output(Path(POOLED))}],
        },
        "evaluate": {"params": {"params.yaml": {"gradcam.fixed": 3}}},
    }
    write(stages)
    return stages


def write(stages: dict[str, Any]) -> None:
    Path("dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))


def refusal(params: Params) -> str:
    with pytest.raises(DataError) as caught:
        check_outputs([SPLIT, POOLED], params, Path("dvc.lock"))
    return str(caught.value)


@pytest.mark.usefixtures("lock")
def test_what_fits_is_accepted_and_later_stages_do_not_count(committed: Params) -> None:
    assert check_outputs([SPLIT, POOLED], committed, Path("dvc.lock")) == ""


def test_other_parameters_are_named(committed: Params, lock: dict[str, Any]) -> None:
    lock["features"]["params"]["params.yaml"]["model"]["backbone"] = "VGG16"
    write(lock)
    assert refusal(committed) == (
        "data/features/pooled: was made with model.backbone = 'VGG16', params.yaml has "
        "'EfficientNetLite0'; run `dvc repro features`"
    )
    lock["preprocess"]["params"]["params.yaml"]["preprocess.max_value"] = 4095
    write(lock)
    assert "was made with preprocess.max_value = 4095, params.yaml has 0;" in refusal(committed)
    del lock["split"]["params"]["params.yaml"]["split"]["seed"]  # a key that came later
    write(lock)
    assert refusal(committed) == (
        "data/split.csv: was made with split.seed = None, params.yaml has 42; run `dvc repro split`"
    )


def test_other_content_is_told(committed: Params, lock: dict[str, Any]) -> None:
    Path(POOLED, "0.npy").write_bytes(b"others")
    assert refusal(committed) == (
        "data/features/pooled: expected what dvc.lock has, found other content; "
        "run `dvc repro features`"
    )
    lock["preprocess"]["deps"][0]["md5"] = md5(b"before")
    write(lock)
    assert refusal(committed) == (
        "data/features/pooled: was made from another data/split.csv; run `dvc repro features`"
    )
    Path(SPLIT).unlink()
    assert refusal(committed) == (
        "data/split.csv: expected what the pipeline makes, found nothing; run `dvc repro split`"
    )


@pytest.mark.usefixtures("lock")
def test_a_lock_that_tells_nothing_is_a_warning_and_one_that_is_none_is_refused(
    committed: Params,
) -> None:
    Path("dvc.lock").unlink()
    assert check_outputs([SPLIT, POOLED], committed, Path("dvc.lock")) == (
        "dvc.lock lacks data/split.csv, data/features/pooled: whether this fits params.yaml cannot "
        "be told"
    )
    for odd in ("stages: [", "stages: 3", "[]", "stages: {split: 3}"):
        Path("dvc.lock").write_text(odd)
        assert refusal(committed).startswith("dvc.lock: expected what DVC wrote, found ")
