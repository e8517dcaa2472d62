"""Measures what DVC itself costs a file: a folder of small files, and one archive of them.

    python -m bench.dvc_files [--counts 1000 10000 100000] [--bytes 1000]

Prints processor seconds of `dvc add`, of `dvc status` with nothing changed, of `dvc push` to a
directory and of `dvc checkout` of what was deleted, and the most memory that one of these took.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile

import numpy as np

from bench.measure import Usage
from bench.projects import Project

FILES_PER_FOLDER = 1000


def write_folder(folder: Path, count: int, length: int) -> None:
    """Files of random bytes, as many in a folder as a data set's classes might have."""
    rng = np.random.default_rng(0)
    for number in range(count):
        path = folder / f"{number // FILES_PER_FOLDER:04d}" / f"{number:08d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.bytes(length))


def write_archive(path: Path, count: int, length: int) -> None:
    """The same in one zip, not compressed."""
    rng = np.random.default_rng(0)
    with ZipFile(path, "w", ZIP_STORED) as archive:
        for number in range(count):
            name = f"{number // FILES_PER_FOLDER:04d}/{number:08d}.jpg"
            archive.writestr(name, rng.bytes(length))


def measure(write: Callable[[Path, int, int], None], count: int, length: int) -> list[Usage]:
    """`add`, `status`, `push` and `checkout` in a project of their own."""
    with tempfile.TemporaryDirectory(prefix="pawprint-") as directory:
        root, home = Path(directory, "project"), Path(directory, "home")
        root.mkdir()
        home.mkdir()
        write(root / "data", count, length)
        project = Project(root, home)
        project.run("git", "init", "--quiet")
        project.dvc("init", "--quiet")
        project.dvc("config", "cache.type", "hardlink,copy")
        project.dvc("remote", "add", "--default", "store", os.fspath(home / "store"))
        done = [project.dvc("add", "--quiet", "data"), project.dvc("status")]
        done.append(project.dvc("push", "--quiet"))
        data = root / "data"
        if data.is_dir():
            shutil.rmtree(data)
        else:
            data.unlink()
        done.append(project.dvc("checkout", "--quiet"))
    return done


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.dvc_files",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--bytes", type=int, default=1000, help="of each file (%(default)s)")
    options = parser.parse_args()
    print("CPU-s of:                add  status    push  checkout     MB")
    for count in options.counts:
        for kind, write in (("files", write_folder), ("archive", write_archive)):
            done = measure(write, count, options.bytes)
            seconds = " ".join(f"{usage.cpu_s:>7.1f}" for usage in done)
            peak_mb = max(usage.peak_mb for usage in done)
            print(f"{count:>9,} {kind:<10} {seconds} {peak_mb:>8.0f}", flush=True)


if __name__ == "__main__":
    main()
