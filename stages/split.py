"""data/raw/images.zip → data/split.csv: every picture gets its split, once."""

from pathlib import Path

from pawprint.files import write_json
from pawprint.manifest import (
    assign_splits,
    check_splits,
    read_archive_index,
    summarize,
    write_manifest,
)
from pawprint.params import Params
from pawprint.stage import run_stage


def main(params: Params) -> None:
    pictures = assign_splits(read_archive_index(Path("data/raw/images.zip")), params.split)
    check_splits(pictures)
    write_manifest(Path("data/split.csv"), pictures)
    summary = summarize(pictures)
    write_json(Path("metrics/data.json"), summary)
    print(", ".join(f"{count} {name}" for name, count in summary.items()))


if __name__ == "__main__":
    run_stage(main)
