"""A Ray node for tests, and what its processes do there: they import this module, too."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pawprint.runner.errors import DataError
from pawprint.runner.journal import ShardTask, Tool
from pawprint.runner.processes import contained, worker_pool

TESTS = Path(__file__).parent


@dataclass(frozen=True)
class RayNode:
    """A cluster of one node: its address, and the process that ends with all of it."""

    address: str
    process: subprocess.Popen[bytes]

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(60)


@contextmanager
def ray_node(cpus: int) -> Iterator[RayNode]:
    """A node that ends with the block."""
    with tempfile.TemporaryDirectory(prefix="paw") as directory:  # sockets want a short path
        port, client_port = _free_ports(2)
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
        command += [f"--port={port}", f"--ray-client-server-port={client_port}"]
        command += [f"--num-cpus={cpus}", f"--temp-dir={directory}"]
        command += ["--include-dashboard=false", "--disable-usage-stats"]
        command += ["--object-store-memory=100000000"]
        environment = os.environ | {"PYTHONPATH": str(TESTS), "RAY_USAGE_STATS_ENABLED": "0"}
        with open(Path(directory, "log"), "w+b") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
            node = RayNode(f"127.0.0.1:{port}", process)
            try:
                _await(Path(directory, "log"), b"Ray runtime started", process)
                yield node
            finally:
                node.end()


def _await(log: Path, text: bytes, node: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 120
    while text not in log.read_bytes():
        assert node.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.1)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


@dataclass(frozen=True)
class Number:
    """A shard: its number is to be squared, and the square to be written.

    Attributes:
        value: the number.
        out: directory of the file.
        way: what happens to the process that works on it; see ``square``.
    """

    value: int
    out: Path
    way: str = ""

    @property
    def files(self) -> list[Path]:
        return [self.out / f"{self.value}.txt"]


def read(number: Number) -> tuple[tuple[int, str, str], str]:
    return (number.value, number.way, str(number.out)), f"kept {number.value}"


def square(order: tuple[int, str, str], offset: int | None) -> int:
    value, way, out = order
    first = way and _comes_first(Path(out, f"{value}.mark"))
    if way == "dies" or (way == "dies once" and first):
        os.kill(os.getpid(), signal.SIGKILL)
    if way == "sleeps once" and first:
        time.sleep(300)
    if way == "burns":
        with open(Path(out, f"{value}.begun"), "a") as file:
            file.write("begun ")
        with contained(f"cat/{value}.jpg", 0.2):
            while True:
                pass
    if way == "dies at a picture":
        with contained(f"cat/{value}.jpg", 60):
            os.kill(os.getpid(), signal.SIGKILL)
    if way == "has a child":
        with worker_pool("asking", count=1) as pool:
            return pool.submit(_knows_ray).result()
    if way == "has no space":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/full")
    if way == "divides":
        return value // 0
    if way == "raises":
        raise DataError(f"{value} cannot be squared")
    if way == "waits":
        time.sleep(0.5)
    if way == "is silent":
        if not first:
            raise DataError(f"{value} was begun twice")
        time.sleep(50)
    return value**2 + (offset or 0)


def _knows_ray() -> int:
    return int("ray" in sys.modules)


def write(number: Number, kept: str, answer: int) -> list[object]:
    assert kept == f"kept {number.value}"
    number.files[0].write_text(str(answer))
    return [number.value, answer]


def open_offset(directory: Path) -> int:
    """A tool that counts how often it was opened, beside its file's text."""
    text = (directory / "offset.txt").read_text()
    Path(text, f"opened by {os.getpid()}").touch()
    return 1000


SQUARES = ShardTask(read, square, write, count=lambda _: 10)


def squares_with_tool(offset: Path) -> ShardTask:
    return ShardTask(read, square, write, lambda _: 10, Tool((offset,), open_offset))


def _comes_first(mark: Path) -> bool:
    """Whether no process was here before; the node of these tests sees their directory."""
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
