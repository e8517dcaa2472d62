"""The connections of a server taken together: how many there are, and which gives way."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

from pawprint.serving.settings import Settings

SPARE_S = 2.0  # how long those may live that have spare places only
IDLE_S = 0.1  # what has sent no request for so long gives way to others
SLOW_S = 1.0  # as does what has not moved a piece of its body, or of its answer
PIECE_BYTES = 16_384


class Ended(StrEnum):
    """Why the server ended a connection that its client had not ended."""

    MALFORMED = "malformed"  # what it sent is not taken for a request
    SLOW = "slow"  # its headers did not come in time
    UNREAD = "unread"  # its answer was not taken in time
    GAVE_WAY = "gave_way"  # it kept the server waiting when there were too many
    SURPLUS = "surplus"  # it was one of too many
    STOPPED = "stopped"  # it kept the server waiting when that was to end


class Occupant(Protocol):
    """What a crowd asks of a connection."""

    def end(self, reason: Ended) -> None: ...

    def goes_on(self) -> bool:
        """Wait anew, if its client has sent or taken a piece since it began to wait."""
        ...


class Waiting:
    """Connections that wait for their clients, the longest first.

    Args:
        patience_s: after so long, one may be ended if others need its place.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._since: dict[Occupant, float] = {}

    def put(self, occupant: Occupant) -> None:
        """It waits from now on, whether it did before or not."""
        self.remove(occupant)
        self._since[occupant] = time.monotonic()

    def remove(self, occupant: Occupant) -> None:
        self._since.pop(occupant, None)

    def longest(self) -> Occupant | None:
        """Which to end, if one has waited long enough."""
        while self._since:
            occupant, since = next(iter(self._since.items()))
            if time.monotonic() - since < self._patience_s:
                return None
            if not occupant.goes_on():
                return occupant
        return None


class Crowd:
    """Finds places for connections, and those that give way.

    A connection keeps its place as long as its request is in work, whether it lives or not.

    Args:
        settings: whose timeouts hold for each.
        spare: places beyond the most: for /healthz, /readyz, and to say that there are too many.
        count: is told of each that is ended.

    Attributes:
        closing: no more are let in.
    """

    def __init__(self, settings: Settings, spare: int, count: Callable[[Ended], None]) -> None:
        self.settings = settings
        self._spare = spare
        self.count = count
        self.closing = False
        self._within: set[Occupant] = set()
        self._beyond: set[Occupant] = set()
        self._idle = Waiting(IDLE_S)
        self._slow = Waiting(SLOW_S)
        self._idle_beyond = Waiting(IDLE_S)

    def admit(self, occupant: Occupant) -> None:
        """Find a place for a connection, if need be by ending another; or end it."""
        if self.closing:
            occupant.end(Ended.STOPPED)
        elif self._has_room(self._within, self.settings.max_connections, self._idle, self._slow):
            self._within.add(occupant)
        elif self._has_room(self._beyond, self._spare, self._idle_beyond):
            self._beyond.add(occupant)
        else:
            occupant.end(Ended.SURPLUS)

    def is_beyond(self, occupant: Occupant) -> bool:
        """Whether it has one of the spare places only."""
        return occupant in self._beyond

    def leave(self, occupant: Occupant) -> None:
        """A connection needs its place no more."""
        self.rest(occupant)
        for places in (self._within, self._beyond):
            places.discard(occupant)

    def wait(self, occupant: Occupant, idle: bool) -> None:
        """A connection waits for its client from now on.

        Args:
            occupant: the connection.
            idle: for a request; for a piece of a body or of an answer otherwise.
        """
        self.rest(occupant)
        if occupant in self._within:
            (self._idle if idle else self._slow).put(occupant)
        elif idle:
            self._idle_beyond.put(occupant)

    def rest(self, occupant: Occupant) -> None:
        """A connection waits for its client no more."""
        for waiting in (self._idle, self._slow, self._idle_beyond):
            waiting.remove(occupant)

    def _has_room(self, places: set[Occupant], most: int, *queues: Waiting) -> bool:
        if len(places) < most:
            return True
        longest = next(filter(None, (waiting.longest() for waiting in queues)), None)
        if longest is None:
            return False
        longest.end(Ended.GAVE_WAY)
        self.leave(longest)
        return True
