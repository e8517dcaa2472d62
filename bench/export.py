"""Measures how fast the exported model is in each of its forms, on this machine.

Run it from the project's root after `dvc repro`. Every format runs on its own runtime with the
threads of runtime.threads; the formats take turns, several times. Writes export.json and prints it
as a table. Nothing else should run.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.measure import summarize
from bench.report import describe_machine
from pawprint.data.datasets import read_labelled_images
from pawprint.networks.runtime import start_tensorflow
from pawprint.runner.errors import PawprintError
from pawprint.runner.params_file import load_params
from pawprint.storage.tables import write_json

if TYPE_CHECKING:
    import keras

    from pawprint.networks.predictor import Predictor

EXPORTED = Path("models/export")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.export", description=__doc__)
    parser.add_argument("--pictures", type=int, default=256, help="in a throughput (default: 256)")
    parser.add_argument("--singles", type=int, default=50, help="in a latency (default: 50)")
    parser.add_argument("--repeats", type=int, default=5, help="of each (default: 5)")
    parser.add_argument(
        "--out", type=Path, default=Path("bench"), help="directory of the result (default: bench)"
    )
    options = parser.parse_args()
    if min(options.pictures, options.singles, options.repeats) < 1:
        parser.error("--pictures, --singles and --repeats must be at least 1")
    return options


def time_network(network: Any, images: np.ndarray, batch_size: int, singles: int) -> dict[str, Any]:
    """One repeat: median latency of single pictures, and throughput in batches.

    Args:
        network: uint8 [n, size, size, 3] → probabilities; it has run before.
        images: uint8 [n, size, size, 3].
        batch_size: of the throughput.
        singles: how many pictures are classified one by one.
    """
    latencies = []
    for i in range(singles):
        picture = images[i % len(images)][None]
        start = time.perf_counter()
        network(picture)
        latencies.append(time.perf_counter() - start)
    start = time.perf_counter()
    for i in range(0, len(images), batch_size):
        network(images[i : i + batch_size])
    took_s = time.perf_counter() - start
    return {"latency_ms": 1000 * median(latencies), "images_per_s": len(images) / took_s}


def keras_network(model: keras.Model, views: int) -> Predictor:
    """Keras' own forward pass; ``views`` as for ``average_views``."""
    from pawprint.networks.predictor import average_views

    def predict(images: np.ndarray) -> list[np.ndarray]:
        outputs = model.predict_on_batch(images.astype(np.float32))
        return outputs if isinstance(outputs, list) else [outputs]

    return average_views(predict, views)


def run_benchmark(options: argparse.Namespace) -> dict[str, Any]:
    params = load_params()
    threads, batch_size = params.runtime.threads, params.evaluate.batch_size
    start_tensorflow(threads, 0)
    from pawprint.export import parity
    from pawprint.inference.classifier import Classifier
    from pawprint.networks.model_files import load_model

    card = Classifier.open(EXPORTED).card
    model = load_model(Path(f"models/{card.name}.keras"))
    networks = {parity.KERAS: keras_network(model, card.tta)}
    formats = parity.find_formats(EXPORTED)
    networks |= {form: entry.open(EXPORTED, threads) for form, entry in formats.items()}
    test = read_labelled_images(Path("data/processed"), "test").images
    images = test.gather(np.arange(options.pictures) % len(test))
    for network in networks.values():  # once for each shape of a batch
        time_network(network, images, batch_size, singles=5)
    repeats: dict[str, list[dict[str, Any]]] = {form: [] for form in networks}
    for _ in range(options.repeats):
        for form, network in networks.items():
            repeats[form].append(time_network(network, images, batch_size, options.singles))
    return {
        "machine": describe_machine(),
        "model": card.name,
        "tta": card.tta,
        "image_size": images.shape[1],
        "threads": threads,
        "batch_size": batch_size,
        "formats": {
            form: {key: vars(summarize([run[key] for run in runs])) for key in runs[0]}
            for form, runs in repeats.items()
        },
    }


def render(result: dict[str, Any]) -> str:
    lines = ["| format | latency of one picture | pictures a second |", "| --- | --- | --- |"]
    for form, found in result["formats"].items():
        latency, speed = found["latency_ms"], found["images_per_s"]
        lines.append(
            f"| {form} | {latency['median']:.1f} ms "
            f"({latency['lowest']:.1f} to {latency['highest']:.1f}) | {speed['median']:.0f} "
            f"({speed['lowest']:.0f} to {speed['highest']:.0f}) |"
        )
    return "\n".join(lines)


def main() -> None:
    options = parse_options()
    try:
        result = run_benchmark(options)
    except (PawprintError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")
    write_json(options.out / "export.json", result)
    print(
        f"\n{result['model']}, {result['image_size']} px, {result['threads']} threads, batches of "
        f"{result['batch_size']}; median of {options.repeats} repeats (lowest to highest)\n\n"
        f"{render(result)}"
    )


if __name__ == "__main__":
    main()
