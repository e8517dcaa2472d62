# covers: C1, C4, C5, C6, C7, B1, B2, B5, B6, B8, R6, R7, R9, R11, R12, R13, R14, R16, R17
"""The whole pipeline, run by DVC in projects of its own, on a few pictures of ten classes."""

from __future__ import annotations

import base64
import csv
import io
import json
import random
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import h5py
import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from PIL import Image
from project import ROOT, Project, make_project
from served import serving
from ten_classes import CLASS_SIZES, DAMAGED, STAGES, TINY, whole_run
from test_notebook import NOTEBOOK

from pawprint.inference.classifier import Classifier
from pawprint.networks.model_files import read_model_info
from pawprint.pictures.squares import FILL
from pawprint.runner.params_file import load_params

AFTER_TRAINING = ("ensemble", "evaluate", "deciding", "export", "gradcam")
MODELS = ("baseline", "head", "finetuned")
STAGE_OF = {"baseline": "train_baseline", "head": "train_head", "finetuned": "finetune"}
SCORES = {"accuracy", "accuracy_low", "accuracy_high", "log_loss", "val_log_loss"}
OUT_OF_FOLD = {"accuracy", "accuracy_se", "log_loss", "log_loss_se"}
CLASS_NAMES = sorted(CLASS_SIZES)


def write_zip(path: Path, colours: dict[str, int], order: int = 0) -> None:
    """Grey PNGs: picture name → brightness; stored in an order of its own."""
    names = sorted(colours)
    random.Random(order).shuffle(names)
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            stream = io.BytesIO()
            Image.new("L", (32, 32), colours[name]).save(stream, "PNG")
            archive.writestr(name, stream.getvalue())


@pytest.fixture(scope="module")
def work() -> Iterator[Path]:
    # Not pytest's own directory: it would keep the models of the last three runs
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def base(work: Path) -> Project:
    """The pipeline of ten classes, run once and committed. Tests leave it as it is."""
    return whole_run().copy(work / "base")


@pytest.fixture
def copied(base: Project, work: Path) -> Iterator[Project]:
    """A copy that a test may change."""
    project = base.copy(work / "copy")
    yield project
    shutil.rmtree(project.root)


@pytest.fixture(scope="module")
def misused(base: Project, work: Path) -> Project:
    """A copy in which every test leaves the results as it found them, or fails."""
    return base.copy(work / "misused")


def read_rows(project: Project, path: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(project.read(path))))


def test_the_notebook_explains_this_run(base, work):
    """Ten classes, with names that are hard to show."""
    notebook = nbformat.read(NOTEBOOK, 4)
    place = {"metadata": {"path": str(base.root)}}
    client = NotebookClient(notebook, kernel_name="python3", resources=place, timeout=300)
    client.execute()  # raises what a cell raises
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    tables = [o.data["text/markdown"] for o in shown if "text/markdown" in o.get("data", {})]
    models = json.loads(base.read("metrics/evaluate/details.json"))["models"]
    accuracy = models["finetuned"]["metrics"]["accuracy"]
    (compared,) = [text for text in tables if text.startswith("| model | accuracy |")]
    assert f"| finetuned | {100 * accuracy:.2f} % |" in compared
    assert sum("image/png" in output.get("data", {}) for output in shown) >= 5


def test_second_run_has_nothing_to_do(base):
    assert base.dvc("status").text.strip() == "Data and pipelines are up to date."
    again = base.dvc("repro")
    assert again.stages == []
    assert "Data and pipelines are up to date." in again.text
    assert base.changes() == ""


def test_what_python_and_editors_leave_among_the_modules_changes_nothing(copied):
    folder = copied.root / "pawprint/inspection"
    (folder / "__pycache__").mkdir(exist_ok=True)
    left = ("__pycache__/stage.cpython-399.pyc", ".DS_Store", ".stage.py.swp", "stage.py~")
    for name in left:
        (folder / name).write_text("left", encoding="utf-8")
    assert copied.stale() == set()
    (folder / "new.py").write_text("", encoding="utf-8")
    assert copied.stale() == {"split"}


def test_an_edit_of_the_plumbing_makes_nothing_stale(copied):
    runner = sorted((copied.root / "pawprint/runner").glob("*.py"))
    modules = [*runner, *sorted((copied.root / "pawprint/cluster").glob("*.py"))]
    assert len(runner) > 5 < len(modules) - len(runner)
    for path in modules:
        path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert copied.stale() == set()


def test_where_work_is_done_makes_no_result_stale(copied):
    """Stage params, which has none, looks at all keys."""
    elsewhere = {"engine": "ray", "address": "10.0.0.1:6379", "mixed": True, "timeout_s": 5.0}
    copied.set_params({f"compute.{key}": value for key, value in elsewhere.items()})
    assert copied.stale() == {"params"}


