"""The trained models on the same test pictures → metrics/scores/, reports and charts."""

from pathlib import Path

from pawprint.cluster.engine import on_cluster
from pawprint.data.datasets import read_class_names, read_labelled_images
from pawprint.data.manifest import leaked_pictures, read_manifest
from pawprint.networks.runtime import start_engine
from pawprint.registry.models import ENSEMBLE, TRAINED, made_models
from pawprint.runner.machine import name_maker
from pawprint.runner.params import Params
from pawprint.runner.stage import run_stage
from pawprint.storage.tables import read_json, write_json


def main(params: Params) -> None:
    start_engine(params.runtime.engine, params.runtime.threads)
    from pawprint.evaluation.results import read_history, write_charts, write_figures, write_metrics
    from pawprint.evaluation.reviewed import place_classes
    from pawprint.networks.model_files import check_classes, open_model
    from pawprint.networks.predictor import predict_model

    config, processed, metrics = params.evaluate, Path("data/processed"), Path("metrics")
    test, class_names = read_labelled_images(processed, "test"), read_class_names(processed)
    probs, models = {}, made_models(Path())
    for model in models:
        with open_model(Path(model.file)) as file:
            check_classes(file.path, file.info.class_names, class_names)
            network = file.load()
        probs[model.name] = predict_model(
            network, test.images, config.batch_size, config.tta, model.name
        )

    bins, labels = config.calibration_bins, test.labels
    manifest = read_manifest(Path("data/split.csv"))
    leaked = leaked_pictures(manifest, "test", ("train", "val"))
    source = {picture.path: picture.source_class for picture in manifest}
    y_source = place_classes([source[path] for path in test.paths], class_names)
    losses = {m.name: read_json(Path(m.figures))["val_log_loss"] for m in models}
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
    print(f"\n{table}\n\n{reports}; charts: {figures}/")


if __name__ == "__main__":
    run_stage(main, on_cluster)
