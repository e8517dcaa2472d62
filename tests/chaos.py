"""Stops `dvc repro` again and again at random moments, and compares what it leaves in the end.

    make chaos KILLS=30 SEED=0

A run starts from nothing. It is stopped, started again, stopped again, until one start comes to
the end; then its dvc.lock must hold the bytes of an undisturbed run's, no process may be left, and
no unfinished work. Every stage has its turn equally often, and DVC's own start: a run is left alone
until that stage begins, and stopped at a random moment of it. A stage that ends before its moment
has its turn again in a later run. Runs follow each other until there were enough stops.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread

import psutil  # type: ignore[import-untyped]
from project import Project, environment, make_project

from pawprint.versions.cache import FRESH

PARAMS = {
    "data.sample_images": 400,
    "preprocess.image_size": 96,
    "model.cut": "block6d",
    "features.views": 2,
    "baseline.image_size": 64,
    "baseline.filters": [8, 16],
    "baseline.epochs": 15,
    "head.epochs": 80,
    "head.batch_size": 16,
    "head.patience": 20,
    "head.schedule": "plateau",
    "finetune.epochs": 10,
    "finetune.accumulate": 2,
    "gradcam.fixed": 2,
    "gradcam.worst": 1,
}
STARTING = "(dvc)"  # before the first stage
WAYS = (
    ("SIGKILL to all", signal.SIGKILL, True),
    ("SIGKILL to dvc", signal.SIGKILL, False),
    ("SIGTERM to all", signal.SIGTERM, True),
    ("SIGTERM to dvc", signal.SIGTERM, False),
    ("SIGINT to all", signal.SIGINT, True),
)
TRUNCATED = 0.25  # share of the kills after which the newest unfinished file is cut short
DIES_WITHIN_S = 2.0
KILLS_PER_RUN = 10
ENOUGH = 3  # kills for each stage, on average, from which none may have been left out


class Repro:
    """`dvc repro` in a process group of its own."""

    def __init__(self, project: Project) -> None:
        self.begun = time.time()
        self.process = subprocess.Popen(
            ["dvc", "repro"],
            cwd=project.root,
            env=environment(project.home) | {FRESH: "1"},  # or DVC's cache would save the work
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self.stages: list[tuple[str, float]] = [(STARTING, self.begun)]  # name, start
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Repro:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nothing behind, even if this program is interrupted."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if found := re.match(r"Running stage '(\w+)':", line):
                self.stages.append((found[1], time.time()))
            self.lines.append(line.rstrip())

    def refused_its_lock(self) -> bool:
        """Whether DVC was killed before while it wrote its own lock file, which it then refuses."""
        return any("Unable to read RWLock-file" in line for line in self.lines)

    def wait(self, timeout_s: float) -> bool:
        """Whether it ended within this time."""
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def wait_for(self, stage: str, order: Sequence[str]) -> bool:
        """Wait until a stage has started; False if it ends, or a later one starts, before."""
        while (current := self.stages[-1][0]) != stage:
            if order.index(current) > order.index(stage) or self.wait(0.02):
                return False
        return True

    def kill(self, number: signal.Signals, everyone: bool) -> None:
        if everyone:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)

    def finish(self) -> None:
        self.wait(600)
        self._reader.join(DIES_WITHIN_S)

    def left_over(self) -> list[str]:
        """Commands of the group that still run a while after DVC has ended; they are killed."""
        deadline = time.time() + DIES_WITHIN_S
        while (alive := self._members()) and time.time() < deadline:
            time.sleep(0.05)
        commands = [" ".join(member.info["cmdline"] or [member.info["name"]]) for member in alive]
        for member in alive:
            member.kill()
        return commands

    def _members(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter(["cmdline", "name", "status"]):
            try:
                if os.getpgid(process.pid) == self.process.pid:
                    found.append(process)
            except OSError:
                continue
        return [p for p in found if p.info["status"] != psutil.STATUS_ZOMBIE]

    def durations(self) -> dict[str, float]:
        """Seconds from the start of each stage to that of the next."""
        ends = [start for _, start in self.stages[1:]] + [time.time()]
        return {name: end - start for (name, start), end in zip(self.stages, ends, strict=True)}


@dataclass
class Kill:
    """One row of the table."""

    stage: str
    start: float
    after_s: float
    way: str
    kept_s: float | None = None  # seconds of the stage until the newest of its unfinished files
    truncated: bool = False
    continued: str = ""

    def row(self, run: int, verdict: str) -> str:
        kept = "" if self.kept_s is None else f"{self.kept_s:.1f}"
        cut = "yes" if self.truncated else ""
        return (
            f"{run:>3}  {self.stage:<14}  {self.after_s:>5.1f}  {self.way:<14}  {cut:<9}  "
            f"{kept:>6}  {self.continued:<28}  {verdict}"
        )


HEADER = (
    f"{'run':>3}  {'stage':<14}  {'s':>5}  {'way':<14}  {'truncated':<9}  "
    f"{'s kept':>6}  {'continued':<28}  dvc.lock"
)


@dataclass
class Chaos:
    project: Project
    rng: random.Random
    expected: bytes
    durations: dict[str, float]
    turns: list[str]  # stages that are still to be hit, in any order
    hits: Counter[str] = field(default_factory=Counter)
    way: int = 0
    locks_deleted: int = 0

    def run(self, number: int) -> list[str]:
        """One run from nothing to the end, with stops; what was wrong."""
        clean(self.project)
        kills: list[Kill] = []
        faults: list[str] = []
        turns, self.turns = self.turns[:KILLS_PER_RUN], self.turns[KILLS_PER_RUN:]
        turns.sort(key=self.order.index)
        while True:
            with Repro(self.project) as repro:
                kill = self._kill(repro, turns)
                repro.finish()
            if kills:
                kills[-1].continued = continued(repro)
            faults += [f"left running: {command}" for command in repro.left_over()]
            if repro.refused_its_lock():  # what docs/reliability.md tells its readers to do
                (self.project.root / ".dvc/tmp/rwlock").unlink()
                self.locks_deleted += 1
                continue
            if kill is None:
                break
            kills.append(kill)
            if newest := newest_file(self.project.root / ".resume" / kill.stage):
                kill.kept_s = max(0.0, newest.stat().st_mtime - kill.start)
            kill.truncated = self._truncate()
        faults += self._compare(repro)
        verdict = "differs" if faults else "equal"
        for kill in kills:
            self.hits[kill.stage] += 1
            print(kill.row(number, verdict), flush=True)
        for fault in faults:
            print(f"     {fault}", flush=True)
        return [f"run {number}: {fault}" for fault in faults]

    @property
    def order(self) -> list[str]:
        return list(self.durations)

    def _kill(self, repro: Repro, turns: list[str]) -> Kill | None:
        """Stop it at a random moment of the next stage whose turn it is; None if it ends before."""
        while turns:
            turn = turns.pop(0)
            if repro.wait_for(turn, self.order):
                start = repro.stages[-1][1]
                moment = start + self.rng.random() * self.durations[turn]
                ended = repro.wait(max(0.0, moment - time.time()))
                if not ended and repro.stages[-1][0] == turn:
                    name, number, everyone = WAYS[self.way % len(WAYS)]
                    repro.kill(number, everyone)
                    self.way += 1
                    return Kill(turn, start, time.time() - start, name)
            self.turns.append(turn)
        return None

    def _truncate(self) -> bool:
        newest = newest_file(self.project.root / ".resume")
        if newest is None or self.rng.random() >= TRUNCATED:
            return False
        os.truncate(newest, self.rng.randrange(newest.stat().st_size or 1))
        return True

    def _compare(self, repro: Repro) -> list[str]:
        if repro.process.returncode:
            return ["dvc repro failed:", *repro.lines[-15:]]
        faults = []
        if (self.project.root / "dvc.lock").read_bytes() != self.expected:
            (self.project.root / "dvc.lock").rename(self.project.root / "dvc.lock.differs")
            faults.append("dvc.lock differs")
        if newest_file(self.project.root / ".resume"):
            faults.append("unfinished work is left in .resume")
        return faults


def deal(stages: list[str], kills: int, rng: random.Random) -> list[str]:
    """As many turns as kills, in random order, each stage's equally often but for the rest."""
    rounds = [rng.sample(stages, len(stages)) for _ in range(-(-kills // len(stages)))]
    turns = [stage for turns in rounds for stage in turns][:kills]
    return rng.sample(turns, kills)


def clean(project: Project) -> None:
    """Delete all that a run makes, DVC's cache included."""
    project.run("git", "clean", "-ffdxq")


def newest_file(directory: Path) -> Path | None:
    files = [path for path in directory.rglob("*") if path.is_file()]
    return max(files, key=lambda path: path.stat().st_mtime_ns, default=None)


def continued(repro: Repro) -> str:
    """What the first stage of a new start said about the work that it found."""
    said = [line for line in repro.lines if line.startswith("continuing")]
    return said[0].removeprefix("continuing").strip(": ") if said else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # a shell has what it starts in the background ignore Ctrl-C, which DVC would inherit
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as directory:
        project = make_project(Path(directory, "project"), Path(directory, "home"), PARAMS)
        with Repro(project) as first:
            first.finish()
        if first.process.returncode:
            sys.exit("\n".join(["the undisturbed run failed:", *first.lines[-15:]]))
        durations = first.durations()
        print("undisturbed:", ", ".join(f"{name} {s:.1f} s" for name, s in durations.items()))
        expected = (project.root / "dvc.lock").read_bytes()
        rng = random.Random(arguments.seed)
        turns = deal(list(durations), arguments.kills, rng)
        chaos = Chaos(project, rng, expected, durations, turns)
        print(HEADER, flush=True)
        faults: list[str] = []
        runs = 0
        while chaos.turns:
            runs += 1
            faults += chaos.run(runs)
    print("\nkills:", ", ".join(f"{name} {chaos.hits[name]}" for name in durations))
    stages = [name for name in durations if name != STARTING]
    if arguments.kills >= ENOUGH * len(stages):
        faults += [f"{name} was never hit" for name in stages if not chaos.hits[name]]
    print(f"lock files of DVC that were cut short, and deleted: {chaos.locks_deleted}")
    print("\n".join(faults) or f"{runs} runs, each as if undisturbed")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