@pytest.mark.parametrize(
    ("module", "stages"),
    [
        ("pawprint/inspection/alignment.py", {"split"}),
        ("pawprint/suspects/ranking.py", {"suspects"}),
        ("pawprint/evaluation/error_page.py", {"gradcam"}),
        ("pawprint/evaluation/selection.py", {"evaluate", "gradcam", "report"}),
        ("pawprint/evaluation/figures.py", {"evaluate", "report"}),
        ("pawprint/report/templates/decide.js", {"report"}),
        ("pawprint/inference/overlays.py", {"gradcam"}),
        ("pawprint/registry/models.py", {*AFTER_TRAINING, "report"}),
        ("pawprint/data/augment.py", {"train_baseline", "features", "finetune"}),
        ("pawprint/serving/api.py", set()),
    ],
)
def test_an_edit_of_a_module_makes_stale_what_it_can_change(copied, module, stages):
    path = copied.root / module
    path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert copied.stale() == stages


def test_lock_holds_a_hash_of_every_output(base):
    outs = {
        out["path"]: out["md5"] for stage in base.lock().values() for out in stage.get("outs", [])
    }
    models = {f"models/{name}.keras" for name in (*MODELS, "backbone")}
    assert models | {"data/raw/images.zip", "data/split.csv", "metrics/scores"} <= set(outs)
    assert all((base.root / path).exists() for path in outs)
    assert all(len(md5.removesuffix(".dir")) == 32 for md5 in outs.values())


def test_git_keeps_metrics_and_no_data(base):
    kept = set(base.run("git", "ls-files", "-z").text.split("\0"))
    assert {"dvc.lock", "metrics/scores/finetuned.json", "metrics/machine.json"} <= kept
    assert not any(name.endswith((".keras", ".zip", ".npy", ".png")) for name in kept)


@pytest.mark.parametrize("stage", STAGES)
def test_stage_opens_its_deps_and_outs_and_nothing_else(base, stage):
    locked, opened = base.lock()[stage], base.opened(stage)
    paths = {dep["path"] for dep in locked["deps"]}
    deps = {path for path in paths if not lies_in(path, {"pawprint", "stages"})}
    outs = {out["path"] for out in locked.get("outs", [])}
    reads = {path for path in opened["read"] if not lies_in(path, paths | outs)}
    named = {path: re.sub(r"\.tmp(?=/|$)", "", path) for path in opened["write"]}
    writes = {path for path, name in named.items() if not lies_in(name, outs)}
    assert reads == set(), f"{stage} reads what is not among its deps"
    assert writes == set(), f"{stage} writes what is not among its outs"
    unread = {dep for dep in deps if not any(lies_in(path, {dep}) for path in opened["read"])}
    if stage == "export":  # of the models, it reads the one that it exports
        unread -= {f"models/{name}.keras" for name in MODELS if name != exported_name(base)}
        if exported_name(base) == "baseline":  # it tells no unlikeness
            unread -= {"metrics/judged/unlikeness.csv"}
    if stage == "evaluate":  # an empty folder has no pictures
        unread -= {"data/others"}
    if stage == "features":  # watched whichever weights are chosen
        unread -= {"data/weights"}
    if stage in ("evaluate", "report"):  # no pictures of none of the classes are there
        unread -= {"data/others"}
    if stage in ("split", "crossval", "suspects", "deciding"):  # a folder names no groups
        unread -= {"data/groups"}
    if stage in AFTER_TRAINING:  # none is asked for
        unread -= deps if stage == "ensemble" else {"models/ensemble"}
        unread -= {"metrics/ensemble.json"} if stage == "export" else set()
    assert unread == set(), f"{stage} never reads these deps"


def exported_name(project: Project) -> str:
    return json.loads(project.read("metrics/export.json"))["model"]


def lies_in(path: str, places: set[str]) -> bool:
    path = path.replace(".tmp", "")  # what is written under another name and renamed
    return any(path == place or path.startswith(f"{place}/") for place in places)


def test_only_what_trains_or_saves_keras_models_imports_tensorflow(base):
    training = {"train_baseline", "crossval", "train_head", "finetune"}
    assert base.imports("tensorflow") == training | {"export"}
    assert base.imports("openvino") >= {"features", "suspects", "evaluate", "export", "gradcam"}


def test_the_best_model_on_validation_is_exported_and_is_the_evaluated_one(base):
    losses = {
        name: json.loads(base.read(f"metrics/{stage}.json"))["val_log_loss"]
        for name, stage in STAGE_OF.items()
    }
    found = json.loads(base.read("metrics/export.json"))
    assert losses[found["model"]] == min(losses.values())
    assert found["openvino"]["largest_difference"] <= 1e-6
    assert (
        found["keras"]["accuracy"]
        == json.loads(base.read(f"metrics/scores/{found['model']}.json"))["accuracy"]
    )
    for form in ("openvino", "saved_model", "onnx", "tflite"):
        assert found[form]["agreement"] == 1
        assert found[form]["largest_difference"] <= 1e-5


