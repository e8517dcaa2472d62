"""The chosen model → models/export/, in the forms of other programs, each compared with Keras."""

import json
from pathlib import Path

from pawprint.core.files import atomic_directory, write_json
from pawprint.core.params import Params
from pawprint.core.stage import run_stage
from pawprint.datasets import read_labelled_images
from pawprint.networks.runtime import start_tensorflow


def main(params: Params) -> None:
    config, threads, batch_size = params.export, params.runtime.threads, params.evaluate.batch_size
    start_tensorflow(threads, 0)
    from pawprint.export import parity
    from pawprint.export.formats import SAVED_MODEL, choose_model, make_card, write_formats
    from pawprint.networks.model_files import load_model
    from pawprint.reporting.figures import render_parity

    metrics, processed = Path("metrics"), Path("data/processed")
    name = choose_model(config.model, metrics)
    source = Path(f"models/{name}.keras")
    evaluated = json.loads((metrics / "evaluate.json").read_text(encoding="utf-8"))[name]
    max_pixels = params.preprocess.max_pixels
    card = make_card(source, Path("data/split.csv"), max_pixels, params.augment, evaluated)
    train, test = (read_labelled_images(processed / split) for split in ("train", "test"))
    model = load_model(source)
    print(f"exporting {name}", flush=True)
    with atomic_directory(Path("models/export")) as out:
        write_formats(source, model, card, out, train.images, config)
        formats = parity.find_formats(out)
        found = {}
        # One network in memory at a time. TensorFlow keeps what it has had: it comes last
        for form in sorted(formats, key=lambda form: form == SAVED_MODEL):
            network = formats[form].open(out, threads)
            found[form] = parity.predict_all(network, test.images, batch_size, form)
            del network
        network = parity.keras_network(model)
        found[parity.KERAS] = parity.predict_all(network, test.images, batch_size, parity.KERAS)
        predictions = {form: found[form] for form in (parity.KERAS, *formats)}
        sizes = {parity.KERAS: source.stat().st_size}
        sizes |= {form: parity.size_bytes(out, entry) for form, entry in formats.items()}
        scores = parity.compare(predictions, test.labels, sizes, params.evaluate.confidence)
        scores[parity.OPENVINO]["evaluated_difference"] = parity.evaluated_difference(
            *(metrics / "evaluate/predictions.csv", name, predictions[parity.OPENVINO], test.labels)
        )
        parity.check_formats(predictions, scores, test.paths, config)
    write_json(metrics / "export.json", {"model": name, **scores})
    with atomic_directory(Path("plots/export")) as plots:
        differences = parity.largest_differences(predictions)
        render_parity(plots / "parity.png", differences, sizes, config.tolerance)
    print(f"\n{parity.table(scores)}")


if __name__ == "__main__":
    run_stage(main)
