"""Entry point: ``python -m studies --help``."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pawprint.runner.errors import ParamsError, PawprintError, describe_os_error
from pawprint.runner.files import atomic_write
from pawprint.runner.params import DataParams, Params
from pawprint.runner.params_file import load_params, parse_value
from pawprint.runner.processes import available_cores
from studies.study_file import SUFFIX, Row, Study, read_study

if TYPE_CHECKING:
    from studies.report import Report, Reported
    from studies.runs import Result

FOLDER = Path("studies")
OUT = FOLDER / "results"


def main(arguments: list[str]) -> int:
    """Run a study, or list them; a user's mistake is one line on standard error, exit code 2."""
    options = _parse(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if options.name is None:
            print(_list_studies())
            return 0
        params = load_params()
        study = read_study(_find_file(options.name), params, options.settings, options.rows)
        if options.list:
            print(_list_rows(study))
            return 0
        return _run(study, params, options.out)
    except PawprintError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # as by `| head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f"error: {describe_os_error(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        _say("interrupted: finished experiments are kept, and the same command goes on")
        return 130


def _run(study: Study, params: Params, out: Path) -> int:
    """Have all rows, then write the table and the picture; 1 if a row has no results."""
    from pawprint.storage.tables import write_json
    from studies.chart import render_chart
    from studies.report import as_values, render_report
    from studies.runs import run_study

    for row in study.left_out:
        _say(f"left out: {row.name}: {row.missing}; --rows {row.name!r} has it done")
    for row in study.rows:
        if row.missing:
            _say(f"{row.name}: {row.missing}")
    report = _report(study, params, run_study(study, _say))
    out.mkdir(parents=True, exist_ok=True)
    table, picture = out / f"{study.name}.md", out / f"{study.name}.png"
    text = render_report(report, picture.name)
    with atomic_write(table) as file:
        file.write(text.encode())
    write_json(table.with_suffix(".json"), as_values(report))
    render_chart(picture, report)
    print(f"{text}\nThe table: {table}, .json; the picture: {picture}")
    return 1 if report.failed else 0


def _report(study: Study, params: Params, results: Mapping[str, Result | PawprintError]) -> Report:
    from pawprint.choosing.pictures import group_pictures
    from pawprint.cli.compare import PLACES
    from pawprint.data.manifest import read_manifest
    from pawprint.runner.machine import describe_machine
    from studies.report import Report
    from studies.scores import judge

    failed: dict[str, str] = {}
    done: list[tuple[Row, list[Result]]] = []
    for row in study.rows:
        found = [results[run.experiment] for run in row.runs]
        if errors := [each for each in found if isinstance(each, PawprintError)]:
            failed[row.name] = str(errors[0])
        else:
            done.append((row, [each for each in found if not isinstance(each, PawprintError)]))
    if not done:
        raise PawprintError(f"no row has results; the first failed: {next(iter(failed.values()))}")
    manifest = read_manifest(Path(PLACES.manifest))
    judgement = judge(
        [[result.said for result in found] for _, found in done],
        group_pictures(manifest, params.split),
        params.evaluate.confidence,
    )
    return Report(
        study,
        f"{_name_data(params.data)}, {len(manifest):,} pictures",
        f"{describe_machine()['processor'].partition(',')[0]}, {available_cores()} cores",
        judgement,
        tuple(
            _reported(row, found, judged)
            for (row, found), judged in zip(done, judgement.rows, strict=True)
        ),
        failed,
        params.evaluate.confidence,
    )


def _reported(row: Row, results: list[Result], judged: Any) -> Reported:
    from studies.report import Reported
    from studies.runs import training_times

    return Reported(
        row,
        judged,
        tuple(result.val_log_loss for result in results),
        tuple(training_times(row, result) for result in results),
    )


def _name_data(data: DataParams) -> str:
    """How a reader knows the pictures, without where they are on this machine."""
    names = {
        "sample": f"drawn pictures (seed {data.sample_seed})",
        "kaggle": data.kaggle_dataset or data.kaggle_competition,
        "archive": Path(data.archive).name,
        "folder": Path(data.folder).name,
        "url": data.url.rpartition("/")[2],
    }
    return names[data.source]


def _find_file(name: str) -> Path:
    path = FOLDER / f"{name}{SUFFIX}"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in FOLDER.glob(f"*{SUFFIX}"))) or "none"
        raise ParamsError(f"no study {name!r} in {FOLDER}/; known: {known}")
    return path


def _list_studies() -> str:
    params = load_params()
    studies = [read_study(file, params, {}) for file in sorted(FOLDER.glob(f"*{SUFFIX}"))]
    return "\n".join(f"{study.name:<12}{study.about}" for study in studies)


def _list_rows(study: Study) -> str:
    lines = []
    for row in (*study.rows, *study.left_out):
        lines.append(f"{row.name}  ({row.model})" + (f"  {row.missing}" if row.missing else ""))
        lines += [
            f"    {run.experiment}: " + ", ".join(f"{k}={v}" for k, v in run.values.items())
            for run in row.runs
        ]
    return "\n".join(lines)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m studies",
        description="Run the rows of a study, each as DVC experiments in a clone of the project, "
        "and write one table: accuracy and log loss on the test pictures with intervals, "
        "McNemar's test against the first row, seconds, and a picture. What is done is not run "
        "again.",
        epilog="without NAME: lists the studies",
    )
    add = parser.add_argument
    add("name", nargs="?", metavar="NAME", help=f"of a file in {FOLDER}/, without {SUFFIX}")
    add(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="assignments",
        help="a key of params.yaml for all rows, as model.backbone=ResNet50; any number of times",
    )
    add("--rows", nargs="+", default=[], metavar="ROW", help="only these rows, by their names")
    add("--list", action="store_true", help="say what would run, and run nothing")
    add("--out", type=Path, default=OUT, metavar="DIR", help=f"for the results ({OUT})")
    options = parser.parse_args(arguments)
    options.settings = {}
    for text in options.assignments:
        key, equals, value = text.partition("=")
        if not equals:
            parser.error(f"--set: expected KEY=VALUE, as model.cut=input, found {text}")
        if key in options.settings:
            parser.error(f"--set: {key}: given twice; leave one away")
        try:
            options.settings[key] = parse_value(value)
        except PawprintError as error:
            parser.error(f"--set: {key}: {error}")
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
