"""Where the models look: fixed test pictures, and the worst errors of each → plots/gradcam/."""

import csv
from pathlib import Path

import numpy as np

from pawprint.core.files import atomic_directory
from pawprint.core.params import Params
from pawprint.core.stage import run_stage
from pawprint.datasets import read_class_names, read_labelled_images
from pawprint.networks.runtime import start_engine
from pawprint.selection import fixed_rows, worst_rows

MODELS = ("baseline", "head", "finetuned")


def main(params: Params) -> None:
    start_engine(params.runtime.engine, params.runtime.threads)
    from pawprint.classifier import Classifier
    from pawprint.overlays import render_overlay

    config = params.gradcam
    test = read_labelled_images(Path("data/processed/test"))
    class_names = read_class_names(Path("data/processed"))
    with open("metrics/evaluate/predictions.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))

    with atomic_directory(Path("plots/gradcam")) as out:
        for name in MODELS:
            fixed = [("fixed", i) for i in fixed_rows(rows, config.fixed)]
            chosen = [*fixed, *(("worst", i) for i in worst_rows(rows, name, config.worst))]
            if not chosen:
                continue
            pictures = test.images.gather([i for _, i in chosen])
            predicted = [rows[i][f"{name}_predicted"] for _, i in chosen]
            classes = np.array([class_names.index(class_name) for class_name in predicted])
            classifier = Classifier.open(Path(f"models/{name}.keras"))
            heatmaps = classifier.heatmaps(pictures, classes)
            count = {"fixed": 0, "worst": 0}
            for k, (kind, i) in enumerate(chosen):
                count[kind] += 1
                caption = (
                    f"{name}: {predicted[k]} {float(rows[i][f'{name}_probability']):.3f}, "
                    f"actual {rows[i]['actual']} | {rows[i]['path']}"
                )
                path = out / f"{name}_{kind}_{count[kind]:02d}.png"
                render_overlay(path, pictures[k], heatmaps[k], config.opacity, caption)
        overlays = len(list(out.glob("*.png")))
    print(f"{overlays} overlays in plots/gradcam/")


if __name__ == "__main__":
    run_stage(main)
