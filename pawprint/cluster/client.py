"""The process that knows Ray: it hands orders out, and brings back one answer for each.

It is apart from the stage, so that a stage never imports Ray, is never ended by it, and can end a
connection that hangs. Orders are plain tasks; answers are the bytes that a task returns.
"""

from __future__ import annotations

import pickle
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from pawprint.cluster.messages import (
    Again,
    Cores,
    Done,
    Lost,
    NotReady,
    Raised,
    Ready,
    SendOrder,
    SendTool,
)
from pawprint.cluster.nodes import NO_CODE, Nodes
from pawprint.cluster.worker import PICKLE, Reply, work_apart, work_on
from pawprint.runner.errors import PawprintError, WorkerKilled, describe_os_error, one_line

TRIES = 6  # of an order whose tasks are lost, with their process or machine
RETRIES_BY_RAY = 1  # where memory was short: then it waits in between, and does not count
COPIES = 8  # of an order, at a time
START_S = 90.0  # for what a busy machine may take: to import Ray, to begin with our code
LOOK_EVERY_S = 5.0  # at the cluster's machines
EMPTY_FOR_S = 60.0  # without any of them, before the work is given up
_WAIT_S = 0.05


@dataclass
class Pending:
    """An order without an answer.

    Attributes:
        order: without its bytes.
        content: Ray's reference to these.
        copies: references to the tasks that work on it.
        sent: when the last one was handed out, on this process's clock.
        failures: how many of its tasks were lost.
        is_apart: whether it is worked on in a process of its own, as it has ended one.
        retries: that Ray makes by itself.
    """

    order: SendOrder
    content: Any
    sent: float
    copies: list[Any] = field(default_factory=list)
    failures: int = 0
    is_apart: bool = False
    retries: int = 0


def _work_elsewhere(order: bytes, tool: str, tools: list[Any], apart: str) -> tuple[str, Reply]:
    """What runs on the cluster. The tool is in a list, so that only who needs it fetches it.

    Args:
        order, tool: see ``work_on``.
        tools: Ray's reference to the tool.
        apart: the title for ``work_apart``; empty: this process does it.
    """
    import ray

    # Processes that this one starts would run its main module, and with it import all of Ray
    vars(sys.modules["__main__"]).pop("__file__", None)
    node = ray.get_runtime_context().get_node_id()
    work = partial(work_apart, apart) if apart else work_on
    try:
        return node, work(order, tool, lambda: ray.get(tools[0]))
    except OSError as error:
        place = ray.util.get_node_ip_address()
        raise PawprintError(f"machine {place} of the cluster: {describe_os_error(error)}") from None


