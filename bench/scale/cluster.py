"""A cluster on one machine: Ray nodes in network namespaces of their own, which share no directory.

    switch: a namespace with a bridge; a cable (veth) leads from it to each node
    node 1: the head, beside which the driver runs
    node 2, 3, ...: see nothing of the directory in which all of this lies, nor its shared memory

Needs Linux, root, and the commands ip, unshare and taskset.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from bench.scale.shares import CpuShare
from pawprint.runner.errors import PawprintError
from pawprint.runner.processes import available_cores

PORT = 6379
STARTED = "Ray runtime started"  # what `ray start` prints when a node has joined
STARTS_WITHIN_S = 90
STORE_BYTES = 300_000_000  # of each node's object store
# Of a node: nothing is told to Ray's makers; a lost node is noticed after 15 s
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",  # the driver's home has no token
    "RAY_health_check_initial_delay_ms": "5000",
    "RAY_health_check_period_ms": "3000",
    "RAY_health_check_timeout_ms": "3000",
    "RAY_health_check_failure_threshold": "4",
}
_HIDE = 'for place in {}; do mount -t tmpfs tmpfs "$place" || exit 1; done; exec "$@"'


class Cluster:
    """Nodes that are started one by one; a ``with`` block ends and removes all of it.

    Args:
        directory: for logs, nodes and the driver's project; its path must be short, as sockets are
            in it. Nodes but the head find it empty, each its own.
        hidden: directories in it that the head's own processes must not see either.
        cpus: what each node offers, in tasks at once.
        share: of one core, that a node may use at most; None: it is not limited.
    """

    def __init__(
        self, directory: Path, hidden: Sequence[Path], cpus: int = 1, share: float | None = None
    ) -> None:
        self._directory, self._hidden, self._cpus, self._share = directory, hidden, cpus, share
        self._name = f"pawprint-{os.getpid()}"
        self._nodes: dict[int, subprocess.Popen[bytes]] = {}
        self._shares: dict[int, CpuShare] = {}
        self._cables: set[int] = set()

    def __enter__(self) -> Cluster:
        _ip("netns", "add", self._switch)
        _ip("-n", self._switch, "link", "add", "bridge", "type", "bridge")
        _ip("-n", self._switch, "link", "set", "bridge", "up")
        return self

    def __exit__(self, *exception: object) -> None:
        for number in list(self._cables):
            self.kill(number)
            _ip("netns", "del", self._namespace(number))
        _ip("netns", "del", self._switch)

    @property
    def address(self) -> str:
        """Of the head, as ``compute.address`` has it."""
        return f"{_host(1)}:{PORT}"

    @property
    def nodes(self) -> list[int]:
        """The numbers of those that run."""
        return sorted(self._nodes)

    def start(self, number: int) -> None:
        """Start a node, and wait until it has joined; 1, the head, comes first.

        Raises:
            PawprintError: it does not start; its last words are in the message.
        """
        if number not in self._cables:
            self._lay_cable(number)
        log = self._directory / f"node{number}.log"
        with open(log, "wb") as file:
            self._nodes[number] = subprocess.Popen(
                self.inside(number, self._node_command(number)),
                cwd="/",
                env={**_plain_environment(), **SETTINGS},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if self._share:
            self._shares[number] = CpuShare(f"{self._name}-{number}", self._share)
            self._shares[number].add(self._nodes[number].pid)
        end = time.monotonic() + STARTS_WITHIN_S
        while STARTED not in log.read_text(errors="replace"):
            if self._nodes[number].poll() is not None or time.monotonic() > end:
                last = " | ".join(log.read_text(errors="replace").splitlines()[-5:])
                raise PawprintError(f"node {number} does not start: {last[-600:]}")
            time.sleep(0.1)

    def kill(self, number: int) -> None:
        """SIGKILL for all processes of a node at once, as when its power fails."""
        namespace = self._namespace(number)
        while pids := _ip("netns", "pids", namespace).split():
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            time.sleep(0.05)
        if number in self._nodes:
            self._nodes.pop(number).wait()
        if number in self._shares:
            self._shares.pop(number).remove()

    def cut(self, number: int) -> None:
        """Pull a node's cable: what is sent is lost, and nobody is told."""
        _ip("-n", self._switch, "link", "set", f"node{number}", "down")

    def mend(self, number: int) -> None:
        """Plug it in again."""
        _ip("-n", self._switch, "link", "set", f"node{number}", "up")

    def count_sent(self, number: int) -> int:
        """Bytes that a node has sent through its cable since it was laid."""
        path = "/sys/class/net/eth0/statistics/tx_bytes"
        return int(_call(self.inside(number, ["cat", path])))

    def inside(self, number: int, command: Sequence[str]) -> list[str]:
        """The command that runs a command in a node's network."""
        return ["ip", "netns", "exec", self._namespace(number), *command]

    @property
    def _switch(self) -> str:
        return f"{self._name}-switch"

    def _namespace(self, number: int) -> str:
        return f"{self._name}-{number}"

    def _lay_cable(self, number: int) -> None:
        namespace, end = self._namespace(number), f"node{number}"
        _ip("netns", "add", namespace)
        self._cables.add(number)
        peer = ("peer", "name", "eth0", "netns", namespace)
        _ip("-n", self._switch, "link", "add", end, "type", "veth", *peer)
        _ip("-n", self._switch, "link", "set", end, "master", "bridge")
        _ip("-n", self._switch, "link", "set", end, "up")
        _ip("-n", namespace, "addr", "add", f"{_host(number)}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", namespace, "link", "set", device, "up")

    def _node_command(self, number: int) -> list[str]:
        """Hides directories, pins the node to cores, and starts it."""
        place: tuple[str, ...]
        if number == 1:
            place = ("--head", f"--port={PORT}", f"--temp-dir={self._directory / 'head'}")
            place += ("--include-dashboard=false",)
            hidden = [str(path) for path in self._hidden]
        else:
            place = (f"--address={self.address}", f"--temp-dir={self._directory / 'ray'}")
            hidden = [str(self._directory), "/dev/shm"]
        cores = list(range(available_cores()))
        pinned = cores if self._cpus > 1 else [cores[(number - 1) % len(cores)]]
        start = [str(_ray()), "start", "--block", *place, f"--num-cpus={self._cpus}"]
        start += [f"--node-ip-address={_host(number)}", f"--object-store-memory={STORE_BYTES}"]
        start += ["--disable-usage-stats"]
        if self._share is None:
            start = ["taskset", "--cpu-list", ",".join(map(str, pinned)), *start]
        places = " ".join(f"'{path}'" for path in hidden)
        private = ["unshare", "--mount", "--propagation", "private"]
        return [*private, "sh", "-c", _HIDE.format(places), "sh", *start]