def test_the_server_and_predict_say_of_each_test_picture_what_evaluate_wrote(base, tmp_path):
    """To the six digits that it wrote, and to the bit what the model says in this process.

    The pictures are twice as wide as high, and their model wants letterboxes.
    """
    model, name = base.root / "models/export", exported_name(base)
    rows = read_rows(base, "metrics/evaluate/predictions.csv")
    with zipfile.ZipFile(base.root / "data/raw/images.zip") as archive:
        contents = [archive.read(row["path"]) for row in rows]
    classifier = Classifier.open(model)
    probs = classifier.probs(np.stack([classifier.decode(content) for content in contents]))
    with serving("--model", str(model), "--max-files", "1000", "--queue", "1000") as server:
        results = server.predict(*contents, data={"top": "1000"}).json()["results"]
    assert len(results) == len(rows) > 0
    told = {row["path"]: row for row in read_rows(base, "metrics/judged/unlikeness.csv")}
    assert set(next(iter(told.values()))) == {"path", "head", "finetuned"}  # no baseline
    for i, content in enumerate(contents):
        (tmp_path / f"{i:03}.png").write_bytes(content)
    command = (sys.executable, "-m", "pawprint", "predict", str(tmp_path), "--top=1000", "--json")
    lines = [line for line in base.run(*command).text.splitlines() if line.startswith("{")]
    for row, picture, result, line in zip(rows, probs, results, lines, strict=True):
        found = {
            entry["class"]: float(np.float32(entry["probability"]))
            for entry in result["predictions"]
        }
        of_command = json.loads(line)["classes"]
        assert {c["class"]: float(np.float32(c["probability"])) for c in of_command} == found
        assert [found[class_name] for class_name in CLASS_NAMES] == picture.tolist()
        assert result["predictions"][0]["class"] == row[f"{name}_predicted"]
        if name != "baseline":
            ratio = np.float32(told[row["path"]][name])
            assert np.float32(result["unlikeness"]) == ratio
            assert json.loads(line)["unlikeness"] == result["unlikeness"]
            assert result["unlike"] == json.loads(line)["unlike"] == bool(ratio > 1)
        for printed, class_name in [
            (row[f"{name}_probability"], row[f"{name}_predicted"]),
            (row[f"{name}_actual_probability"], row["actual"]),
        ]:
            assert found[class_name] == pytest.approx(float(printed), abs=0.500001e-6)


def test_how_pictures_become_squares_reaches_every_model_and_its_pictures(base):
    files = sorted((base.root / "models").glob("*.keras"))
    assert {file.stem: read_model_info(file).resize for file in files} == dict.fromkeys(
        ("backbone", *MODELS), "letterbox"
    )
    assert json.loads(base.read("models/export/model.json"))["resize"] == "letterbox"
    overlays = sorted((base.root / "plots/gradcam").glob("*.png"))
    for overlay in overlays:  # on the left the picture: 8 rows of it are above, 8 below
        pixels = np.asarray(Image.open(overlay))[:32, :32]
        assert np.unique(pixels[[*range(8), *range(24, 32)]].reshape(-1, 3), axis=0).tolist() == [
            [*FILL]
        ]
        assert len(np.unique(pixels[8:24].reshape(-1, 3), axis=0)) > 100


def test_hashes_in_the_exported_model_are_those_of_the_lock(base):
    card = json.loads(base.read("models/export/model.json"))
    outs = {
        out["path"]: out["md5"] for stage in base.lock().values() for out in stage.get("outs", [])
    }
    paths = {f"models/{exported_name(base)}.keras", "data/split.csv"}
    assert card["hashes"] == {path: outs[path] for path in paths}
    assert card["class_names"] == CLASS_NAMES


def test_ten_unicode_classes_reach_the_model_files(base):
    for name in MODELS:
        info = read_model_info(base.root / f"models/{name}.keras")
        assert info.class_names == CLASS_NAMES
        assert info.image_size == 32


def test_smallest_class_has_a_picture_in_each_split(base):
    rows = [row for row in read_rows(base, "data/split.csv") if row["class_name"] == "кот"]
    assert sorted(row["split"] for row in rows) == ["test", "train", "val"]
    assert {row["path"] for row in rows} == {f"кот/снимок {i}.png" for i in (1, 2, 3)}


def test_predictions_name_every_test_picture(base):
    test = {row["path"] for row in read_rows(base, "data/split.csv") if row["split"] == "test"}
    predictions = read_rows(base, "metrics/evaluate/predictions.csv")
    assert sorted(row["path"] for row in predictions) == sorted(test - {DAMAGED})
    assert {row["actual"] for row in predictions} == set(CLASS_NAMES)
    assert {row["head_predicted"] for row in predictions} <= set(CLASS_NAMES)


def test_each_picture_of_train_and_val_is_judged_in_one_fold(base):
    rows = read_rows(base, "metrics/crossval/predictions.csv")
    splits = {row["path"]: row["split"] for row in read_rows(base, "data/split.csv")}
    expected = {path: split for path, split in splits.items() if split != "test"}
    expected.pop(DAMAGED, None)
    assert {row["path"]: row["split"] for row in rows} == expected
    assert {row["fold"] for row in rows if row["actual"] == "кот"} == {"0", "1"}
    right = [row["actual"] == row["predicted"] for row in rows]
    found = json.loads(base.read("metrics/crossval.json"))
    assert found["accuracy"] == pytest.approx(np.mean(right), abs=1e-6)
    losses = [-np.log(float(row[f"probability_{row['actual']}"])) for row in rows]
    assert found["log_loss"] == pytest.approx(np.mean(losses), abs=1e-4)