class RayClient:
    """Orders and answers between a stage and Ray.

    Args:
        connection: to the stage.
        timeout_s: see ``compute.timeout_s``.
    """

    def __init__(self, connection: Connection, timeout_s: float) -> None:
        import ray

        self._ray = ray
        self._connection = connection
        self._timeout_s = timeout_s
        self._task = ray.remote(_work_elsewhere)
        self._tool: tuple[str, list[Any]] = ("", [])
        self._pending: dict[int, Pending] = {}
        self._owner: dict[Any, int] = {}  # reference to a task → number of its order
        self._longest_s = 0.0
        self._looked = self._seen = time.monotonic()  # at machines; machines with a core
        self._cores = 0
        self._nodes = Nodes(ray)
        self._good_node = ""  # id of that from which the last answer came

    def begin(self) -> None:
        """Tell the stage which machines there are, once one of them is free."""
        none = "it answers, but no machine of it has started a process for Pawprint yet"
        self._send(NotReady(f"{none}; see `ray status`, and how busy they are", START_S))
        nodes = self._nodes.introduce_all()
        self._cores = sum(node.cores for node in nodes)  # those that are late are counted later
        if not self._cores:
            raise PawprintError(
                "no machine of it has a CPU for Ray: start others, without --num-cpus 0"
            )
        busy = f"all of its {self._cores} cores are at other work"
        self._send(NotReady(f"{busy}; wait, or end that"))
        while self._ray.available_resources().get("CPU", 0) < 1:  # the stage limits the time
            time.sleep(0.2)
        own = self._ray.get_runtime_context().get_node_id()
        store = next(n for n in self._ray.nodes() if n["NodeID"] == own)["Resources"]
        self._send(Ready(tuple(nodes), int(store.get("object_store_memory", 0) / 2)))

    def serve(self) -> None:
        """Work until the stage ends."""
        incoming: SimpleQueue[Any] = SimpleQueue()
        Thread(target=_receive_all, args=(self._connection, incoming), daemon=True).start()
        while True:
            for message in _take(incoming, 0 if self._owner else _WAIT_S):
                if message is None:
                    return
                self._take_up(message)
            self._collect()
            self._hand_out_again()
            self._look_around()

    def _send(self, message: Any) -> None:
        self._connection.send(message)

    def _take_up(self, message: SendTool | SendOrder) -> None:
        if isinstance(message, SendTool):
            self._tool = (message.digest, [self._ray.put(message.content)])
            return
        content = self._ray.put(message.content)
        order = message._replace(content=b"")
        self._pending[message.number] = Pending(order, content, time.monotonic())
        self._start(message.number)

    def _start(self, number: int, node: str = "") -> None:
        pending = self._pending[number]
        order = pending.order
        options: dict[str, Any] = {"num_cpus": order.cores, "max_retries": pending.retries}
        if node:
            strategy = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
            options["scheduling_strategy"] = strategy(node, soft=True)
        tools = self._tool[1] if order.tool else []
        apart = order.title if pending.is_apart else ""
        task = self._task.options(**options).remote(pending.content, order.tool, tools, apart)
        pending.copies.append(task)
        pending.sent = time.monotonic()
        self._owner[task] = number

    def _collect(self) -> None:
        if not self._owner:
            return
        ready, _ = self._ray.wait(list(self._owner), num_returns=1, timeout=_WAIT_S)
        for task in ready:
            number = self._owner.pop(task)
            if number in self._pending:  # or another copy was quicker
                self._deliver(number, task)

    def _deliver(self, number: int, task: Any) -> None:
        errors, pending = self._ray.exceptions, self._pending[number]
        try:
            node, answer = self._ray.get(task)
        except errors.RayTaskError as error:
            if isinstance(error.cause, (WorkerKilled, errors.ObjectLostError)):
                self._start_again(number, task, error.cause)
                return
            self._forget(number)
            self._send(Raised(number, _pack_error(error.cause or error, str(error))))
            return
        except errors.RuntimeEnvSetupError as error:
            raise PawprintError(NO_CODE.format(one_line(error))) from error
        except errors.RayError as error:
            self._start_again(number, task, error)
            return
        self._forget(number)
        self._longest_s = max(self._longest_s, time.monotonic() - pending.sent)
        self._good_node = node
        self._send(
            Done(number, answer.content, self._nodes.name(node), answer.machine, answer.seconds)
        )

    def _start_again(self, number: int, task: Any, error: Exception) -> None:
        """Do without a task that is lost; an order that has lost too many is given up.

        An order that has ended its process gets one of its own, which tells at what it ended.
        """
        pending, errors = self._pending[number], self._ray.exceptions
        pending.copies.remove(task)
        pending.failures += 1
        pending.is_apart |= pending.order.is_quick and isinstance(error, errors.WorkerCrashedError)
        if isinstance(error, errors.OutOfMemoryError):
            pending.retries = RETRIES_BY_RAY
        if pending.failures == TRIES:
            self._forget(number)
            at = error.name if isinstance(error, WorkerKilled) else ""
            self._send(Lost(number, type(error).__name__, at))
        elif not pending.copies:
            self._start(number, self._good_node)

    def _forget(self, number: int) -> None:
        """Let go of an order; its other copies end by themselves, and nobody asks for them."""
        for task in self._pending.pop(number).copies:
            self._owner.pop(task, None)

    def _hand_out_again(self) -> None:
        """Start copies of orders whose answers are overdue, where the last answer came from."""
        now, patience_s = time.monotonic(), max(self._timeout_s, 3 * self._longest_s)
        for number, pending in self._pending.items():
            late = now - pending.sent > patience_s * len(pending.copies)
            if late and pending.order.is_quick and len(pending.copies) < COPIES:
                self._start(number, self._good_node)
                self._send(Again(number))

    def _look_around(self) -> None:
        """Count the machines now and then; for long without one that is large enough, give up."""
        now = time.monotonic()
        if now - self._looked < LOOK_EVERY_S:
            return
        self._looked = now
        found = [cores for _, cores in self._nodes.list_all()]
        cores = sum(found)
        needed = max((each.order.cores for each in self._pending.values()), default=1)
        if max(found, default=0) >= needed:
            self._seen = now
        elif now - self._seen > EMPTY_FOR_S:
            many = "a CPU" if needed == 1 else f"{needed} CPUs"
            raise PawprintError(
                f"no machine of it is left that has {many}; what is finished is kept"
            )
        if cores and cores != self._cores:
            self._cores = cores
            self._send(Cores(cores))


def _receive_all(connection: Connection, incoming: SimpleQueue[Any]) -> None:
    """Take what the stage sends, at once: it must never wait for a client that waits for it."""
    try:
        while True:
            incoming.put(connection.recv())
    except (EOFError, OSError):
        incoming.put(None)


def _take(incoming: SimpleQueue[Any], wait_s: float) -> Iterator[Any]:
    try:
        yield incoming.get(timeout=wait_s) if wait_s else incoming.get_nowait()
        while True:
            yield incoming.get_nowait()
    except Empty:
        return


def _pack_error(error: BaseException, told: str) -> bytes:
    """What a task has raised; of a fault of ours, with what Ray has told of where it was."""
    if not isinstance(error, PawprintError):
        error.add_note(told)
    try:
        content = pickle.dumps(error, PICKLE)
        pickle.loads(content)
    except Exception:  # an exception may hold anything
        return pickle.dumps(RuntimeError(told), PICKLE)
    return content
