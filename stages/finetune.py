"""models/head.keras → models/finetuned.keras: the layers behind the cut, trained further."""

from pathlib import Path

from pawprint.data.datasets import read_labelled_images, steps_per_epoch
from pawprint.networks.model_files import read_model_info
from pawprint.networks.runtime import choose_strategy, start_tensorflow
from pawprint.runner.class_counts import check_all_class_weights
from pawprint.runner.files import move_directory
from pawprint.runner.params import Params
from pawprint.runner.stage import run_stage, unfinished_work
from pawprint.storage.tables import write_json
from pawprint.training.checkpoints import Checkpoints
from pawprint.training.class_weights import weigh_classes


def main(params: Params) -> None:
    config, processed, head = params.finetune, Path("data/processed"), Path("models/head.keras")
    info = read_model_info(head)
    check_all_class_weights(params, info.class_names)
    start_tensorflow(params.runtime.threads, config.seed)
    from pawprint.networks.architectures import add_probs, head_layers, without_probs
    from pawprint.networks.model_files import load_model, save_model
    from pawprint.training.fit import Validation, train_model
    from pawprint.transfer.cut import read_cut
    from pawprint.transfer.finetuning import FITTED, read_features, read_inputs, unfrozen_part
    from pawprint.unlikeness.fit import fit_unlikeness
    from pawprint.unlikeness.network import add_unlikeness

    boundary = Path("data/features/boundary")
    train, val = (read_labelled_images(processed, name) for name in ("train", "val"))
    cut = read_cut(boundary)
    weights = weigh_classes(config, "finetune", train.labels, info.class_names)
    with unfinished_work("finetune", params) as work:
        with choose_strategy().scope():
            model = without_probs(load_model(head))
            tail = unfrozen_part(model, cut, config.freeze_depthwise)
            batches, inputs = read_inputs(boundary, cut, train, val, params.augment, config)
            trained = train_model(
                tail,  # its layers are those of the model
                batches,
                steps_per_epoch(len(train), config.batch_size),
                Validation(inputs, val.labels),
                config,
                Checkpoints(work),
                factors=dict.fromkeys(head_layers(tail), config.head_lr / config.lr),
                clip_norm=config.clip_norm,
                blend=config.blend,
                class_weights=weights,
            )
        classifier = add_probs(model)
        if params.unlikeness.enabled:
            fitted = fit_unlikeness(
                read_features(boundary, cut, model, train, "train", FITTED),
                read_features(boundary, cut, model, val, "val"),
                params.unlikeness.rank,
                params.unlikeness.reject,
            )
            classifier = add_unlikeness(classifier, fitted)
        save_model(classifier, Path("models/finetuned.keras"), info)
        move_directory(trained.curves, Path("plots/finetune"))
    metrics = Path("metrics/finetune.json")
    write_json(metrics, trained.summary)
    print(trained.describe(metrics))
    if params.unlikeness.enabled:
        print(fitted.describe(params.unlikeness.reject))


if __name__ == "__main__":
    run_stage(main)
