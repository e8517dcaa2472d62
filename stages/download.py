"""The source named by data.source → data/raw/images.zip: one canonical archive of pictures."""

from pathlib import Path

from pawprint.params import Params
from pawprint.sources import fetch
from pawprint.stage import run_stage


def main(params: Params) -> None:
    print(fetch(params.data, Path("data/raw/images.zip")))


if __name__ == "__main__":
    run_stage(main)
