"""Trained models → models/ensemble/: one file, whose probabilities are a weighted mean of theirs.

With ``ensemble.picks: 0`` a note lies there instead, and the other stages know of no ensemble.
"""

from pathlib import Path

from pawprint.data.datasets import read_class_names, read_labelled_images
from pawprint.data.manifest import read_manifest
from pawprint.networks.runtime import start_engine
from pawprint.registry.models import ENSEMBLE, TRAINED
from pawprint.runner.files import atomic_directory
from pawprint.runner.params import Params
from pawprint.runner.stage import run_stage
from pawprint.storage.tables import write_json


def main(params: Params) -> None:
    config, processed, file = params.ensemble, Path("data/processed"), Path(ENSEMBLE.file)
    metrics, batch_size = Path("metrics/ensemble.json"), params.evaluate.batch_size
    if not config.picks:
        none = "ensemble.picks is 0: no ensemble is made"
        with atomic_directory(file.parent) as out:
            (out / "none.txt").write_text(f"{none}\n", "utf-8")  # DVC warns of an empty directory
        write_json(metrics, {})
        print(none)
        return
    start_engine(params.runtime.engine, params.runtime.threads)
    from pawprint.ensembles.build import build_ensemble, measure, run_candidates
    from pawprint.ensembles.library import find_candidates
    from pawprint.networks.model_files import ModelInfo, save_model

    class_names, val = read_class_names(processed), read_labelled_images(processed, "val")
    info = ModelInfo(class_names, val.images.shape[1], params.preprocess.resize)
    own = {model.name: Path(model.file) for model in TRAINED}
    pictures = read_manifest(Path("data/split.csv"))
    candidates, left_out = find_candidates(own, Path(config.files), pictures)
    for line in left_out:
        print(f"warning: {line}")
    others = len(candidates) - len(own)
    print(f"{len(own)} models of this run and {others} of {config.files}/ may join")
    judged = run_candidates(candidates, val.images, info, batch_size)
    of = val.labels, config.picks, info.image_size, params.unlikeness.reject
    ensemble = build_ensemble(candidates, judged, *of)
    with atomic_directory(file.parent) as out:
        save_model(ensemble.model, out / file.name, info)
        figures = measure(out / file.name, val.images, val.labels, batch_size)
    write_json(metrics, ensemble.summary | figures)
    print(ensemble.describe(figures, metrics))


if __name__ == "__main__":
    run_stage(main)
