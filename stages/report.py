"""The whole run as one page, and the model's card → metrics/report.html, metrics/model_card.md."""

from pathlib import Path

from pawprint.data.decisions import read_decisions
from pawprint.data.suspects import list_suspects
from pawprint.deciding.results import read_findings
from pawprint.registry.models import ENSEMBLE
from pawprint.report.advice import advise
from pawprint.report.card import Made, describe_model
from pawprint.report.card_file import render_card_file
from pawprint.report.charts import draw_charts
from pawprint.report.contents import Doubts, Shown, fill_page
from pawprint.report.doubts import count_open, decision_values, show_suspects
from pawprint.report.errors import show_errors
from pawprint.report.others import show_others
from pawprint.report.page import render_report
from pawprint.report.pictures import PagePictures
from pawprint.report.run import read_judged, read_run_pictures
from pawprint.runner.files import atomic_write
from pawprint.runner.params import Params
from pawprint.runner.stage import run_stage
from pawprint.storage.tables import read_json


def main(params: Params) -> None:
    processed, metrics, plots = Path("data/processed"), Path("metrics"), Path("plots")
    manifest, config, decided_in = Path("data/split.csv"), params.report, params.split.decisions
    suspects = list_suspects(metrics / "suspects.csv", metrics / "suspects", manifest)
    decisions = read_decisions(suspects.class_names, Path(decided_in))
    data = read_run_pictures(manifest, processed, metrics / "data.json", decisions)
    judged = read_judged(metrics, plots, Path())

    pictures = PagePictures(processed)
    said, overlays = judged.predictions[judged.best], plots / "gradcam"
    errors = show_errors(said, judged.best, params.gradcam, overlays, config.wrong, pictures)
    shown_suspects, listed = show_suspects(suspects, config.suspects, pictures)
    decided = read_findings(metrics)
    others = show_others(decided.accepted, config.others, params.preprocess, pictures)
    bins = params.evaluate.calibration_bins
    charts = draw_charts(judged, data.class_names, bins, decided.curve)

    epochs = {
        "baseline": params.baseline.epochs,
        "head": params.head.epochs,
        "finetuned": params.finetune.epochs,
    }
    advice = advise(data, judged, count_open(suspects, decisions), epochs)
    sections = {
        "preprocess": params.preprocess,
        "augment": params.augment,
        "model": params.model,
        "features": params.features,
        "baseline": params.baseline,
        "head": params.head,
        "finetune": params.finetune,
        "ensemble": params.ensemble,
    }
    card = describe_model(
        data,
        judged,
        Made(params.model, read_json(Path("models/export/model.json")), sections),
        config,
        decided.figures,
    )

    values = decision_values(listed, suspects.class_names, decisions)
    doubts = Doubts(suspects, decisions, decided_in, values)
    shown = Shown(errors, shown_suspects, charts, pictures.full, others)
    remarks = read_json(Path(ENSEMBLE.figures)).get("remarks", [])
    page = fill_page(data, judged, doubts, shown, advice, card, config, remarks, decided)
    for path, text in {
        metrics / "report.html": render_report(page),
        metrics / "model_card.md": render_card_file(card),
    }.items():
        with atomic_write(path) as file:
            file.write(text.encode())
    print(f"the whole run in one page: {metrics}/report.html; the card: {metrics}/model_card.md")


if __name__ == "__main__":
    run_stage(main)