def test_suspects_are_pictures_of_all_splits_each_once(base):
    rows = read_rows(base, "metrics/suspects.csv")
    listed = [row["path"] for row in rows if row["path"]]
    pictures = {row["path"]: row for row in read_rows(base, "data/split.csv")}
    assert [row["rank"] for row in rows] == [str(rank) for rank in range(1, len(rows) + 1)]
    assert len(listed) == len(set(listed)) > 0
    assert DAMAGED not in listed
    for row in rows[: len(listed)]:
        picture = pictures[row["path"]]
        assert (row["split"], row["label"]) == (picture["split"], picture["class_name"])
        assert row["suggested"] != row["label"]
    assert all(row["why"].startswith("shortcut: ") for row in rows[len(listed) :])
    said = {row["path"]: row for row in read_rows(base, "metrics/crossval/predictions.csv")}
    doubted = {path for path, row in said.items() if row["actual"] != row["predicted"]}
    assert doubted <= set(listed)
    probabilities = read_rows(base, "metrics/suspects/probabilities.csv")
    assert [row["path"] for row in probabilities[::5]] == listed
    neighbours = read_rows(base, "metrics/suspects/neighbours.csv")
    assert [row["path"] for row in neighbours[::5]] == listed
    assert {row["neighbour"] for row in neighbours} <= set(pictures)


def test_damaged_picture_is_quarantined_and_counted(base):
    (row,) = read_rows(base, "data/processed/quarantine.csv")
    assert row["path"] == DAMAGED
    assert row["class"] == "🐶"
    assert "truncated" in row["reason"]
    assert json.loads(base.read("metrics/preprocess.json"))["quarantined"] == 1
    indexed = [
        r["path"]
        for s in ("train", "val", "test")
        for r in read_rows(base, f"data/processed/{s}/index.csv")
    ]
    assert len(indexed) == sum(CLASS_SIZES.values())
    assert DAMAGED not in indexed


def test_named_groups_stay_together_and_a_change_of_their_file_runs_split_again(copied):
    rows = read_rows(copied, "data/split.csv")
    table = copied.root / "data/groups/cameras.csv"
    lines = [f'"{row["path"]}",camera {i % 12}' for i, row in enumerate(rows)]
    table.write_text("\n".join(["path,group", *lines, ""]), encoding="utf-8")
    params = copied.root / "params.yaml"
    text = params.read_text(encoding="utf-8")
    changed = text.replace("groups_file: data/groups", "groups_file: data/groups/cameras.csv")
    assert changed != text
    params.write_text(changed, encoding="utf-8")
    assert copied.dvc("repro", "split").stages == ["split"]
    splits: dict[str, set[str]] = {}
    camera = {row["path"]: f"camera {i % 12}" for i, row in enumerate(rows)}
    for row in read_rows(copied, "data/split.csv"):
        splits.setdefault(camera[row["path"]], set()).add(row["split"])
    assert len(splits) == 12
    assert all(len(found) == 1 for found in splits.values())
    assert json.loads(copied.read("metrics/data.json"))["groups"] == 12
    assert "split" not in copied.stale()
    table.write_text(table.read_text(encoding="utf-8") + "x,y\n", encoding="utf-8")
    assert "split" in copied.stale()


def test_too_many_damaged_pictures_stop_preprocess(copied):
    outcome = copied.dvc("exp", "run", "-S", "preprocess.max_bad=0.01", fails=True)
    assert outcome.stages == ["params", "preprocess"]
    assert error_line(outcome.text).startswith(
        "error: 1 of 81 pictures cannot be decoded, more than preprocess.max_bad = 0.01 allows"
    )
    assert DAMAGED in error_line(outcome.text)


def test_metrics_show_has_the_same_few_keys_for_each_model(base):
    shown = json.loads(base.dvc("metrics", "show", "--json").text)[""]["data"]
    shown.pop("metrics/machine.json")  # a list, of which nothing is shown
    assert set(shown.pop("metrics/crossval.json")["data"]) - {"over_folds"} == OUT_OF_FOLD
    assert {path: set(found["data"]) for path, found in shown.items()} == {
        f"metrics/scores/{name}.json": SCORES for name in MODELS
    }
    for found in shown.values():
        values = found["data"]
        assert 0 <= values["accuracy_low"] <= values["accuracy"] <= values["accuracy_high"] <= 1
    for name, stage in STAGE_OF.items():
        trained = json.loads(base.read(f"metrics/{stage}.json"))
        score = shown[f"metrics/scores/{name}.json"]["data"]
        assert trained["val_log_loss"] == score["val_log_loss"]
    table = base.dvc("metrics", "show").text.splitlines()
    assert len(table) == 1 + len(MODELS) + 2  # the folds, and an empty line for the machine
    assert max(map(len, table)) <= 132


