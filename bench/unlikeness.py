"""What it costs to tell unlikeness, and why the baseline does not tell it.

Run it from the project's root after `dvc repro`. Of each model on a backbone it prints the bytes
and the processor time of its OpenVINO graph, with and without the second output in turns. Of every
trained model it fits unlikeness anew on its last map, and prints which share of test pictures the
threshold rejects, and which share of pictures that a program drew it takes for its classes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from pawprint.data.datasets import LabelledImages, read_labelled_images
from pawprint.export.calibration import repeat_patch
from pawprint.inference.classifier import Classifier
from pawprint.networks.predictor import OpenVinoPredictor
from pawprint.networks.runtime import start_engine
from pawprint.registry.models import TRAINED
from pawprint.runner.errors import PawprintError
from pawprint.unlikeness.fit import find_threshold
from pawprint.unlikeness.likeness import fit_likeness, measure_unlikeness, sum_moments

PROCESSED = Path("data/processed")
REJECT = 0.01


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.unlikeness", description=__doc__)
    add = parser.add_argument
    add("--pictures", type=int, default=1500, help="of each split, at most (default: 1500)")
    add("--turns", type=int, default=400, help="of the processor time (default: 400)")
    return parser.parse_args()


def some(split: LabelledImages, count: int) -> np.ndarray:
    """Evenly spaced pictures of a split, uint8 [count at most, size, size, 3]."""
    rows = np.linspace(0, len(split) - 1, min(count, len(split))).round().astype(int)
    return split.images.gather(rows)


def draw(pictures: np.ndarray) -> dict[str, np.ndarray]:
    """Pictures of no class, uint8 [k, size, size, 3], by kind; patterns are made of pictures."""
    size, rng = pictures.shape[1], np.random.default_rng(0)
    colours = rng.integers(0, 256, (64, 1, 1, 3)).astype(np.uint8)
    return {
        "noise": rng.integers(0, 256, (64, size, size, 3)).astype(np.uint8),
        "patterns": np.concatenate([repeat_patch(picture[None]) for picture in pictures[:64]]),
        "one colour": np.broadcast_to(colours, (64, size, size, 3)).copy(),
    }


def see(classifier: Classifier, pictures: np.ndarray) -> np.ndarray:
    """The means of a model's last map, float32 [n, channels]."""
    parts = (pictures[start : start + 32] for start in range(0, len(pictures), 32))
    return np.concatenate([classifier.features(part)[1] for part in parts])


def describe_shares(name: str, classifier: Classifier, count: int) -> str:
    train, val, test = (
        some(read_labelled_images(PROCESSED, split), count) for split in ("train", "val", "test")
    )
    likeness = fit_likeness(sum_moments(see(classifier, train)))
    threshold = find_threshold(measure_unlikeness(likeness, see(classifier, val)), REJECT)

    def accepted(pictures: np.ndarray) -> float:
        return float((measure_unlikeness(likeness, see(classifier, pictures)) <= threshold).mean())

    shares = ", ".join(f"{100 * accepted(p):.0f} % of {kind}" for kind, p in draw(test).items())
    rejected = 100 * (1 - accepted(test))
    return f"{name}: rejects {rejected:.1f} % of test pictures; takes for its classes {shares}"


def describe_costs(path: Path, turns: int) -> str:
    import keras
    import openvino as ov

    from pawprint.networks.architectures import FEATURE_MAP
    from pawprint.networks.model_files import load_model
    from pawprint.networks.openvino_graph import build_graph

    model = load_model(path)
    if len(model.outputs) == 1:
        return f"{path.stem}: tells no unlikeness"
    feature_map = model.get_layer(FEATURE_MAP).output
    sizes, predictors = [], []
    with tempfile.TemporaryDirectory() as directory:
        for outputs in (model.outputs[:1], model.outputs):
            graph = build_graph(keras.Model(model.input, [*outputs, feature_map]), 1)
            file = Path(directory, "model.xml")
            ov.serialize(graph, file)
            sizes.append(file.stat().st_size + file.with_suffix(".bin").stat().st_size)
            predictors.append(OpenVinoPredictor(graph, "float32", 1))
    shape = (1, *model.input_shape[1:])
    picture = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    taken_s: list[list[float]] = [[], []]
    for turn in range(2 * turns):
        which = (turn + turn // 2) % 2  # each comes first in every second pair
        start_s = time.process_time()
        predictors[which](picture)
        taken_s[which].append(time.process_time() - start_s)
    without, told = (1000 * float(np.median(times[turns // 10 :])) for times in taken_s)
    return (
        f"{path.stem}: {sizes[1] / 1e6:.2f} MB, {100 * (sizes[1] / sizes[0] - 1):+.1f} %; "
        f"{told:.3f} ms of a processor for a picture, {100 * (told / without - 1):+.1f} %"
    )


def main() -> None:
    options = parse_options()
    start_engine("openvino", 1)
    print("what the second output costs, against the same model without it:")
    for model in TRAINED[1:]:
        print(describe_costs(Path(model.file), options.turns), flush=True)
    print(f"\nfitted anew on each model's last map, to reject {100 * REJECT:g} %:")
    for model in TRAINED:
        classifier = Classifier.open(Path(model.file), 1)
        print(describe_shares(model.name, classifier, options.pictures), flush=True)


if __name__ == "__main__":
    try:
        main()
    except PawprintError as error:
        sys.exit(f"error: {error}")
