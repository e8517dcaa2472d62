"""The model card, and what to try next."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from runs import SmallRun
from test_report import report

from pawprint.report.advice import advise
from pawprint.report.run import read_judged, read_run_pictures

# covers: B7, B6, R6

pytestmark = pytest.mark.usefixtures("no_charts")


@pytest.fixture
def no_charts(monkeypatch):
    monkeypatch.setattr("stages.report.draw_charts", lambda *_: {})


def read_card(run: SmallRun) -> tuple[dict[str, Any], str]:
    """The header of a card, and its text."""
    start, header, text = (
        (run.root / "metrics/model_card.md").read_text(encoding="utf-8").split("---\n", 2)
    )
    assert start == ""
    return yaml.safe_load(header), text


def test_hubs_can_read_the_header(tmp_path):
    run = SmallRun(tmp_path, class_names=("a: b", "- c #"), counts=(6, 3, 5), wrong=3).write()
    report(run, license="apache-2.0")
    header, _ = read_card(run)
    assert header["license"] == "apache-2.0"
    assert header["pipeline_tag"] == "image-classification"
    assert header["library_name"] == "keras"
    assert {"image-classification", "onnx"} <= set(header["tags"])
    assert header["metrics"] == ["accuracy", "f1", "roc_auc"]
    (model,) = header["model-index"]
    assert model["name"] == "A classifier of pictures: a: b, - c #"
    scores = {metric["type"]: metric["value"] for metric in model["results"][0]["metrics"]}
    assert scores["accuracy"] == 0.7


def test_a_card_says_how_the_model_was_made(tmp_path):
    """With the hashes of what it is made from, and no path of somebody's machine."""
    run = SmallRun(tmp_path).write()
    report(run)
    _, text = read_card(run)
    assert "| data/split.csv | 0b73 |" in text
    assert "| model.onnx | 5e1f |" in text
    assert "| finetune.lr | 5e-05 |" in text
    assert "| model.backbone | EfficientNetLite0 |" in text
    assert "| system | Linux x86\\_64 |" in text
    assert str(tmp_path) not in text
    assert "weights_file" not in text.replace("\\", "")


def test_a_card_of_an_ensemble_says_not_where_its_members_lay(tmp_path):
    run = SmallRun(tmp_path).write()
    (tmp_path / "metrics/finetune.json").rename(tmp_path / "metrics/ensemble.json")
    for path in (tmp_path / "plots/evaluate").glob("*/finetuned.json"):
        path.rename(path.with_name("ensemble.json"))
    for path in [tmp_path / "models/export/model.json", *(tmp_path / "metrics").glob("**/*.*")]:
        if path.suffix in (".json", ".csv"):
            text = path.read_text(encoding="utf-8")
            path.write_text(text.replace("finetuned", "ensemble"), encoding="utf-8")
    report(run)
    _, text = read_card(run)
    assert "| ensemble.picks | 0 |" in text
    assert "data/members" not in text


def test_a_card_has_the_words_of_its_maker(tmp_path):
    run = SmallRun(tmp_path).write()
    report(run, name="Pets", intended_use="To sort *my* pictures.", limits="Not for <vets>.")
    _, text = read_card(run)
    assert "# Pets\n" in text
    assert "## Intended use\n\nTo sort \\*my\\* pictures.\n" in text
    assert "- Not for &lt;vets&gt;.\n" in text


def test_a_card_says_what_the_model_may_decide_alone(tmp_path):
    """Where it is the best one, of which that was measured."""
    run = SmallRun(tmp_path).write()
    report(run)
    _, text = read_card(run)
    part = text.partition("## Deciding alone\n")[2].replace("\u00a0", " ")
    assert part.strip().startswith("At 99.5 % precision it decides nothing alone")
    assert "unlike its training pictures (" in part
    path = tmp_path / "metrics/deciding/details.json"
    path.write_text(path.read_text().replace('"model": "finetuned"', '"model": "head"'))
    report(run)
    assert "## Deciding alone" not in read_card(run)[1]


