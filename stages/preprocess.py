"""The archive and its split → data/processed/: decoded pixels; undecodable pictures set aside."""

from pathlib import Path

from pawprint.cluster.engine import on_cluster
from pawprint.data.manifest import SPLITS, read_manifest
from pawprint.data.preprocess import preprocess_pictures
from pawprint.data.samples import write_samples
from pawprint.registry.backbones import choose_image_size, find_backbone
from pawprint.runner.class_counts import check_all_class_weights
from pawprint.runner.files import atomic_directory, move_directory
from pawprint.runner.params import Params
from pawprint.runner.stage import run_stage, unfinished_work
from pawprint.storage.tables import write_json
from pawprint.versions.rows import ROWS, open_rows


def main(params: Params) -> None:
    archive, out = Path("data/raw/images.zip"), Path("data/processed")
    pictures = read_manifest(Path("data/split.csv"))
    check_all_class_weights(params, sorted({picture.class_name for picture in pictures}))
    backbone = find_backbone(params.model.backbone)
    size_px = choose_image_size(backbone, params.preprocess.image_size)
    config = params.preprocess
    makes = {"size_px": size_px} | config.model_dump(exclude={"image_size", "max_bad"})
    arrays = {split: [out / split] for split in SPLITS}
    old = open_rows("preprocess", out / ROWS, makes, arrays, floats=False)
    with unfinished_work("preprocess", params) as work:
        made, journal = work / "processed", work / "journal"
        good = preprocess_pictures(archive, pictures, size_px, config, made, journal, old)
        move_directory(made, out)
    with atomic_directory(Path("data/samples")) as files:
        write_samples(archive, good, files)
    bad = len(pictures) - len(good)
    write_json(Path("metrics/preprocess.json"), {"quarantined": bad})
    print(f"{len(good)} pictures decoded into {out}/, {size_px} pixels wide and high")
    if bad:
        print(f"{bad} set aside: see {out}/quarantine.csv")


if __name__ == "__main__":
    run_stage(main, on_cluster)
