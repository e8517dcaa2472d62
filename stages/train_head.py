"""Cached features → models/head.keras: the backbone, frozen, with a head of its own."""

from pathlib import Path

import numpy as np

from pawprint.core.params import Params
from pawprint.core.stage import run_stage, unfinished_work
from pawprint.datasets import (
    plain_batches,
    read_class_names,
    read_labels,
    steps_per_epoch,
    training_batches,
)
from pawprint.fingerprint import fingerprint
from pawprint.networks.runtime import choose_strategy, start_tensorflow
from pawprint.shards import ShardedArray
from pawprint.training.checkpoints import Checkpoints


def main(params: Params) -> None:
    config, processed, pooled = params.head, Path("data/processed"), Path("data/features/pooled")
    start_tensorflow(params.runtime.threads, config.seed)
    from pawprint.networks.architectures import add_probs, build_head, chain, scale_logits
    from pawprint.networks.model_files import ModelInfo, load_model, read_model_info, save_model
    from pawprint.training.fit import Validation, train_model

    train, val = ShardedArray(pooled / "train"), ShardedArray(pooled / "val")
    labels = read_labels(processed / "train")
    class_names = read_class_names(processed)
    num_views, num_features = train.shape[1:]

    def gather(epoch: int, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        return (train.gather(rows)[:, epoch % num_views],)

    with unfinished_work("train_head", fingerprint("train_head", params)) as work:
        with choose_strategy().scope():
            head = build_head(config, num_features, len(class_names))
            temperature = train_model(
                head,
                training_batches(gather, labels, config, lambda features: features),
                steps_per_epoch(len(labels), config.batch_size),
                Validation(
                    plain_batches(val.gather, len(val), config.batch_size, lambda x: x[:, 0]),
                    read_labels(processed / "val"),
                ),
                config,
                "train_head",
                Checkpoints(work),
            )
        scale_logits(head, temperature)
        path = Path("models/backbone.keras")
        classifier = add_probs(chain(load_model(path), head, "classifier"))
        info = ModelInfo(class_names, read_model_info(path).image_size)
        save_model(classifier, Path("models/head.keras"), info)


if __name__ == "__main__":
    run_stage(main)
