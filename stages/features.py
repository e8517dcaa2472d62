"""Pixels → models/backbone.keras, data/features/: the frozen part of the network, once."""

from pathlib import Path

from pawprint.networks.runtime import start_engine
from pawprint.runner.class_counts import check_all_class_weights
from pawprint.runner.files import move_directory
from pawprint.runner.params import Params
from pawprint.runner.stage import run_stage, unfinished_work
from pawprint.storage.shards import ShardedArray
from pawprint.storage.tables import read_csv


def main(params: Params) -> None:
    splits = {name: Path("data/processed", name) for name in ("train", "val")}
    trained = {row["class"] for row in read_csv(splits["train"] / "index.csv")}  # all classes
    check_all_class_weights(params, sorted(trained))
    engine = start_engine(params.runtime.engine, params.runtime.threads, params.features.seed)
    from pawprint.backbones.build import build_backbone, chosen_weights
    from pawprint.networks.architectures import add_pooling
    from pawprint.networks.model_files import ModelInfo, save_model
    from pawprint.transfer.features import (
        count_views,
        extract_features,
        find_layer,
        plan_cut,
        start_workers,
    )

    out = Path("data/features")
    with start_workers(engine) as workers:
        size_px = ShardedArray(splits["train"]).shape[1]
        network = build_backbone(params.model.backbone, size_px, chosen_weights(params.model))
        model = add_pooling(network, params.model.pooling)
        info = ModelInfo([], size_px, params.preprocess.resize)
        save_model(model, Path("models/backbone.keras"), info)
        layer, num_views = find_layer(model, params.model), count_views(splits, params.features)
        cut, sentence = plan_cut(model, layer, num_views, params.features)
        print(sentence)
        with unfinished_work("features", params) as work:
            made, journal = work / "features", work / "journal"
            extraction = extract_features(
                model, cut, splits, params.augment, params.features, made, workers, journal
            )
            for name in ("boundary", "pooled"):
                move_directory(made / name, out / name)
    print(extraction.describe(out))


if __name__ == "__main__":
    run_stage(main)
