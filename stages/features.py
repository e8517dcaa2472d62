"""Pixels → models/backbone.keras, data/features/: the frozen part of the network, once."""

from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

from pawprint.backbones import INPUT, block_end, build_backbone, check_cut, find_backbone
from pawprint.core.files import move_directory
from pawprint.core.params import Params
from pawprint.core.processes import worker_pool
from pawprint.core.stage import run_stage, unfinished_work
from pawprint.fingerprint import fingerprint
from pawprint.networks.runtime import start_engine
from pawprint.shards import ShardedArray


def main(params: Params) -> None:
    check_cut(find_backbone(params.model.backbone), params.model.cut)
    engine = start_engine(params.runtime.engine, params.runtime.threads, params.features.seed)
    on_gpu = engine == "tensorflow"  # one process has it all; cores work for themselves
    pool = ThreadPoolExecutor(1) if on_gpu else worker_pool("pawprint.features", "openvino")
    with pool as executor:
        run(params, executor)


def run(params: Params, executor: Executor) -> None:
    from pawprint.features import extract_features, plan_cut
    from pawprint.networks.architectures import add_pooling
    from pawprint.networks.model_files import ModelInfo, save_model

    splits = {name: Path("data/processed", name) for name in ("train", "val")}
    counts = {name: len(ShardedArray(path)) for name, path in splits.items()}
    size_px = ShardedArray(splits["train"]).shape[1]
    backbone, cut = find_backbone(params.model.backbone), params.model.cut
    network = build_backbone(backbone.name, size_px, params.model.weights_or_path)
    model = add_pooling(network, params.model.pooling)
    save_model(model, Path("models/backbone.keras"), ModelInfo([], size_px))

    layer = "" if cut == INPUT else block_end(backbone, model, cut)
    num_views = counts["train"] * params.features.views + counts["val"]
    plan, sentence = plan_cut(model, layer, num_views, params.features)
    print(sentence)
    out, key = Path("data/features"), fingerprint("features", params)
    with unfinished_work("features", key) as work:
        made, journal = work / "features", work / "journal"
        continued = journal.exists()
        seconds = extract_features(
            model, plan, splits, params.augment, params.features, made, executor, journal
        )
        for name in ("boundary", "pooled"):
            move_directory(made / name, out / name)
    kind = "pictures" if params.features.views == 1 else "views of pictures"
    rate = "" if continued else f" ({num_views / seconds:.1f} images/s)"
    print(f"features of {num_views} {kind} in {out}/{rate}")


if __name__ == "__main__":
    run_stage(main)
