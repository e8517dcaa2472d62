"""Runs of stages by DVC, on the cluster or not: what they made, their time and memory."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any

import yaml

from bench.measure import descendants
from bench.projects import Project, environment
from bench.scale.cluster import Cluster
from pawprint.runner.errors import PawprintError

SAMPLE_EVERY_S = 0.2
LOCAL: Mapping[str, Any] = {"compute.engine": "local"}


@dataclass(frozen=True)
class Run:
    """What a run left.

    Attributes:
        wall_s: of the whole command, DVC's start included.
        begun_s: from its start to that of the last stage.
        hashes: path of an output → its MD5, of a directory that of the list of its files' MD5.
        peak_mb: most memory of a stage and the processes that it started, in 10^6 bytes, without
            Ray's store of objects.
        sent_mb: what each node sent through its cable, in 10^6 bytes; the head first.
        text: what was printed.
    """

    wall_s: float
    begun_s: float
    hashes: Mapping[str, str]
    peak_mb: float
    text: str
    sent_mb: Sequence[float] = ()


@dataclass
class Harm:
    """Something that is done at a moment of the last stage, unless that has ended before.

    Attributes:
        moment_s: behind its start.
        act: what is done.
        done: whether it was.
    """

    moment_s: float
    act: Callable[[], None]
    done: bool = False

    def __call__(self, goes_on: Callable[[], bool]) -> None:
        end = time.monotonic() + self.moment_s
        while goes_on() and time.monotonic() < end:
            time.sleep(0.02)
        if goes_on():
            self.done = True
            self.act()

    def __str__(self) -> str:
        when = f"after {self.moment_s:.1f} s of features"
        return when if self.done else f"{when}: too late, it had ended"


@dataclass
class Driver:
    """Runs stages of a project again and again, here or on the cluster.

    Attributes:
        project: whose stages before these are done.
        stages: in their order.
        log: the file for what is printed.
    """

    project: Project
    stages: Sequence[str]
    log: Path
    settings: dict[str, Any] = field(default_factory=dict)

    def run_here(self) -> Run:
        """By the local engine."""
        return self._run(LOCAL, list, None)

    def run_on(self, cluster: Cluster, disturb: Harm | None = None) -> Run:
        """By the cluster.

        Args:
            cluster: whose head the driver runs beside.
            disturb: what is done to it meanwhile.
        """
        before = [cluster.count_sent(number) for number in cluster.nodes]
        values = {"compute.engine": "ray", "compute.address": cluster.address, **self.settings}
        run = self._run(values, lambda command: cluster.inside(1, command), disturb)
        numbers = cluster.nodes
        if len(numbers) != len(before):  # one is down
            return run
        after = [cluster.count_sent(number) for number in numbers]
        sent = [(a - b) / 1e6 for a, b in zip(after, before, strict=True)]
        return Run(run.wall_s, run.begun_s, run.hashes, run.peak_mb, run.text, sent)

    def _run(
        self,
        values: Mapping[str, Any],
        placed: Callable[[Sequence[str]], list[str]],
        disturb: Harm | None,
    ) -> Run:
        self.project.set_params(values)
        command = placed(["dvc", "repro", "--force", "--single-item", *self.stages])
        start = time.monotonic()
        with open(self.log, "wb") as output:
            process = subprocess.Popen(
                command,
                cwd=self.project.root,
                env=environment(self.project.home),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        watch = _Watch(process, self.log, f"Running stage '{self.stages[-1]}'", disturb)
        try:
            with watch:
                code = process.wait()
        finally:
            if process.poll() is None:
                _end(process)
        wall_s = time.monotonic() - start
        text = self.log.read_text(encoding="utf-8", errors="replace")
        if code:
            lines = [line for line in text.replace("\r", "\n").splitlines() if line.strip()]
            raise PawprintError(f"{' '.join(self.stages)}: {' | '.join(lines[-5:])[-800:]}")
        return Run(wall_s, watch.begun_s, self._read_hashes(), watch.peak_mb, text)

    def _read_hashes(self) -> dict[str, str]:
        lock = yaml.safe_load((self.project.root / "dvc.lock").read_text(encoding="utf-8"))
        return {
            out["path"]: out["md5"]
            for stage in self.stages
            for out in lock["stages"][stage].get("outs", [])
        }


class _Watch:
    """Samples the memory of the stages' own processes, and starts what disturbs them."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        log: Path,
        last: str,
        disturb: Harm | None,
    ) -> None:
        self.begun_s = self.peak_mb = 0.0
        self._process, self._log, self._last, self._disturb = process, log, last, disturb
        self._start, self._done = time.monotonic(), Event()
        self._thread = Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *exception: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        disturber: Thread | None = None
        while not self._done.wait(SAMPLE_EVERY_S):
            self.peak_mb = max(self.peak_mb, _driver_mb(self._process.pid))
            if not self.begun_s and self._last in self._log.read_text(errors="replace"):
                self.begun_s = time.monotonic() - self._start
                if self._disturb:
                    disturber = Thread(target=self._disturb, args=(self._goes_on,), daemon=True)
                    disturber.start()
        if disturber:
            disturber.join()

    def _goes_on(self) -> bool:
        return not self._done.is_set()


def _driver_mb(pid: int) -> float:
    """Private memory of a stage below a process, and of all below that, in 10^6 bytes."""
    for stage in filter(_is_stage, descendants(pid)):
        return sum(map(_private_mb, [stage, *descendants(stage)]))
    return 0.0


def _is_stage(pid: int) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return any(word.startswith(b"stages.") for word in words)


def _private_mb(pid: int) -> float:
    """Without what is shared through files of memory, as Ray's store of objects."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    kinds = ("RssAnon:", "RssFile:")
    return sum(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(kinds))


def _end(process: subprocess.Popen[bytes]) -> None:
    for pid in [*descendants(process.pid), process.pid]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
