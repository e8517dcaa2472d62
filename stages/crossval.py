"""Cached features → metrics/crossval.json: the head, judged on pictures that it has not seen."""

from pathlib import Path

from pawprint.choosing.folds import assign_folds, find_scarce_classes, warn_of_scarce_classes
from pawprint.choosing.pictures import read_labelled_features
from pawprint.data.datasets import read_class_names
from pawprint.networks.runtime import start_tensorflow
from pawprint.runner.class_counts import check_all_class_weights
from pawprint.runner.params import Params
from pawprint.runner.stage import run_stage, unfinished_work


def main(params: Params) -> None:
    processed, metrics = Path("data/processed"), Path("metrics")
    pooled, manifest = Path("data/features/pooled"), Path("data/split.csv")
    check_all_class_weights(params, read_class_names(processed))
    pictures = read_labelled_features(processed, pooled, manifest, params.split)
    labels, groups, class_names = pictures.labels, pictures.groups, pictures.class_names
    folds = assign_folds(labels, groups, params.crossval, len(class_names))
    if scarce := find_scarce_classes(labels, groups, params.crossval.folds, class_names):
        print(warn_of_scarce_classes(scarce, params.crossval.folds), flush=True)
    start_tensorflow(params.runtime.threads, params.head.seed)
    from pawprint.choosing.crossval import cross_validate, write_crossval
    from pawprint.training.checkpoints import Checkpoints

    with unfinished_work("crossval", params) as work:
        table, epochs = cross_validate(pictures, folds, params.head, Checkpoints(work))
        confidence = params.evaluate.confidence
        print(write_crossval(metrics, table, epochs, pictures, confidence))


if __name__ == "__main__":
    run_stage(main)
