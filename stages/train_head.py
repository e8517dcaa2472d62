"""Cached features → models/head.keras: the backbone, frozen, with a head of its own."""

from dataclasses import replace
from pathlib import Path

from pawprint.data.datasets import (
    check_rows,
    feature_batches,
    read_class_names,
    steps_per_epoch,
)
from pawprint.data.labels import read_labels
from pawprint.networks.runtime import choose_strategy, start_tensorflow
from pawprint.runner.class_counts import check_all_class_weights
from pawprint.runner.files import move_directory
from pawprint.runner.params import Params
from pawprint.runner.stage import run_stage, unfinished_work
from pawprint.storage.shards import ShardedArray
from pawprint.storage.tables import write_json
from pawprint.training.checkpoints import Checkpoints
from pawprint.training.class_weights import weigh_classes


def main(params: Params) -> None:
    config, processed, pooled = params.head, Path("data/processed"), Path("data/features/pooled")
    check_all_class_weights(params, read_class_names(processed))
    start_tensorflow(params.runtime.threads, config.seed)
    from pawprint.networks.architectures import add_probs, build_head, chain
    from pawprint.networks.model_files import open_model, save_model
    from pawprint.training.fit import Validation, train_model
    from pawprint.unlikeness.features import read_means
    from pawprint.unlikeness.fit import fit_unlikeness
    from pawprint.unlikeness.network import add_unlikeness

    train, val = ShardedArray(pooled / "train"), ShardedArray(pooled / "val")
    labels, class_names = read_labels(processed, "train"), read_class_names(processed)
    check_rows(processed / "train", len(labels), train)
    weights = weigh_classes(config, "head", labels, class_names)
    batches, inputs = feature_batches(train, val, labels, config)
    with unfinished_work("train_head", params) as work:
        with choose_strategy().scope():
            trained = train_model(
                build_head(config, train.shape[-1], len(class_names)),
                batches,
                steps_per_epoch(len(labels), config.batch_size),
                Validation(inputs, read_labels(processed, "val")),
                config,
                Checkpoints(work),
                class_weights=weights,
            )
        with open_model(Path("models/backbone.keras")) as file:
            backbone, info = file.load(), replace(file.info, class_names=class_names)
        model = add_probs(chain(backbone, trained.model, "classifier"))
        if params.unlikeness.enabled:
            fitted = fit_unlikeness(
                read_means(backbone, train),
                read_means(backbone, val),
                params.unlikeness.rank,
                params.unlikeness.reject,
            )
            model = add_unlikeness(model, fitted)
        save_model(model, Path("models/head.keras"), info)
        move_directory(trained.curves, Path("plots/train_head"))
    metrics = Path("metrics/train_head.json")
    write_json(metrics, trained.summary)
    print(trained.describe(metrics))
    if params.unlikeness.enabled:
        print(fitted.describe(params.unlikeness.reject))


if __name__ == "__main__":
    run_stage(main)
