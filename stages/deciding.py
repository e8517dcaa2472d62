"""What the best model may decide alone → metrics/deciding.json, and what its card says of it."""

from pathlib import Path

from pawprint.choosing.pictures import group_pictures
from pawprint.data.manifest import read_manifest
from pawprint.deciding.coverage import coverage_curve
from pawprint.deciding.outcome import judge
from pawprint.deciding.reading import read_judgements, read_others
from pawprint.deciding.words import say_coverage, say_others, say_rejection, say_sets
from pawprint.registry.models import MODELS, find_best
from pawprint.runner.files import atomic_directory
from pawprint.runner.params import Params
from pawprint.runner.stage import run_stage
from pawprint.storage.tables import read_json, write_json


def main(params: Params) -> None:
    processed, metrics, config = Path("data/processed"), Path("metrics"), params.deciding
    scores = {model.name: metrics / "scores" / f"{model.name}.json" for model in MODELS}
    made = {name: read_json(path) for name, path in scores.items() if path.is_file()}
    best = find_best({name: found["val_log_loss"] for name, found in made.items()})
    pictures = read_manifest(Path("data/split.csv"))
    group_of = group_pictures(pictures, params.split)
    judged, k = metrics / "judged", params.unlikeness.k
    probs, unlikeness = (
        judged / "validation/probabilities.npy",
        judged / "validation/unlikeness.npy",
    )
    val = read_judgements(processed, "val", probs, unlikeness, group_of, k)
    probs = metrics / "evaluate/probabilities" / f"{best}.npy"
    unlikeness = judged / "unlikeness" / f"{best}.npy"
    test = read_judgements(processed, "test", probs, unlikeness, group_of, k)
    others, confidence = read_others(judged / "others.csv"), params.evaluate.confidence
    found = judge(best, val, test, others, params.unlikeness.reject, config, confidence)

    write_json(metrics / "deciding.json", found.figures)
    with atomic_directory(metrics / "deciding") as out:
        write_json(out / "service.json", found.service)
        write_json(out / "curve.json", coverage_curve(test.sure, test.right, test.accepted))
    said = [say_coverage(found.figures), say_rejection(found.figures), say_sets(found.figures)]
    print("\n".join([best, *filter(None, said), *say_others(found.figures)]))


if __name__ == "__main__":
    run_stage(main)
