"""The archive and its split → data/processed/: decoded pixels; undecodable pictures set aside."""

from pathlib import Path

from pawprint.files import write_json
from pawprint.manifest import read_manifest
from pawprint.params import Params
from pawprint.preprocess import preprocess_pictures
from pawprint.stage import run_stage


def main(params: Params) -> None:
    out = Path("data/processed")
    pictures = read_manifest(Path("data/split.csv"))
    summary = preprocess_pictures(Path("data/raw/images.zip"), pictures, params.preprocess, out)
    write_json(Path("metrics/preprocess.json"), summary)
    bad = summary["quarantined"]
    print(f"{len(pictures) - bad} pictures decoded into {out}/")
    if bad:
        print(f"{bad} set aside: see {out}/quarantine.csv")


if __name__ == "__main__":
    run_stage(main)
