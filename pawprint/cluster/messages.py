"""What a stage and its client, the process that knows the cluster, say to each other."""

from __future__ import annotations

from typing import NamedTuple

from pawprint.cluster.machines import Machine

# To the client


class SendTool(NamedTuple):
    """A tool that the orders after it need, as of ``pack_tool``."""

    digest: str
    content: bytes


class SendOrder(NamedTuple):
    """An order, as of ``work_on``; no two of a client have one number.

    Attributes:
        cores, is_quick: as of ``ShardTask``.
        title: of the work.
    """

    number: int
    content: bytes
    tool: str
    cores: int
    is_quick: bool
    title: str


# From the client


class Node(NamedTuple):
    """A machine of the cluster that has processors for us.

    Attributes:
        name: its address.
        cores: that Ray counts there.
        machine: what it is.
    """

    name: str
    cores: int
    machine: Machine


class NotReady(NamedTuple):
    """What is waited for before the cluster is ready.

    Attributes:
        reason: the end of a sentence about it.
        within_s: how long; 0: as long as for its first answer.
    """

    reason: str
    within_s: float = 0


class Ready(NamedTuple):
    """The cluster was reached.

    Attributes:
        nodes: all of them.
        store_bytes: how much may be on its way at a time.
    """

    nodes: tuple[Node, ...]
    store_bytes: int


class Cores(NamedTuple):
    """How many cores there are now."""

    number: int


class Done(NamedTuple):
    """An answer, as of ``work_on``, and the name of its node."""

    number: int
    content: bytes
    node: str
    machine: Machine
    seconds: float


class Again(NamedTuple):
    """An order was handed out once more, since no answer came in time."""

    number: int


class Raised(NamedTuple):
    """Work on an order ended with this exception, pickled, wherever it was done."""

    number: int
    error: bytes


class Lost(NamedTuple):
    """The processes that worked on an order ended, again and again.

    Attributes:
        reason: in a few words.
        at: the picture that the last one worked on; empty if that is not known.
    """

    number: int
    reason: str
    at: str


class Refused(NamedTuple):
    """The cluster cannot be used; why, and what to do."""

    reason: str
