"""The trained models on the same test pictures → metrics/scores/, reports and charts."""

from pathlib import Path

from pawprint.cluster.engine import on_cluster
from pawprint.data.datasets import read_class_names, read_labelled_images
from pawprint.data.manifest import leaked_pictures, read_manifest
from pawprint.networks.runtime import start_engine
from pawprint.registry.models import ENSEMBLE, TRAINED, find_best, made_models
from pawprint.runner.machine import name_maker
from pawprint.runner.params import Params
from pawprint.runner.stage import run_stage
from pawprint.storage.tables import read_json, write_json


def main(params: Params) -> None:
    start_engine(params.runtime.engine, params.runtime.threads)
    from pawprint.evaluation.judged import JudgedModel, write_judged
    from pawprint.evaluation.others import Squares, find_others
    from pawprint.evaluation.results import read_history, write_charts, write_figures, write_metrics
    from pawprint.evaluation.reviewed import place_classes
    from pawprint.inference.judging import Judge, judge_others
    from pawprint.networks.model_files import check_classes, open_model

    config, processed, metrics = params.evaluate, Path("data/processed"), Path("metrics")
    val, test = (read_labelled_images(processed, split) for split in ("val", "test"))
    class_names, models = read_class_names(processed), made_models(Path())
    losses = {m.name: read_json(Path(m.figures))["val_log_loss"] for m in models}
    of = params.preprocess.max_pixels, params.preprocess.max_value, params.preprocess.resize
    others = find_others(Path(config.others), Squares(test.images.shape[1], *of))
    said = {}
    for model in models:
        with open_model(Path(model.file)) as file:
            check_classes(file.path, file.info.class_names, class_names)
            judge = Judge(file.load(), config.tta, config.batch_size)
        said[model.name] = judge.judge_split(test, model.name)
        if model.name == find_best(losses):
            of_val = judge.judge_split(val, f"{model.name}, val")
            of_others = judge_others(judge.predictor, others.kinds, config.batch_size)
            best = JudgedModel(model.name, class_names, of_val, said[model.name], of_others)
    write_judged(metrics / "judged", said, best)
    probs = {name: judged.probs for name, judged in said.items()}
    bins, labels = config.calibration_bins, test.labels
    manifest = read_manifest(Path("data/split.csv"))
    leaked = leaked_pictures(manifest, "test", ("train", "val"))
    source = {picture.path: picture.source_class for picture in manifest}
    y_source = place_classes([source[path] for path in test.paths], class_names)
    remarks = read_json(Path(ENSEMBLE.figures)).get("remarks", [])
    table = write_metrics(
        metrics, test.paths, labels, probs, class_names, losses, config, leaked, remarks, y_source
    )
    write_charts(Path("plots/evaluate"), labels, probs, class_names, bins)
    results = [metrics / "scores", metrics / "evaluate", *(Path(m.file) for m in models)]
    record = metrics / "machine.json"
    write_json(record, name_maker(record, results))
    histories = {model.stage: read_history(Path("plots", model.stage)) for model in TRAINED}
    figures = Path("plots/figures")
    write_figures(figures, labels, probs, class_names, bins, histories)
    reports = f"per class, and wrong pictures: {metrics}/evaluate/report.md"
    known = {picture.sha256: picture.path for picture in manifest}
    for line in (*others.describe(), *others.describe_copies(known)):
        print(line)
    print(f"\n{table}\n\n{reports}; charts: {figures}/")


if __name__ == "__main__":
    run_stage(main, on_cluster)