def test_a_card_has_the_figures_of_each_class(tmp_path):
    """3 of 5 cats are taken for dogs: recall is 2 of 5, and of 2 pictures called cats 2 are."""
    run = SmallRun(tmp_path, counts=(6, 3, 5), wrong=3).write()
    report(run)
    _, text = read_card(run)
    rows = [line for line in text.replace("\u00a0", " ").splitlines() if "0.5714" in line]
    assert len(rows) == 1
    assert rows[0].startswith("| cat | 5 | 40.00 % (11.76 to 76.93) | 100.00 % (34.24 to 100.00) |")


def advice_of(run: SmallRun, doubted: int = 0, **epochs: int) -> dict[str, str]:
    """What is advised → why, and the command."""
    root, metrics = run.root, run.root / "metrics"
    table, processed = root / "data/split.csv", root / "data/processed"
    data = read_run_pictures(table, processed, metrics / "data.json", {})
    judged = read_judged(metrics, root / "plots", root)
    found = advise(data, judged, doubted, epochs)
    return {one.what: f"{one.why} {one.command}".replace("\u00a0", " ") for one in found}


def test_advice_says_the_figures_of_the_run(tmp_path):
    run = SmallRun(tmp_path, counts=(6, 3, 5), wrong=3).write()
    found = advice_of(run, doubted=7, finetuned=2)
    assert found["Look at the suspects"].startswith("7 pictures have a reason")
    assert found["Collect more pictures"].startswith("cat has 6 training pictures, and 1 other")
    assert "1 test picture right" not in found["Fine-tuning is not told from the head"]
    assert "fine-tuned model 1:" in found["Fine-tuning is not told from the head"]
    assert found["Train longer"].endswith("dvc exp run -S finetune.epochs=4")
    assert "10 test pictures leave the accuracy open" in found["Test on more pictures"]
    assert "Let small classes weigh more" not in found
    assert "Count what is really there" not in found


def test_advice_keeps_still_where_figures_are_good(tmp_path):
    run = SmallRun(tmp_path, counts=(100, 3, 150), wrong=0).write()
    assert set(advice_of(run)) == {
        "Ask whether pretraining fits",  # 2 and 1 of 300 are wrong: no difference is told
        "Fine-tuning is not told from the head",
        "Do not take its probabilities at their word",  # all right, at 80 % on average
        "Compare backbones",
        "Ask what more pictures would bring",
        "Label what teaches most",
    }


def test_advice_on_what_is_in_the_data(tmp_path):
    """Four training pictures of five go, all of the rest are copies."""
    run = SmallRun(tmp_path, counts=(50, 3, 5)).write()
    table = tmp_path / "data/split.csv"
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    kept = [row for i, row in enumerate(rows) if row["path"][:9] != "dog/train" or i % 5 == 0]
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(kept)
    summary = json.loads((tmp_path / "metrics/data.json").read_text())
    (tmp_path / "metrics/data.json").write_text(json.dumps(summary | {"near_duplicates": 40}))
    found = advice_of(run)
    assert found["Let small classes weigh more"].startswith(
        "50 training pictures of cat, 10 of dog"
    )
    assert found["Count what is really there"].startswith("40 of 116 pictures (34 %) are copies")
    assert found["Collect more pictures"].startswith("dog has 10 training pictures")


def test_advice_on_pictures_learned_by_heart(tmp_path):
    run = SmallRun(tmp_path).write()
    logged = Path(tmp_path, "plots/finetune/plots/metrics/train/accuracy.tsv")
    logged.write_text("step\taccuracy\n0\t0.8\n1\t0.95\n2\t1\n")
    assert advice_of(run)["It learns its pictures by heart"].startswith(
        "In its kept epoch finetuned has 95.0 % of the training pictures right and 40.0 % of"
    )
