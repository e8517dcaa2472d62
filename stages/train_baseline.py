"""Pixels → models/baseline.keras: a CNN trained from scratch, the score to beat."""

from pathlib import Path

import numpy as np

from pawprint.augment import apply_transforms, draw_transforms
from pawprint.core.params import Params
from pawprint.core.stage import run_stage, unfinished_work
from pawprint.datasets import (
    plain_batches,
    read_class_names,
    read_labelled_images,
    steps_per_epoch,
    training_batches,
)
from pawprint.fingerprint import fingerprint
from pawprint.networks.runtime import choose_strategy, start_tensorflow
from pawprint.training.checkpoints import Checkpoints


def main(params: Params) -> None:
    start_tensorflow(params.runtime.threads, params.baseline.seed)
    from pawprint.networks.architectures import (
        add_probs,
        build_baseline,
        build_resizing,
        chain,
        scale_logits,
    )
    from pawprint.networks.model_files import ModelInfo, save_model
    from pawprint.training.fit import Validation, train_model

    config, processed = params.baseline, Path("data/processed")
    train, val = (read_labelled_images(processed / name) for name in ("train", "val"))
    class_names = read_class_names(processed)
    size_px = train.images.shape[1]
    resizing = build_resizing(size_px, config.image_size)

    def gather(epoch: int, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        table = draw_transforms(params.augment, len(train), size_px, config.seed, epoch)
        return (apply_transforms(train.images.gather(rows), table[rows]),)

    with unfinished_work("train_baseline", fingerprint("train_baseline", params)) as work:
        with choose_strategy().scope():
            model = build_baseline(config, len(class_names))
            temperature = train_model(
                model,
                training_batches(gather, train.labels, config, resizing),
                steps_per_epoch(len(train), config.batch_size),
                Validation(
                    plain_batches(val.images.gather, len(val), config.batch_size, resizing),
                    val.labels,
                ),
                config,
                "train_baseline",
                Checkpoints(work),
            )
        scale_logits(model, temperature)
        whole = add_probs(chain(resizing, model, "baseline"))
        save_model(whole, Path("models/baseline.keras"), ModelInfo(class_names, size_px))


if __name__ == "__main__":
    run_stage(main)
