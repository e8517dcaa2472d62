"""The chosen model → models/export/, in the forms of other programs, each compared with Keras."""

from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path

import numpy as np

from pawprint.data.datasets import read_labelled_images
from pawprint.evaluation.judged import read_unlikeness
from pawprint.evaluation.predictions import read_predictions
from pawprint.networks.runtime import start_tensorflow
from pawprint.registry.models import made_models
from pawprint.runner.files import atomic_directory
from pawprint.runner.params import Params
from pawprint.runner.processes import available_cores, worker_pool
from pawprint.runner.stage import run_stage
from pawprint.storage.tables import read_json, write_json


def main(params: Params) -> None:
    count = min(params.runtime.threads, available_cores())
    with worker_pool("export", "pawprint.export.parity", count=count) as workers:
        export(params, workers)


def export(params: Params, workers: Executor) -> None:
    config, threads, batch_size = params.export, params.runtime.threads, params.evaluate.batch_size
    start_tensorflow(threads, 0)
    from pawprint.export import parity, ratios
    from pawprint.export.formats import choose_model, make_card, write_formats
    from pawprint.export.parity_chart import render_parity
    from pawprint.networks.model_files import load_model

    metrics, processed, plots = Path("metrics"), Path("data/processed"), Path("plots/export")
    models = made_models(Path())
    losses = {m.name: read_json(Path(m.figures))["val_log_loss"] for m in models}
    name, rivals = choose_model(config.model, losses)
    source = next(Path(model.file) for model in models if model.name == name)
    judged = read_json(metrics / "evaluate/details.json")
    evaluated, tta = judged["models"][name]["metrics"], judged["tta"]
    data, model = Path("data/split.csv"), load_model(source)
    above = params.unlikeness.k if len(model.outputs) > 1 else None
    of = params.preprocess, params.augment, evaluated, rivals, tta, above
    card = make_card(source, data, *of)
    deciding = read_json(metrics / "deciding/service.json")
    if deciding["model"] == name:
        card = replace(card, deciding=deciding)
    else:  # the promise is of the best model, and export.model names another one
        print(f"the export of {name} does not say what it may decide alone: it is not the best")
    train, test = (read_labelled_images(processed, split) for split in ("train", "test"))
    paths = list(read_predictions(metrics / "evaluate/predictions.csv")[name])
    probabilities = np.load(metrics / "evaluate/probabilities" / f"{name}.npy")
    expected = [parity.find_evaluated(probabilities, paths, test.paths)]
    if above is not None:
        told = read_unlikeness(metrics / "judged/unlikeness.csv", name, test.paths)
        expected.append(told[:, None])
    mirrored = ", which averages a picture and its mirror image" if tta == 2 else ""
    print(f"exporting {name}{mirrored}", flush=True)
    with atomic_directory(Path("models/export")) as out:
        write_formats(source, model, card, out, train.images, config, workers)
        said = parity.predict_formats(out, test.images, workers, threads, batch_size)
        said = {parity.KERAS: expected, **said}
        probs = {form: outputs[0] for form, outputs in said.items()}
        sizes = parity.measure_formats(out, source)
        scores = parity.compare(probs, test.labels, sizes, params.evaluate.confidence)
        parity.check_formats(probs, scores, test.paths, config)
        if above is not None:
            found = {form: outputs[1].reshape(-1) for form, outputs in said.items()}
            ratios.add_scores(scores, found, above)
            ratios.check(found, scores, test.paths, config)
    write_json(metrics / "export.json", {"model": name, **scores})
    with atomic_directory(plots) as charts:
        differences = parity.largest_differences(probs)
        render_parity(charts / "parity.png", differences, sizes, config.tolerance)
    print(f"\n{parity.table(scores)}")
    if above is not None:
        print(f"\n{ratios.describe(scores)}")


if __name__ == "__main__":
    run_stage(main)
