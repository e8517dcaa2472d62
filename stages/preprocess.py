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
    print(f"{summary['decoded']} pictures decoded into {out}/")
    if summary["quarantined"]:
        print(f"{summary['quarantined']} set aside: see {out}/quarantine.csv")


if __name__ == "__main__":
    run_stage(main)
