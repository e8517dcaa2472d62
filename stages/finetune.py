"""models/head.keras → models/finetuned.keras: the layers behind the cut, trained further."""

from pathlib import Path

from pawprint.core.params import Params
from pawprint.core.stage import run_stage, unfinished_work
from pawprint.datasets import read_labelled_images, steps_per_epoch
from pawprint.fingerprint import fingerprint
from pawprint.networks.runtime import choose_strategy, start_tensorflow
from pawprint.training.checkpoints import Checkpoints


def main(params: Params) -> None:
    config, processed = params.finetune, Path("data/processed")
    start_tensorflow(params.runtime.threads, config.seed)
    from pawprint.features import read_cut
    from pawprint.finetuning import read_inputs, unfrozen_part
    from pawprint.networks.architectures import LOGITS, add_probs, scale_logits, without_probs
    from pawprint.networks.model_files import load_model, read_model_info, save_model
    from pawprint.training.fit import Validation, train_model

    head_path, boundary = Path("models/head.keras"), Path("data/features/boundary")
    train, val = (read_labelled_images(processed / name) for name in ("train", "val"))
    cut = read_cut(boundary)
    with unfinished_work("finetune", fingerprint("finetune", params)) as work:
        with choose_strategy().scope():
            model = without_probs(load_model(head_path))
            tail = unfrozen_part(model, cut, config.freeze_depthwise)
            batches, inputs = read_inputs(boundary, cut, train, val, params.augment, config)
            head_layers = {layer.name for layer in tail.layers if layer.name.startswith("head")}
            head_layers.add(LOGITS)
            temperature = train_model(
                tail,
                batches,
                steps_per_epoch(len(train), config.batch_size),
                Validation(inputs, val.labels),
                config,
                "finetune",
                Checkpoints(work),
                multiplier=lambda path: (
                    config.head_lr / config.lr if path.split("/")[0] in head_layers else 1.0
                ),
                clip_norm=config.clip_norm,
                blend=config.blend,
            )
        scale_logits(model, temperature)
        save_model(add_probs(model), Path("models/finetuned.keras"), read_model_info(head_path))


if __name__ == "__main__":
    run_stage(main)