def test_report_compares_the_models(base):
    report = base.read("metrics/evaluate/report.md")
    header = next(line for line in report.splitlines() if line.startswith("|"))
    assert [cell.strip() for cell in header.strip("|").split("|")] == ["", *MODELS]
    assert all(class_name in report for class_name in CLASS_NAMES)


def test_plots_show_holds_curves_charts_and_pictures(copied):
    shown = json.loads(copied.dvc("plots", "show", "--json").text)
    assert not shown.get("errors")
    plots = shown["data"]
    for title, field in (("Loss", "loss"), ("Accuracy", "accuracy")):
        rows = chart_rows(plots[title])
        lengths = {
            (stage, split): sum(
                f"{stage}/plots/metrics/{split}/" in row["filename"] for row in rows
            )
            for stage in ("train_baseline", "train_head", "finetune")
            for split in ("train", "val")
        }
        assert lengths == {
            **dict.fromkeys([("train_baseline", "train"), ("train_baseline", "val")], 2),
            **dict.fromkeys([("train_head", "train"), ("train_head", "val")], 2),
            **dict.fromkeys([("finetune", "train"), ("finetune", "val")], 1),
        }
        assert all(float(row[field]) >= 0 for row in rows)
    for title in ("ROC", "Precision-recall", "Reliability"):
        files = {Path(row["filename"]).stem for row in chart_rows(plots[title])}
        assert files == set(MODELS), title
    tested = len(read_rows(copied, "metrics/evaluate/predictions.csv"))
    for name in MODELS:
        confusion = chart_rows(plots[f"Confusion of {name}"])
        assert len(confusion) == tested
        assert {row["actual"] for row in confusion} == set(CLASS_NAMES)
        assert [image["type"] for image in plots["plots/export/parity.png"]] == ["image"]
        fixed = [plots[f"plots/gradcam/{name}_fixed_{i:02d}.png"] for i in (1, 2)]
        assert [image[0]["type"] for image in fixed] == ["image", "image"]


def chart_rows(plot: list[dict[str, Any]]) -> list[dict[str, Any]]:
    (chart,) = plot
    return chart["content"]["data"]["values"]


def test_plots_page_is_written(copied):
    copied.dvc("plots", "show", "--out", "page")
    page = copied.read("page/index.html")
    assert "Confusion of finetuned" in page
    pictures = sorted(path.name for path in (copied.root / "page/static").iterdir())
    drawn = [
        path for stage in ("export", "gradcam") for path in copied.root.glob(f"plots/{stage}/*")
    ]
    assert len(pictures) == len(drawn)
    assert "<script src" not in page  # its libraries are inside: it works offline


def test_overlays_are_pictures_of_each_model(base):
    for name in MODELS:
        for number in (1, 2):
            path = base.root / f"plots/gradcam/{name}_fixed_{number:02d}.png"
            with Image.open(path) as image:
                image.load()
                assert image.format == "PNG"


def test_wrong_pictures_are_on_a_page_with_their_overlays(base):
    page = base.read("plots/errors.html")
    wrong = {
        (name, row["path"])
        for row in read_rows(base, "metrics/evaluate/predictions.csv")
        for name in MODELS
        if row[f"{name}_correct"] == "False"
    }
    assert wrong
    shown = [base64.b64decode(text) for text in re.findall(r"image/png;base64,([^\"]*)", page)]
    overlays = {path.read_bytes() for path in (base.root / "plots/gradcam").iterdir()}
    assert set(shown) <= overlays
    assert len(MODELS) <= len(shown) <= len(wrong)
    assert set(re.findall(r"<td>([^<]*\.png)</td>", page)) <= {escape(path) for _, path in wrong}


def test_finetuning_rate_reruns_what_depends_on_it_and_no_more(copied):
    before = copied.lock()
    rate = ("--name", "slow", "-S", "finetune.lr=1e-5")
    outcome = copied.dvc("exp", "run", *rate, "evaluate")
    assert outcome.stages == ["finetune", "ensemble", "evaluate"]
    assert copied.stale() == {"params", "deciding", "export", "gradcam", "report"}
    after = copied.lock()
    assert [name for name in STAGES if before[name] != after[name]] == outcome.stages
    found = after["finetune"]["params"]["params.yaml"]["finetune"]["lr"]
    assert (type(found), found) == (float, 1e-05)
    assert load_params(copied.root / "params.yaml").finetune.lr == 1e-05

    changed = json.loads(copied.dvc("metrics", "diff", "--json").text)
    assert set(changed) == {"metrics/scores/finetuned.json"}
    assert changed["metrics/scores/finetuned.json"]["log_loss"]["diff"] != 0
    plots = json.loads(copied.dvc("plots", "diff", "HEAD", "--json").text)["data"]
    assert {row["rev"] for row in chart_rows(plots["Loss"])} == {"HEAD", "workspace"}
    table = list(csv.DictReader(io.StringIO(copied.dvc("exp", "show", "--csv").text)))
    assert {row["Experiment"]: float(row["finetune.lr"]) for row in table if row["Experiment"]} == {
        "slow": 1e-05
    }
    scores = {f"metrics/scores/{name}.json:{key}" for name in MODELS for key in SCORES}
    assert scores <= set(table[0])

    copied.run("git", "checkout", "--quiet", "params.yaml")
    back = copied.dvc("repro")
    assert back.stages == []
    for stage in outcome.stages:
        assert f"Stage '{stage}' is cached - skipping run" in back.text
    assert copied.lock() == before
    assert copied.changes() == ""


