"""The archive and its split → data/processed/: decoded pixels; undecodable pictures set aside."""

from pathlib import Path

from pawprint.core.files import move_directory, write_json
from pawprint.core.params import Params
from pawprint.core.stage import run_stage, unfinished_work
from pawprint.fingerprint import fingerprint
from pawprint.manifest import read_manifest
from pawprint.preprocess import preprocess_pictures


def main(params: Params) -> None:
    out = Path("data/processed")
    pictures = read_manifest(Path("data/split.csv"))
    archive, key = Path("data/raw/images.zip"), fingerprint("preprocess", params)
    with unfinished_work("preprocess", key) as work:
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
