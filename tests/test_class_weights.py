# covers: R8, C5, B8
"""How much each class weighs, and the one line that refuses what does not fit."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from sklearn.utils.class_weight import compute_class_weight

from pawprint.runner.class_counts import check_all_class_weights
from pawprint.runner.errors import ParamsError
from pawprint.runner.params import HeadParams, Params
from pawprint.training.class_weights import weigh_classes

ROOT = Path(__file__).parents[1]
LABELS = np.array([0, 1, 1, 1, 2, 2])
NAMES = ["cat", "dog", "Füchse"]


def section(committed: Params, weights: Any) -> HeadParams:
    return committed.head.model_copy(update={"class_weights": weights})


def test_balanced_by_hand_and_as_scikit_learn(committed: Params) -> None:
    found = weigh_classes(section(committed, "balanced"), "head", LABELS, NAMES)
    assert found is not None
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [6 / 3, 6 / 9, 6 / 6], rtol=1e-6)  # n / (c * n_k)
    same = compute_class_weight("balanced", classes=np.arange(3), y=LABELS)
    np.testing.assert_allclose(found, same, rtol=1e-6)
    assert found[LABELS].mean() == pytest.approx(1)


def test_none_is_no_weights_and_the_default(committed: Params) -> None:
    for params in (committed.baseline, committed.head, committed.finetune):
        assert weigh_classes(params, "head", LABELS, NAMES) is None


def test_a_list_is_taken_as_it_is(committed: Params) -> None:
    found = weigh_classes(section(committed, [1.0, 2.5, 3]), "head", LABELS, NAMES)
    assert found is not None
    assert found.tolist() == [1.0, 2.5, 3.0]


def test_a_class_without_training_pictures_has_a_finite_weight(committed: Params) -> None:
    found = weigh_classes(section(committed, "balanced"), "head", LABELS, [*NAMES, "owl"])
    assert found is not None
    assert np.isfinite(found).all()


def test_a_list_of_another_length_is_refused_in_one_line(committed: Params) -> None:
    with pytest.raises(ParamsError) as caught:
        weigh_classes(section(committed, [1.0, 2.0]), "finetune", LABELS, NAMES)
    assert str(caught.value) == (
        "params.yaml: finetune.class_weights: expected 3 numbers, one for each of "
        "cat, dog, Füchse, in this order; found 2: [1.0, 2.0]"
    )
    many = [str(k) for k in range(1000)]
    with pytest.raises(ParamsError, match=r"1000 numbers, .* 18, 19, \.\.\., in this order"):
        weigh_classes(section(committed, [1.0, 2.0]), "finetune", LABELS, many)


def write_inputs(stage: str) -> None:
    """Of what a stage reads: as much as names the classes cat, dog and owl."""
    place, text = "data/processed/classes.json", '["cat", "dog", "owl"]'
    if stage == "preprocess":
        rows = "".join(f"{name}/1.jpg,{name},train,,\n" for name in ("owl", "cat", "dog"))
        place, text = "data/split.csv", f"path,class_name,split,sha256,group\n{rows}"
    if stage == "split":
        Path("data/raw").mkdir(parents=True)
        with zipfile.ZipFile("data/raw/images.zip", "w") as archive:
            for name in ("owl", "cat", "dog"):
                archive.writestr(f"{name}/1.jpg", name)
        return
    Path(place).parent.mkdir(parents=True)
    Path(place).write_text(text)


@pytest.mark.parametrize("name", ["baseline", "head", "finetune"])
def test_lists_of_all_trainings_are_checked_at_once(name: str, committed: Params) -> None:
    training = getattr(committed, name).model_copy(update={"class_weights": [1.0, 2.5]})
    params = committed.model_copy(update={name: training})
    check_all_class_weights(params, ["cat", "dog"])
    with pytest.raises(ParamsError, match=rf"^params.yaml: {name}.class_weights: expected 3 num"):
        check_all_class_weights(params, NAMES)


@pytest.mark.parametrize(
    "stage", ["split", "preprocess", "features", "train_baseline", "crossval", "train_head"]
)
def test_a_stage_that_knows_the_classes_refuses_a_list_of_a_later_one(
    stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["finetune"]["class_weights"] = [1.0, 2.5]
    Path("params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    write_inputs(stage)
    before = sorted(tmp_path.rglob("*"))
    done = subprocess.run(
        [sys.executable, "-m", f"stages.{stage}"],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "error: params.yaml: finetune.class_weights: expected 3 numbers, one for each of "
        "cat, dog, owl, in this order; found 2: [1.0, 2.5]\n"
    )
    assert sorted(tmp_path.rglob("*")) == before
