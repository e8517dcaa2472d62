"""Pixels → models/backbone.keras, data/features/: the frozen part of the network, once."""

from pathlib import Path

from pawprint.cluster.engine import on_cluster
from pawprint.networks.runtime import start_engine
from pawprint.runner.class_counts import check_all_class_weights
from pawprint.runner.files import move_directory
from pawprint.runner.params import Params
from pawprint.runner.stage import run_stage, unfinished_work
from pawprint.storage.shards import ShardedArray
from pawprint.storage.tables import read_json
from pawprint.versions.rows import ROWS, OldRows, open_rows


def main(params: Params) -> None:
    processed = Path("data/processed")
    splits = {name: processed / name for name in ("train", "val")}
    check_all_class_weights(params, read_json(processed / "classes.json"))
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

    def find_old(network: str) -> OldRows:
        """Of an earlier version, if pictures have the same features whatever their batch is."""
        if engine != "openvino":
            return OldRows()
        kept = ("boundary", "pooled") if cut.cached else ("pooled",)
        arrays = {split: [out / name / split for name in kept] for split in splits}
        settings = {"network": network, "precision": params.features.precision}
        return open_rows("features", out / ROWS, settings, arrays, floats=True)

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
                model,
                cut,
                splits,
                params.augment,
                params.features,
                made,
                workers,
                journal,
                find_old,
            )
            for name in ("boundary", "pooled", ROWS):
                move_directory(made / name, out / name)
    print(extraction.describe(out))


if __name__ == "__main__":
    run_stage(main, on_cluster)
