"""Pixels → models/backbone.keras, data/features/: the frozen part of the network, once."""

from pathlib import Path

from pawprint.backbones import INPUT, block_end, build_backbone, check_cut, find_backbone
from pawprint.datasets import read_labelled_images
from pawprint.params import Params
from pawprint.runtime import start_tensorflow
from pawprint.stage import run_stage


def main(params: Params) -> None:
    backbone = find_backbone(params.model.backbone)
    check_cut(backbone, params.model.cut)
    start_tensorflow(params.runtime.threads, params.features.seed)
    from pawprint.features import extract_features, plan_cut
    from pawprint.model_files import ModelInfo, save_model
    from pawprint.networks import add_pooling

    splits = {name: read_labelled_images(Path("data/processed", name)) for name in ("train", "val")}
    size_px = splits["train"].images.shape[1]
    network = build_backbone(backbone.name, size_px, params.model.weights)
    model = add_pooling(network, params.model.pooling)
    save_model(model, Path("models/backbone.keras"), ModelInfo([], size_px))

    cut = params.model.cut
    layer = "" if cut == INPUT else block_end(backbone, model, cut)
    num_views = len(splits["train"]) * params.features.views + len(splits["val"])
    plan, sentence = plan_cut(model, layer, num_views, params.features)
    print(sentence)
    out = Path("data/features")
    extract_features(model, plan, splits, params.augment, params.features, out)
    print(f"features of {num_views} pictures in {out}/")


if __name__ == "__main__":
    run_stage(main)
