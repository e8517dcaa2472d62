"""What the best model may decide alone → metrics/deciding.json, and what its card says of it."""

from pathlib import Path

from pawprint.choosing.pictures import group_pictures
from pawprint.data.manifest import read_manifest
from pawprint.deciding.others import group_unlikeness
from pawprint.deciding.outcome import Judgements, judge
from pawprint.deciding.reading import JudgedFiles
from pawprint.deciding.results import write_findings
from pawprint.deciding.words import say_all
from pawprint.registry.models import MODELS, find_best
from pawprint.runner.params import Params
from pawprint.runner.stage import run_stage
from pawprint.storage.tables import read_json


def read_run(params: Params) -> tuple[JudgedFiles, str, Judgements, Judgements]:
    """Files of a run, the name of its best model, and what that says of val and of test."""
    metrics, processed, k = Path("metrics"), Path("data/processed"), params.unlikeness.k
    scores = {model.name: metrics / "scores" / f"{model.name}.json" for model in MODELS}
    made = {name: read_json(path) for name, path in scores.items() if path.is_file()}
    best = find_best({name: found["val_log_loss"] for name, found in made.items()})
    group_of = group_pictures(read_manifest(Path("data/split.csv")), params.split)
    files = JudgedFiles(processed, metrics / "evaluate", metrics / "judged", k, group_of)
    val = files.read_validation()
    return files, best, val, files.read_test(best, val.unlikeness is not None)


def main(params: Params) -> None:
    metrics, config, confidence = Path("metrics"), params.deciding, params.evaluate.confidence
    files, best, val, test = read_run(params)
    others, wanted = files.read_others(), params.unlikeness.reject
    found = judge(best, val, test, group_unlikeness(others), wanted, config, confidence)
    write_findings(metrics, found, test, others)
    print("\n".join(say_all(found.figures)))


if __name__ == "__main__":
    run_stage(main)
