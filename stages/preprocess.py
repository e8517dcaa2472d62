"""The archive and its split → data/processed/: decoded pixels; undecodable pictures set aside."""

import json
from pathlib import Path

from pawprint.manifest import read_manifest
from pawprint.params import Params
from pawprint.preprocess import preprocess_pictures
from pawprint.stage import run_stage


def main(params: Params) -> None:
    out = Path("data/processed")
    pictures = read_manifest(Path("data/split.csv"))
    summary = preprocess_pictures(Path("data/raw/images.zip"), pictures, params.preprocess, out)
    Path("metrics/preprocess.json").write_text(json.dumps(summary, indent=2) + "\n")
    print(f"{summary['decoded']} pictures decoded into {out}/")
    if summary["quarantined"]:
        print(f"{summary['quarantined']} set aside: see {out}/quarantine.csv")


if __name__ == "__main__":
    run_stage(main)
