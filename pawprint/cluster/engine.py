"""The stage's side of a cluster: what is read here goes out, what comes back is written here."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import pickle
import tempfile
import time
from collections import deque
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

from pawprint.cluster.client import START_S, TRIES
from pawprint.cluster.costs import WireCosts
from pawprint.cluster.machines import find_differences, must_be_refused, this_machine
from pawprint.cluster.messages import (
    Again,
    Cores,
    Done,
    Lost,
    Node,
    NotReady,
    Raised,
    Ready,
    Refused,
    SendOrder,
    SendTool,
)
from pawprint.cluster.session import run_client
from pawprint.cluster.worker import PICKLE, pack_tool
from pawprint.runner.errors import PawprintError
from pawprint.runner.journal import ShardTask, Tool, engine_in_use
from pawprint.runner.limits import keep_large_blocks
from pawprint.runner.machine import note_other_makers
from pawprint.runner.params import ComputeParams
from pawprint.runner.processes import ON_CLUSTER, interrupts_held_back

CONNECT_S = 30.0  # until the cluster answers, and later until it has a free CPU
STILL_S = 1800.0  # without any answer, where work is quick, before it is given up ...
STILL_TIMES = 30  # ... or so many times compute.timeout_s
_AHEAD = 2  # orders for each core: one that is worked on, and one that waits there


def _tell_stage(text: str) -> None:
    print(text, flush=True)


@dataclass(frozen=True)
class Caller:
    """Who asks for a cluster, in words for the user.

    Attributes:
        setting: that holds the address.
        accept: how machines of other types are accepted.
        again: what to do when the cluster is there again.
        alone: how it is done without a cluster.
        tell: takes lines for the user.
    """

    setting: str
    accept: str
    again: str
    alone: str
    tell: Callable[[str], None]


STAGE = Caller(
    "compute.address",
    "compute.mixed: true in params.yaml",
    "what is finished is kept, the same command goes on with it",
    "compute.engine: local in params.yaml",
    _tell_stage,
)


@contextmanager
def on_cluster(compute: ComputeParams) -> Iterator[None]:
    """Have the block's shards that can travel worked on as ``compute`` says.

    Raises:
        PawprintError: there is no such cluster, or none that can be used.
    """
    if compute.engine == "local" or ON_CLUSTER in os.environ:
        yield
        return
    with closing(Cluster(compute)) as cluster, engine_in_use(cluster):
        yield


class Cluster:
    """A ``ShardEngine`` for shard_tasks: see ``pawprint.runner.journal``.

    It connects while the caller prepares its work, and complains only when there is some.

    Args:
        compute: of which cluster.
        caller: for whom.

    Raises:
        PawprintError: Ray is not installed here.
    """

    def __init__(self, compute: ComputeParams, caller: Caller = STAGE) -> None:
        if find_spec("ray") is None:
            raise PawprintError(
                f"{caller.setting}: Ray is not installed here: pip install --require-hashes -r "
                f"requirements-ray.txt, or do without: {caller.alone}"
            )
        keep_large_blocks()  # shards go out and come back by the 10 MB
        self._caller = caller
        self._address, self._mixed = compute.address, compute.mixed
        self._own = this_machine()
        self._accepted: set[str] = set()  # digests of machines
        self._timeout_s = compute.timeout_s
        self._directory = tempfile.TemporaryDirectory(prefix="pawprint-")
        log = str(Path(self._directory.name, "ray.log"))
        context = multiprocessing.get_context("spawn")
        self._connection, end = context.Pipe()
        arguments = (end, compute.address, compute.timeout_s, log)
        self._process = context.Process(target=run_client, args=arguments, daemon=True)
        self._started = time.monotonic()
        with interrupts_held_back():
            self._process.start()
        end.close()
        self._ready: Ready | None = None
        self._cores = 0
        self._costs = WireCosts("")
        self._tool = ""
        self._numbers = count()  # of orders: an answer to work that was given up is no other's

    def run(
        self, shard_task: ShardTask, shards: Mapping[int, Any], title: str
    ) -> Iterator[tuple[int, Any, Any]]:
        """See ``pawprint.runner.journal.ShardEngine``."""
        ready = self._connect()
        cores = min(shard_task.cores, max(node.cores for node in ready.nodes))
        if cores < shard_task.cores:
            self._caller.tell(
                f"{title}: {shard_task.cores} threads each, on machines of {cores} cores"
            )
        self._costs = WireCosts(title, shard_task.unit, cores)
        return self._exchange(replace(shard_task, cores=cores), shards, title, ready.store_bytes)

    def describe(self) -> str:
        """See ``pawprint.runner.journal.ShardEngine``."""
        return self._costs.describe(self._cores)

    def _exchange(
        self, shard_task: ShardTask, shards: Mapping[int, Any], title: str, most_bytes: int
    ) -> Iterator[tuple[int, Any, Any]]:
        tool, waiting = self._send_tool(shard_task.tool), deque(shards)
        # Of orders that are out: the shard, what is kept of it, and how many bytes are on their way
        out: dict[int, tuple[int, Any, int]] = {}
        while waiting or out:
            while waiting and len(out) < _AHEAD * self._cores:
                if sum(size for _, _, size in out.values()) >= most_bytes:
                    break
                shard, number = waiting.popleft(), next(self._numbers)
                order, kept = shard_task.read(shards[shard])
                content = pickle.dumps((shard_task.work, order), PICKLE)
                cores, is_quick = shard_task.cores, shard_task.is_quick
                self._send(SendOrder(number, content, tool, cores, is_quick, title))
                out[number] = shard, kept, len(content)
                self._costs.bytes_out += len(content)
            done = self._next_answer(title, out, shard_task.is_quick)
            shard, kept, _ = out.pop(done.number)
            self._costs.add(done.node, shard_task.count(shards[shard]), done)
            yield shard, kept, pickle.loads(done.content)

    def close(self) -> None:
        """End the client, and with it all work on the cluster."""
        self._connection.close()
        self._process.kill()
        self._process.join()
        self._directory.cleanup()

    def _connect(self) -> Ready:
        """Wait for the cluster, and see that its machines may take part."""
        if self._ready is None:
            ready = self._await_ready()
            self._check(ready.nodes)
            self._ready = ready
            self._cores = sum(node.cores for node in ready.nodes)
            names = ", ".join(f"{node.name} ({node.cores})" for node in ready.nodes)
            self._caller.tell(
                f"Ray cluster of {self._cores} core{'s' * (self._cores != 1)}: {names}"
            )
        return self._ready

    def _await_ready(self) -> Ready:
        reason, within_s = "this machine is too busy to start Ray", START_S
        # The cluster may have lost a free core while the caller prepared its work
        end = max(self._started + START_S, time.monotonic() + CONNECT_S / 3)
        while self._connection.poll(max(0.0, end - time.monotonic())):
            message = self._receive()
            if isinstance(message, Ready):
                return message
            if isinstance(message, NotReady):
                reason, within_s = message.reason, message.within_s or CONNECT_S
                end = time.monotonic() + within_s
        raise self._error(f"not ready after {within_s:g} s: {reason}")

    def _check(self, nodes: tuple[Node, ...]) -> None:
        """Refuse machines that could make other bytes, or say that they take part.

        Raises:
            PawprintError: their names, what differs, and what to do.
        """
        odd = [(n, d) for n in nodes if (d := find_differences(self._own, n.machine))]
        told = "; ".join(f"{node.name}: {', '.join(found)}" for node, found in odd)
        if self._own.fault:
            raise PawprintError(
                f"{self._caller.setting}: {self._own.fault} on this machine, with which those of "
                "the cluster are compared: pip install --require-hashes -r requirements.txt"
            )
        if any(must_be_refused(self._own, node.machine) for node, _ in odd):
            raise PawprintError(
                f"{self._caller.setting}: machines of the cluster lack what this one has ({told}); "
                "install requirements.txt and requirements-ray.txt there"
            )
        if odd and not self._mixed:
            raise PawprintError(
                f"{self._caller.setting}: machines of the cluster could give other last bits than "
                f"this one ({told}); take them out, or accept that: {self._caller.accept}"
            )
        if odd:
            note_other_makers("; ".join(found) for _, found in odd)
            self._caller.tell(f"warning: last bits may differ: {told}")
        self._accepted |= {node.machine.digest for node in nodes}

    def _send_tool(self, tool: Tool | None) -> str:
        if tool is None:
            return ""
        content = pack_tool(tool.files, tool.open)
        digest = hashlib.sha256(content).hexdigest()
        if digest != self._tool:
            self._send(SendTool(digest, content))
            self._tool = digest
        return digest

    def _next_answer(self, title: str, out: Container[int], is_quick: bool) -> Done:
        begin, told = time.monotonic(), False
        within_s = max(STILL_S, STILL_TIMES * self._timeout_s)
        while True:
            still_s = time.monotonic() - begin
            if is_quick and not self._connection.poll(max(0.0, within_s - still_s)):
                raise self._error(
                    f"{title}: no answer for {within_s:g} s: `ray status` tells whether it is at "
                    f"other work; {self._caller.again}"
                )
            match self._receive():
                case Done(number) | Raised(number) | Lost(number) if number not in out:
                    pass
                case Done() as done:
                    if done.machine.digest not in self._accepted:  # it came later
                        self._check((Node(done.node, 0, done.machine),))
                    return done
                case Again():
                    self._costs.again += 1
                    if not told and time.monotonic() - begin >= self._timeout_s:
                        self._caller.tell(
                            f"{title}: no answer for {self._timeout_s:g} s, orders are handed out "
                            "once more: `ray status` tells whether the cluster is at other work"
                        )
                        told = True
                case Cores(count):
                    self._cores = count
                case Raised(_, error):
                    raise pickle.loads(error)
                case Lost(_, reason, at):
                    found = f"{reason} at {at}" if at else reason
                    raise PawprintError(
                        f"{title}: what worked on a shard ended {TRIES} times ({found}); "
                        f"{self._caller.again}"
                    )

    def _send(self, message: Any) -> None:
        try:
            self._connection.send(message)
        except OSError:
            raise self._lost() from None

    def _receive(self) -> Any:
        try:
            message = self._connection.recv()
        except (EOFError, OSError):
            raise self._lost() from None
        if isinstance(message, Refused):
            raise self._error(message.reason)
        return message

    def _lost(self) -> PawprintError:
        return self._error(f"the connection to it ended: see that it runs; {self._caller.again}")

    def _error(self, reason: str) -> PawprintError:
        where = f"the Ray cluster at {self._address}"
        return PawprintError(f"{self._caller.setting}: {where}: {reason}")
