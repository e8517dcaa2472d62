"""Entry point: ``python -m verify --help``."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from pawprint.runner.errors import PawprintError
from pawprint.runner.machine import describe_machine
from verify.clones import read_commit, run_in_clone
from verify.compare import compare, explain, explain_machine, render_table


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m verify",
        description="Run the committed pipeline in a clone of its own, under another path, locale, "
        "time zone, umask, hash seed, home and settings of Keras, and compare every hash with "
        "those of the committed dvc.lock; with other data or parameters, with a first run's.",
    )
    parser.add_argument("--data", metavar="ZIP", default="sample", help="pictures of a zip")
    parser.add_argument(
        "-S", dest="params", metavar="KEY=VALUE", action="append", default=[], help="a parameter"
    )
    options = parser.parse_args(arguments)
    params = list(options.params)
    if options.data != "sample":
        params += ["data.source=archive", f"data.archive={Path(options.data).resolve()}"]
    try:
        return verify(Path.cwd(), params)
    except PawprintError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def verify(project: Path, params: list[str]) -> int:
    """Compare two runs, and print what is equal; 1 if something is not."""
    with tempfile.TemporaryDirectory(prefix="verify ") as directory:
        first = read_commit(project)
        if params:
            first = run_in_clone(project, Path(directory, "first"), params, otherwise=False)
        elsewhere = Path(directory, "some way off")
        elsewhere.mkdir()
        second = run_in_clone(project, elsewhere / "second", params, otherwise=True)
    rows = compare(first.stages, second.stages)
    print(f"\n{render_table(rows)}")
    if all(row.equal for row in rows):
        return 0
    machine = explain_machine(first.machine, describe_machine())
    print("\n".join(["", *explain(first.stages, second.stages), "", "first / second machine:"]))
    print("\n".join(machine))
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
