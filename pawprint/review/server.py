"""``python -m pawprint review``: suspects in a page on this machine, decided by one key each."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

import uvicorn

from pawprint.data.suspects import Places, read_suspects
from pawprint.review.app import build_app
from pawprint.review.desk import Desk
from pawprint.runner.params_file import load_params
from pawprint.runner.stage import held_alone
from pawprint.serving.server import address, listen
from pawprint.serving.settings import whole

LOOPBACK = "127.0.0.1"
OPEN_REVIEW = Path(".resume/review")  # held by the one that is open
SHOWN = Places(
    suspects=Path("metrics/suspects.csv"),
    details=Path("metrics/suspects"),
    manifest=Path("data/split.csv"),
    archive=Path("data/raw/images.zip"),
)


def main(arguments: list[str], prog: str) -> int:
    """Show the page until Ctrl-C.

    Args:
        arguments: behind the command's name.
        prog: how the command was called, for its help.

    Raises:
        PawprintError: a table is missing, the decisions cannot be read, or the port is taken.
    """
    options = _parse(arguments, prog)
    params = load_params()
    suspects, decisions = read_suspects(SHOWN), Path(params.split.decisions)
    desk = Desk(decisions, suspects.class_names, options.who)
    decided = len(desk.read())  # refused now, not at the first key
    app = build_app(suspects, desk, SHOWN.archive, params.preprocess)
    with (
        held_alone(OPEN_REVIEW, "another review of this project is open; go on there, or end it"),
        listen(LOOPBACK, options.port) as listener,
    ):
        print(f"{len(suspects.suspects)} suspects, {decided} decisions in {decisions}")
        if suspects.unknown:
            print(
                f"warning: {suspects.unknown} rows of {SHOWN.suspects} are of pictures that "
                f"{SHOWN.manifest} does not have; run `dvc repro suspects`"
            )
        print(
            f"  {address(LOOPBACK, listener.getsockname()[1])}  the page; Ctrl-C ends it",
            flush=True,
        )
        config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False)
        # uvicorn raises the signal once more when it has finished, which would be a failure
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: sys.exit(0))
        try:
            uvicorn.Server(config).run([listener])
        finally:
            print(
                f"{len(desk.read())} decisions in {decisions}; `dvc repro` takes them over, "
                f"and `git add {decisions}` keeps them"
            )
    return 0


def _parse(arguments: list[str], prog: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Look at the suspects of metrics/suspects.csv, and decide: keep, relabel or "
        "drop. Each decision is written to the file split.decisions at once; the pictures are "
        "never changed.",
    )
    parser.add_argument(
        "--port",
        type=whole(0, 65535),
        default=8001,
        help="of the page, on this machine alone; 0: any",
    )
    parser.add_argument("--who", default="", help="your name, to stand beside your decisions")
    return parser.parse_args(arguments)