def test_head_starts_from_cached_features(copied):
    outcome = copied.dvc("exp", "run", "-S", "head.lr=2e-3", "train_head")
    assert outcome.stages == ["train_head"]
    readers = {"crossval", "suspects", "finetune", *AFTER_TRAINING, "report"}
    readers.remove("deciding")  # it reads what evaluate writes
    assert copied.stale() == {"params"} | readers


def test_no_training_depends_on_what_is_called_unlike_or_on_pictures_of_no_class(copied):
    made = {"train_head", "finetune", "ensemble", "gradcam"}
    copied.set_params({"unlikeness.k": 1.5})
    stale = copied.stale()
    assert "export" in stale
    assert not stale & {*made, "evaluate"}
    copied.run("git", "checkout", "--quiet", "params.yaml")
    (copied.root / "data/others/lakes").mkdir()
    Image.new("RGB", (9, 9)).save(copied.root / "data/others/lakes/1.png")
    assert "evaluate" in copied.stale()
    assert not copied.stale() & {"train_head", "finetune", "ensemble"}


def test_an_ensemble_is_a_model_like_the_others(copied):
    before = copied.lock()
    shutil.copy(copied.root / "models/head.keras", copied.root / "data/members/same.keras")
    changes = ("ensemble.picks=4", "export.model=ensemble", "evaluate.tta=2")
    outcome = copied.dvc("exp", "run", *(x for c in changes for x in ("-S", c)))
    assert outcome.stages == ["params", *AFTER_TRAINING, "report"]
    left_out = "data/members/same.keras: left out, as it is the same model as head"
    assert f"warning: {left_out}" in outcome.text
    figures = json.loads(copied.read("metrics/ensemble.json"))
    assert set(figures["candidates"]) == set(MODELS)
    assert sum(figures["members"].values()) == pytest.approx(1, abs=1e-5)
    assert figures["val_log_loss"] <= min(figures["candidates"].values()) + 2e-6
    for name, stage in STAGE_OF.items():
        trained = json.loads(copied.read(f"metrics/{stage}.json"))
        assert trained["val_log_loss"] == pytest.approx(figures["candidates"][name], abs=1e-3)
    scores = json.loads(copied.read("metrics/scores/ensemble.json"))
    assert set(scores) == SCORES
    assert scores["val_log_loss"] == figures["val_log_loss"]
    assert "\n## ensemble\n" in copied.read("metrics/evaluate/report.md")
    exported = json.loads(copied.read("metrics/export.json"))
    assert exported["model"] == json.loads(copied.read("models/export/model.json"))["name"]
    assert exported["model"] == "ensemble"
    assert exported["openvino"]["largest_difference"] <= 1e-6
    for form in ("openvino", "saved_model", "onnx", "tflite"):
        assert exported[form]["largest_difference"] <= 1e-5
    assert (copied.root / "plots/gradcam/ensemble_fixed_01.png").is_file()
    assert copied.dvc("repro").stages == []

    copied.run("git", "checkout", "--quiet", "params.yaml")
    (copied.root / "data/members/same.keras").unlink()
    back = copied.dvc("repro")
    assert back.stages == ["params"]  # it has no results that could be restored
    for stage in outcome.stages[1:]:
        assert f"Stage '{stage}' is cached - skipping run" in back.text
    assert [p.name for p in (copied.root / "models/ensemble").iterdir()] == ["none.txt"]
    assert copied.lock() == before
    assert copied.changes() == ""


def test_cut_moves_without_training_the_head_again(copied):
    outcome = copied.dvc("exp", "run", "-S", "model.cut=block6c", "train_head")
    assert outcome.stages == ["features"]
    assert "finetune" in copied.stale()


def test_activations_computed_on_the_fly_give_the_same_model_as_cached_ones(copied):
    before = copied.lock()["finetune"]["outs"]
    copied.set_params({"features.max_gb": 0.0})
    outcome = copied.dvc("repro", "finetune")
    assert "not kept, fine-tuning computes them anew" in outcome.text
    assert outcome.stages == ["features", "finetune"]
    assert copied.lock()["finetune"]["outs"] == before


