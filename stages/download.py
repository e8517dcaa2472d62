"""The source named by data.source → data/raw/images.zip: one canonical archive of pictures."""

from pathlib import Path

from pawprint.runner.params import Params
from pawprint.runner.stage import run_stage
from pawprint.sources.fetch import fetch


def main(params: Params) -> None:
    print(fetch(params.data, Path("data/raw/images.zip"), Path("data/download")))


if __name__ == "__main__":
    run_stage(main)
