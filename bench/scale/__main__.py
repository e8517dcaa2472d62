"""What a cluster of three machines gives, on this one: Ray nodes in three network namespaces.

    make scale DATA=dogs-vs-cats.zip LARGE=more.zip KILLS=10

Runs stages preprocess and features of a temporary clone by the local engine, then on the cluster:
all nodes, each limited to its share of the cores; with a node killed (SIGKILL) at random moments;
with a node's cable pulled for 20 s; with one, two and three nodes. Every hash must be the local
run's. Of LARGE, it compares one node that has all cores with the local engine, and the memory of
the driver. Prints a table; the exit code is 1 if a row does not hold. Linux and root only; nothing
else should run.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from bench.projects import clone, count_images_per_s
from bench.scale.cluster import Cluster, why_impossible
from bench.scale.runs import Driver, Harm, Run
from pawprint.runner.errors import PawprintError
from pawprint.runner.processes import available_cores

SAMPLE = "sample"
STAGES = ("preprocess", "features")
NODES = 3
USED = 0.9  # of all cores, by three nodes; the driver has the rest
CUT_S = 20
# The bars: seconds and share that one node may take beyond the local time, and growth of memory
EXTRA_S, EXTRA_SHARE, GROWTH = 10.0, 0.15, 1.2
PARTS = ("same", "kills", "cut", "curve", "overhead", "memory")


@dataclass
class Row:
    """A line of the table.

    Attributes:
        holds: None: there is no bar.
    """

    what: str
    found: str
    holds: bool | None = None


@dataclass
class Scale:
    """The measurements, one method a part.

    Attributes:
        directory: for all that is made.
        options: of the command line.
        rows: of the table, as they come.
    """

    directory: Path
    options: argparse.Namespace
    rows: list[Row] = field(default_factory=list)

    def run(self) -> None:
        """All parts that were asked for."""
        parts = self.options.only
        if {"same", "kills", "cut", "curve"} & set(parts):
            driver = self._prepare("project", self.options.data)
            local = self._local(driver)
            if {"same", "kills", "cut"} & set(parts):
                with self._cluster(driver, NODES) as cluster:
                    calm = self._same(driver, cluster, local)
                    if "kills" in parts:
                        self._kills(driver, cluster, local, calm)
                    if "cut" in parts:
                        self._cut(driver, cluster, local, calm)
            if "curve" in parts:
                self._curve(driver, local)
        if {"overhead", "memory"} & set(parts):
            self._large(parts)

    def _local(self, driver: Driver) -> Run:
        run = driver.run_here()
        self._add("the local engine", f"{_tell(run)}, {available_cores()} cores")
        return run

    def _same(self, driver: Driver, cluster: Cluster, local: Run) -> Run:
        run = driver.run_on(cluster)
        wire = f"; sent by the nodes, MB: {', '.join(f'{mb:.0f}' for mb in run.sent_mb)}"
        self._add(f"{NODES} nodes", f"{_compare(run, local)}, {_tell(run)}{wire}", run, local)
        return run

    def _kills(self, driver: Driver, cluster: Cluster, local: Run, calm: Run) -> None:
        """A node dies so often; a moment at which the work had ended already does not count."""
        dice = random.Random(self.options.seed)
        done, span_s = 0, calm.wall_s - calm.begun_s
        for _ in range(2 * self.options.kills):
            if done == self.options.kills:
                return
            victim = dice.randint(2, NODES)
            harm = Harm(dice.random() * span_s, partial(cluster.kill, victim))
            run = self._harmed(f"node {victim} killed", driver, cluster, harm, local)
            if harm.done:
                done += 1
                cluster.start(victim)
            elif run:
                span_s = min(span_s, run.wall_s - run.begun_s)

    def _cut(self, driver: Driver, cluster: Cluster, local: Run, calm: Run) -> None:
        moment_s = random.Random(self.options.seed).uniform(0.2, 0.6) * (calm.wall_s - calm.begun_s)

        def pull() -> None:
            cluster.cut(NODES)
            time.sleep(CUT_S)
            cluster.mend(NODES)

        harm = Harm(moment_s, pull)
        what = f"cable of node {NODES} pulled for {CUT_S} s"
        self._harmed(what, driver, cluster, harm, local)

    def _harmed(
        self, what: str, driver: Driver, cluster: Cluster, harm: Harm, local: Run
    ) -> Run | None:
        try:
            run = driver.run_on(cluster, harm)
        except PawprintError as error:
            self._add_row(Row(f"{what} {harm}", f"the run failed: {error}", False))
            return None
        self._add(f"{what} {harm}", f"{_compare(run, local)}, {run.wall_s:.0f} s", run, local)
        return run

    def _curve(self, driver: Driver, local: Run) -> None:
        for count in range(1, NODES + 1):
            with self._cluster(driver, count) as cluster:
                run = driver.run_on(cluster)
            share = f"{USED * available_cores() / NODES:.2g} of a core each"
            self._add(f"curve: {count} nodes, {share}", _tell(run), run, local)

    def _large(self, parts: list[str]) -> None:
        if not self.options.large:
            self._add(", ".join({"overhead", "memory"} & set(parts)), "not measured: no --large")
            return
        large = self._prepare("large", self.options.large)
        if "overhead" in parts:
            local = self._local(large)
        with Cluster(self._place(), [large.project.root], cpus=available_cores()) as cluster:
            cluster.start(1)
            run = large.run_on(cluster)
            if "overhead" in parts:
                limit_s = local.wall_s * (1 + EXTRA_SHARE) + EXTRA_S
                found = f"{run.wall_s:.1f} s, local {local.wall_s:.1f}, limit {limit_s:.1f}"
                holds = run.wall_s <= limit_s and run.hashes == local.hashes
                self._add_row(Row("one node with all cores, large", found, holds))
            if "memory" in parts:
                small = self._prepare("small", self.options.data).run_on(cluster)
                ratio = run.peak_mb / small.peak_mb
                found = f"{run.peak_mb:.0f} MB, small {small.peak_mb:.0f}: {ratio:.2f} times"
                self._add_row(Row("memory of the driver, large", found, ratio <= GROWTH))

    def _prepare(self, name: str, data: str) -> Driver:
        """A clone in which all stages before these are done."""
        archive = None if data == SAMPLE else Path(data)
        values: dict[str, Any] = {}
        if archive is None:
            values = {"data.source": SAMPLE}
            if self.options.pictures:
                values["data.sample_images"] = self.options.pictures
        if archive is not None:
            if not archive.is_file():
                raise PawprintError(f"no file {data}; give a zip of pictures, or {SAMPLE}")
            archive = Path(shutil.copyfile(archive, self.directory / f"{name}.zip"))
        project = clone(self.directory / name, self.directory / f"{name}-home", archive, values)
        project.dvc("repro", "split")
        return Driver(project, STAGES, self.directory / f"{name}.log")

    @contextmanager
    def _cluster(self, driver: Driver, count: int) -> Iterator[Cluster]:
        share = USED * available_cores() / NODES
        with Cluster(self._place(), [driver.project.root], share=share) as cluster:
            for number in range(1, count + 1):
                cluster.start(number)
            yield cluster

    def _place(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.directory))

    def _add(self, what: str, found: str, run: Run | None = None, local: Run | None = None) -> None:
        holds = None if run is None or local is None else run.hashes == local.hashes
        self._add_row(Row(what, found, holds))

    def _add_row(self, row: Row) -> None:
        self.rows.append(row)
        print(f"{time.strftime('%H:%M:%S')} {row.what}: {row.found}", flush=True)


def _tell(run: Run) -> str:
    return f"{run.wall_s:.1f} s in all, features {count_images_per_s(run.text):.0f} images/s"


def _compare(run: Run, local: Run) -> str:
    equal = sum(run.hashes.get(path) == digest for path, digest in local.hashes.items())
    return f"{equal} of {len(local.hashes)} hashes equal"


def render(rows: list[Row]) -> str:
    """The table, in Markdown."""
    words = {None: "", True: "yes", False: "**no**"}
    lines = ["| what | found | holds |", "| --- | --- | --- |"]
    return "\n".join(lines + [f"| {row.what} | {row.found} | {words[row.holds]} |" for row in rows])


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.scale",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--data", default=SAMPLE, help="a zip of pictures, or sample: drawn ones (default)")
    add("--pictures", type=int, help="how many to draw for sample")
    add("--large", default="", help="a zip of more pictures; without it two rows are left out")
    add("--kills", type=int, default=10, help="how often a node is killed (%(default)s)")
    add("--seed", type=int, default=0, help="of the moments (%(default)s)")
    add("--only", default=",".join(PARTS), metavar="PART,...", help="some of: %(default)s")
    options = parser.parse_args()
    options.only = options.only.split(",")
    if unknown := [name for name in options.only if name not in PARTS]:
        parser.error(f"--only: no part {', '.join(unknown)}; known: {', '.join(PARTS)}")
    return options


def main() -> int:
    options = _parse()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if reason := why_impossible():
        print(f"error: {reason}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="paw") as directory:
        scale = Scale(Path(directory), options)
        try:
            scale.run()
        except PawprintError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        finally:
            print(f"\n{render(scale.rows)}")
    return 1 if any(row.holds is False for row in scale.rows) else 0


if __name__ == "__main__":
    sys.exit(main())