def test_second_clone_gets_the_same_bytes(base, work):
    second = base.clone(work / "elsewhere" / "second")
    assert second.dvc("repro", "--force").stages == STAGES
    # What differs is told by pytest
    assert second.lock() == base.lock()
    assert second.changes() == ""


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("+x.y=1", "params.yaml: x: unknown key; known: data, split"),
        (
            "+finetune.learning_rat=1",
            "params.yaml: finetune.learning_rat: unknown key; known: epochs, batch_size, lr",
        ),
        (
            "head.lr=fast",
            "params.yaml: head.lr: input should be a valid number, found 'fast' (str)",
        ),
        (
            "split.train=0.95",
            "params.yaml: split.train + split.val + split.test must be 1, found 0.95 + 0.15 + 0.15",
        ),
        (
            "model.backbone=Xception",
            "params.yaml: model.backbone: unknown 'Xception'; known: EfficientNetLite0",
        ),
        (
            "model.cut=block9",
            "params.yaml: model.cut: EfficientNetLite0 has no block 'block9'; expected auto, ",
        ),
    ],
    ids=["section", "key", "type", "value", "backbone", "cut"],
)
def test_wrong_parameter_stops_the_first_stage_and_costs_no_result(misused, assignment, message):
    outcome = misused.dvc("exp", "run", "-S", assignment, fails=True)
    assert outcome.stages == ["params"]
    assert error_line(outcome.text).startswith(f"error: {message}")
    misused.run("git", "checkout", "--quiet", "params.yaml")
    assert misused.dvc("repro").stages == []
    assert misused.changes() == ""


@pytest.mark.parametrize(
    ("other", "stage"),
    [("split.seed=1", "split"), (None, "finetune")],
)
def test_class_weights_that_do_not_fit_stop_the_first_stage_that_knows_the_classes(
    misused, other, stage
):
    changes = ["finetune.class_weights=[1.0,2.5]", *([other] if other else [])]
    outcome = misused.dvc("exp", "run", *(x for c in changes for x in ("-S", c)), fails=True)
    assert outcome.stages == ["params", stage]
    told = error_line(outcome.text)
    assert told.startswith("error: params.yaml: finetune.class_weights: expected 10 numbers, ")
    misused.run("git", "checkout", "--quiet", "params.yaml")
    assert misused.dvc("repro").stages == ["params"]
    assert misused.changes() == ""


def test_misspelt_parameter_is_refused_by_dvc_before_any_stage(misused):
    outcome = misused.dvc("exp", "run", "-S", "finetune.learning_rat=1", fails=True)
    assert "Could not override 'finetune.learning_rat'" in outcome.text
    assert outcome.stages == []
    assert misused.changes() == ""


