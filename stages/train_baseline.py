"""Pixels → models/baseline.keras: a CNN trained from scratch, the score to beat."""

from pathlib import Path

from pawprint.data.datasets import read_class_names, read_labelled_images, steps_per_epoch
from pawprint.networks.runtime import choose_strategy, start_tensorflow
from pawprint.runner.class_counts import check_all_class_weights
from pawprint.runner.files import move_directory
from pawprint.runner.params import Params
from pawprint.runner.stage import run_stage, unfinished_work
from pawprint.storage.tables import write_json
from pawprint.training.checkpoints import Checkpoints
from pawprint.training.class_weights import weigh_classes


def main(params: Params) -> None:
    config, processed = params.baseline, Path("data/processed")
    check_all_class_weights(params, read_class_names(processed))
    start_tensorflow(params.runtime.threads, config.seed)
    from pawprint.baseline.quick_form import quick_form
    from pawprint.data.pixel_batches import pixel_batches, resize_once
    from pawprint.networks.architectures import add_probs, build_baseline, build_resizing, chain
    from pawprint.networks.model_files import ModelInfo, save_model
    from pawprint.training.fit import Validation, train_model

    train, val = (read_labelled_images(processed, name) for name in ("train", "val"))
    info = ModelInfo(read_class_names(processed), train.images.shape[1], params.preprocess.resize)
    weights = weigh_classes(config, "baseline", train.labels, info.class_names)
    resizing = build_resizing(info.image_size, config.image_size)
    with unfinished_work("train_baseline", params) as work:
        seen = resize_once(val.images, resizing, config.batch_size, work / "val")
        batches, inputs = pixel_batches(train, seen, params.augment, config, config.image_size)
        with choose_strategy().scope():
            trained = train_model(
                build_baseline(config, len(info.class_names)),
                batches,
                steps_per_epoch(len(train), config.batch_size),
                Validation(inputs, val.labels),
                config,
                Checkpoints(work),
                class_weights=weights,
                copy_to_train=quick_form,
            )
        model = add_probs(chain(resizing, trained.model, "baseline"))
        save_model(model, Path("models/baseline.keras"), info)
        move_directory(trained.curves, Path("plots/train_baseline"))
    metrics = Path("metrics/train_baseline.json")
    write_json(metrics, trained.summary)
    print(trained.describe(metrics))


if __name__ == "__main__":
    run_stage(main)