def why_impossible() -> str:
    """Why there can be no such cluster here; empty: there can."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    for name in ("ip", "unshare", "taskset"):
        if shutil.which(name) is None:
            return f"the command {name} is not installed (iproute2, util-linux)"
    if not _ray().exists():
        return "Ray is not installed (requirements-ray.txt)"
    name = f"pawprint-{os.getpid()}-probe"
    try:
        _ip("netns", "add", name)
    except PawprintError as error:
        return f"network namespaces are not allowed: {error}"
    try:
        _ip("-n", name, "link", "add", "bridge", "type", "bridge")
        _call(["ip", "netns", "exec", name, "unshare", "--mount", "true"])
    except PawprintError as error:
        return f"network namespaces are not allowed: {error}"
    finally:
        _ip("netns", "del", name)
    return ""


def _ray() -> Path:
    return Path(sys.executable).parent / "ray"


def _host(number: int) -> str:
    return f"10.77.0.{number}"


def _plain_environment() -> Mapping[str, str]:
    """Nothing that leads a node to the driver's files or code."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH")
    return {name: os.environ[name] for name in kept if name in os.environ}


def _ip(*arguments: str) -> str:
    return _call(["ip", *arguments])


def _call(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise PawprintError(f"{' '.join(command[:6])}: {said}")
    return done.stdout
