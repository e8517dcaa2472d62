"""The archive and its split → data/processed/: decoded pixels; undecodable pictures set aside."""

from pathlib import Path

from pawprint.data.manifest import read_manifest
from pawprint.data.preprocess import preprocess_pictures
from pawprint.runner.files import move_directory
from pawprint.runner.params import Params
from pawprint.runner.stage import run_stage, unfinished_work
from pawprint.storage.tables import write_json


def main(params: Params) -> None:
    out = Path("data/processed")
    pictures = read_manifest(Path("data/split.csv"))
    archive = Path("data/raw/images.zip")
    with unfinished_work("preprocess", params) as work:
        made, journal = work / "processed", work / "journal"
        summary = preprocess_pictures(archive, pictures, params.preprocess, made, journal)
        move_directory(made, out)
    write_json(Path("metrics/preprocess.json"), summary)
    bad = summary["quarantined"]
    print(f"{len(pictures) - bad} pictures decoded into {out}/")
    if bad:
        print(f"{bad} set aside: see {out}/quarantine.csv")


if __name__ == "__main__":
    run_stage(main)