def error_line(text: str) -> str:
    """The one line with which a stage ended."""
    (line,) = [line for line in text.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in text
    return line


GREYS = {
    f"{name}/{i}.png": 9 * i + start for name, start in (("a", 0), ("b", 99)) for i in range(9)
}


@pytest.fixture
def archives(work: Path) -> Iterator[Project]:
    """A project that takes its pictures from a zip; its first two stages have run."""
    source = {"data.source": "archive", "data.archive": "data/source/pictures.zip"}
    project = make_project(work / "archives", work / "home", TINY | source)
    write_zip(project.root / "data/source/pictures.zip", GREYS)
    assert project.dvc("repro", "split").stages == ["download", "split"]
    yield project
    shutil.rmtree(project.root)


def test_changed_archive_at_the_same_path_is_noticed(archives):
    write_zip(archives.root / "data/source/pictures.zip", GREYS | {"b/new.png": 255})
    assert archives.dvc("repro", "split").stages == ["download", "split"]
    paths = [row["path"] for row in read_rows(archives, "data/split.csv")]
    assert paths == sorted([*GREYS, "b/new.png"])


def test_same_pictures_elsewhere_and_otherwise_packed_are_the_same_data(archives):
    before = archives.read("data/split.csv")
    other = archives.root.with_name("packed anew.zip")
    write_zip(other, GREYS, order=1)
    archives.set_params({"data.archive": str(other)})
    assert archives.dvc("repro", "split").stages == ["download"]

    with zipfile.ZipFile(other) as archive:
        archive.extractall(archives.root / "data/source/folder")
    archives.set_params({"data.source": "folder", "data.folder": "data/source/folder"})
    assert archives.dvc("repro", "split").stages == ["download"]
    assert archives.read("data/split.csv") == before


def test_division_of_an_archive_is_kept(archives):
    folders = {0: "train", 1: "valid", 2: "test"}
    divided = {f"x/{folders[i % 3]}/{name}": grey for i, (name, grey) in enumerate(GREYS.items())}
    write_zip(archives.root / "data/source/pictures.zip", divided)
    assert archives.dvc("repro", "split").stages == ["download", "split"]
    rows = read_rows(archives, "data/split.csv")
    kept = {"train": "train", "valid": "val", "test": "test"}
    assert {row["path"]: row["split"] for row in rows} == {
        f"{kept[path.split('/')[1]]}/{path.split('/', 2)[2]}": kept[path.split("/")[1]]
        for path in divided
    }


def test_a_leak_in_a_given_division_is_a_warning_of_the_run(archives):
    folders = {0: "train", 1: "valid", 2: "test"}
    divided = {f"x/{folders[i % 3]}/{name}": grey for i, (name, grey) in enumerate(GREYS.items())}
    archives.set_params({"split.near_duplicates": False})  # greys are alike
    write_zip(archives.root / "data/source/pictures.zip", divided)
    assert "warning:" not in archives.dvc("repro", "split").text
    divided["x/test/a/copy.png"] = divided["x/train/a/0.png"]
    write_zip(archives.root / "data/source/pictures.zip", divided)
    (line,) = re.findall("^warning: .*", archives.dvc("repro", "split").text, re.MULTILINE)
    assert line.startswith("warning: 1 of 7 pictures in test is also in train or val, as the same")
    leaked = {row["path"] for row in read_rows(archives, "data/report/across_splits.csv")}
    assert leaked == {"test/a/copy.png", "train/a/0.png"}


def test_sample_source_needs_nothing(work):
    source = {"data.source": "sample", "data.sample_images": 20}
    project = make_project(work / "sample", work / "home", TINY | source)
    assert project.dvc("repro", "split").stages == ["download", "split"]
    rows = read_rows(project, "data/split.csv")
    assert sorted(row["class_name"] for row in rows) == ["cat"] * 10 + ["dog"] * 10
    assert {row["split"] for row in rows} == {"train", "val", "test"}


def test_a_candidate_that_was_ranked_is_taken_without_computing_it_again(copied: Project) -> None:
    command = (sys.executable, "-m", "pawprint", "rank", "EfficientNetLite0@64")
    found = copied.run(*command, "--json", ".resume/ranking.json")
    assert found.text.startswith("1 of 1: EfficientNetLite0 at 64 px\n")
    assert " s: preprocess, features, crossval\n" in found.text
    assert "EfficientNetLite0@64  " in found.text
    taken = "To take EfficientNetLite0 at 64 px: `dvc exp run -S preprocess.image_size=64`"
    assert taken in " ".join(found.text.split())
    assert copied.changes() == ""
    ranking = json.loads(copied.read(".resume/ranking.json"))
    (candidate,) = ranking["candidates"]
    table = read_rows(copied, "metrics/crossval/predictions.csv")
    assert ranking["pictures"] == len(table)
    assert candidate["bytes_per_picture"] > 64 * 64 * 3 + 1280 * 4
    assert candidate["ms_per_picture"] > 0
    copied.dvc("exp", "apply", "rank-efficientnetlite0-64")
    assert copied.dvc("repro", "crossval").stages == []
    figures = json.loads(copied.read("metrics/crossval.json"))
    for name in ("log_loss", "log_loss_se", "accuracy", "accuracy_se"):
        assert candidate[name] == pytest.approx(figures[name], abs=2e-6), name


def write_vgg16(path: Path) -> None:
    """Random weights of VGG16 without its top, in the layout of the file that Keras downloads."""
    rng, channels = np.random.default_rng(0), 3
    layers = ["input_1"]
    with h5py.File(path, "w") as file:
        for block, (filters, convolutions) in enumerate(
            ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)), start=1
        ):
            for number in range(1, convolutions + 1):
                layers.append(f"block{block}_conv{number}")
                group = file.create_group(layers[-1])
                kernel = rng.normal(size=(3, 3, channels, filters)) * (2 / 9 / channels) ** 0.5
                weights = {"W_1:0": kernel, "b_1:0": np.zeros(filters)}
                for name, values in weights.items():
                    group[f"{layers[-1]}_{name}"] = values.astype(np.float32)
                group.attrs["weight_names"] = [f"{layers[-1]}_{name}".encode() for name in weights]
                channels = filters
            layers.append(f"block{block}_pool")
        for name in layers:
            file.require_group(name).attrs.setdefault("weight_names", [])
        file.attrs["layer_names"] = [name.encode() for name in layers]


def test_the_vgg16_study_runs_with_a_file_of_weights(copied: Project) -> None:
    shutil.copytree(ROOT / "studies", copied.root / "studies")
    write_vgg16(copied.root / "data/weights/vgg16.h5")
    settings = {
        "model.weights": "file",
        "model.weights_file": "data/weights/vgg16.h5",
        "preprocess.image_size": 32,
        "baseline.epochs": 2,  # as it has run before
    }
    assigned = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    command = (sys.executable, "-m", "studies", "vgg16", "--rows", "all layers trained")
    found = copied.run(*command, *assigned, "--out", ".resume/out")
    assert " s: preprocess, features, train_head, finetune, ensemble, evaluate\n" in found.text
    (file,) = (copied.root / ".resume/out").glob("vgg16-*.json")
    (row,) = json.loads(file.read_text(encoding="utf-8"))["rows"]
    (experiment,) = row["experiments"]
    assert row["values"]["model.backbone"] == "VGG16"
    assert row["seconds"] > 0
    shutil.rmtree(copied.root / "studies")
    copied.dvc("exp", "apply", experiment)
    assert copied.dvc("repro", "evaluate").stages == []
    scores = json.loads(copied.read("metrics/scores/finetuned.json"))
    assert row["accuracy"]["median"] == pytest.approx(scores["accuracy"], abs=2e-6)
    # of probabilities with 6 decimals: of one of 0.05, half a unit of the last is 1e-5 of its loss
    assert row["log_loss"]["median"] == pytest.approx(scores["log_loss"], abs=1e-5)
    info = read_model_info(copied.root / "models/finetuned.keras")
    assert len(info.class_names) == 10
