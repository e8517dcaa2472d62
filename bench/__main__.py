"""Measures Pawprint against the plain way, on this machine and the data you name.

The plain way is bench/plain.py. Both sides see the same pictures, weights and settings; they take
turns, several times. Pawprint runs as its users run it, by dvc repro, in temporary clones of this
repository as it stands. Writes results.json and results.md. Linux only; nothing else should run.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from bench.parts import PARTS, Sides, Workbench
from bench.projects import ROOT, clone
from bench.report import (
    check_bars,
    compute_ratios,
    describe_machine,
    render_markdown,
    summarize_repeats,
    to_json,
)
from pawprint.data.manifest import SPLITS, read_manifest
from pawprint.runner.errors import PawprintError
from pawprint.runner.files import atomic_write
from pawprint.storage.tables import write_json

SAMPLE = "sample"


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    short = [name for name, part in PARTS.items() if not part.long]
    long = [name for name, part in PARTS.items() if part.long]
    parser.add_argument(
        "--data", default=SAMPLE, help="a zip of pictures, or sample: drawn ones (default)"
    )
    parser.add_argument("--pictures", type=int, help="how many to draw for sample")
    parser.add_argument(
        "--only",
        default="",
        metavar="PART,...",
        help=f"some of: {', '.join(PARTS)} (default: {', '.join(short)})",
    )
    parser.add_argument(
        "--scaling", action="store_true", help=f"add {' and '.join(long)}, which take long"
    )
    parser.add_argument("--repeats", type=int, default=3, help="of each part (default: 3)")
    parser.add_argument(
        "--steps",
        type=int,
        default=20,
        help="batches of each kind to time the plain way on; 0: all, to the end (default: 20)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        type=parse_setting,
        metavar="KEY=VALUE",
        dest="settings",
        help="a key of params.yaml for both sides, as model.backbone=ResNet50; any number of times",
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / "bench", help="directory of the results (default: bench)"
    )
    parser.add_argument("--keep", action="store_true", help="keep the temporary directory")
    options = parser.parse_args()
    chosen = options.only.split(",") if options.only else short
    if options.scaling:
        chosen += [name for name in long if name not in chosen]
    if unknown := [name for name in chosen if name not in PARTS]:
        parser.error(f"--only: no part {', '.join(unknown)}; known: {', '.join(PARTS)}")
    if options.repeats < 1 or options.steps < 0:
        parser.error("--repeats must be at least 1, and --steps at least 0")
    options.chosen = [name for name in PARTS if name in chosen]
    return options


def parse_setting(text: str) -> tuple[str, Any]:
    """A key and its value.

    >>> parse_setting("head.lr=0.01")
    ('head.lr', 0.01)
    """
    key, equals, value = text.partition("=")
    if not equals or key.count(".") != 1:
        raise argparse.ArgumentTypeError(
            f"expected SECTION.KEY=VALUE, as model.cut=input, found {text}"
        )
    return key, yaml.safe_load(value)


def log(message: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {message}", flush=True)


def get_archive(options: argparse.Namespace, directory: Path) -> Path:
    """A copy of the zip that was named, or one of drawn pictures."""
    archive = directory / "pictures.zip"
    if options.data == SAMPLE:
        values = {**dict(options.settings), "data.source": SAMPLE}
        if options.pictures:
            values["data.sample_images"] = options.pictures
        log("drawing pictures")
        project = clone(directory / "drawing", directory / "home", None, values)
        project.python("stages.download")
        shutil.move(project.root / "data/raw/images.zip", archive)
    elif Path(options.data).is_file():
        shutil.copyfile(options.data, archive)
    else:
        raise PawprintError(f"--data: no file {options.data}; give a zip of pictures, or {SAMPLE}")
    return archive


def run_parts(
    bench: Workbench, chosen: list[str], repeats: int
) -> tuple[dict[str, list[Sides]], dict[str, str]]:
    """Run all parts in turn, several times; one that fails is not tried again.

    Returns:
        What was measured in each repeat by part, and the messages of those that failed.
    """
    measured: dict[str, list[Sides]] = {name: [] for name in chosen}
    failed: dict[str, str] = {}
    for repeat in range(repeats):
        for name in chosen:
            if name in failed or (PARTS[name].once and repeat):
                continue
            log(f"[{repeat + 1}/{repeats}] {name}")
            try:
                measured[name].append(PARTS[name].run(bench, repeat))
            except (PawprintError, OSError) as error:
                failed[name] = str(error)
                log(f"{name} failed: {error}")
    return {name: sides for name, sides in measured.items() if sides}, failed


def describe_data(bench: Workbench, name: str) -> dict[str, Any]:
    bench.prepare(bench.full(), "split")
    pictures = read_manifest(bench.full().root / "data/split.csv")
    splits = {split: sum(p.split == split for p in pictures) for split in SPLITS}
    return {"name": name, "pictures": len(pictures), "splits": splits}


def run_benchmark(options: argparse.Namespace, directory: Path) -> bool:
    """Measure, write the results and print them; whether every part went well."""
    archive, settings = get_archive(options, directory), dict(options.settings)
    bench = Workbench(directory, archive, options.steps, log, settings)
    data = describe_data(bench, Path(options.data).name)
    repeats, failed = run_parts(bench, options.chosen, options.repeats)
    measurements = {name: summarize_repeats(sides) for name, sides in repeats.items()}
    ratios = compute_ratios(measurements)
    results = {
        "machine": describe_machine(),
        "data": data,
        "settings": {
            "repeats": options.repeats,
            "steps": options.steps,
            "params": bench.full().params,
        },
        "measurements": to_json(measurements, options.steps),
        "ratios": ratios,
        "bars": check_bars(measurements, ratios),
        "failed": failed,
    }
    text = render_markdown(results, measurements)
    write_json(options.out / "results.json", results)
    with atomic_write(options.out / "results.md") as file:
        file.write(text.encode())
    print(f"\n{text}")
    return not failed


def main() -> None:
    options = parse_options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up then, too
    directory = Path(tempfile.mkdtemp(prefix="pawprint-bench-"))
    try:
        good = run_benchmark(options, directory)
    except PawprintError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("error: interrupted; nothing was written")
    finally:
        if options.keep:
            print(f"kept: {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)  # an ended stage may still be writing
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
