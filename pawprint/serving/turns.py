"""Whose picture is decoded next: requests take turns, each with one picture at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field


@dataclass(eq=False)
class Line:
    """The pictures of one request.

    Attributes:
        waiting: for their turn, in order.
        at_work: whether one has it.
    """

    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)
    at_work: bool = False


class Turns:
    """Gives places to the lines one after the other; a line has one at a time.

    Args:
        places: how many there are.
    """

    def __init__(self, places: int) -> None:
        self._free = places
        self._lines: deque[Line] = deque()  # those with somebody waiting; the next one first

    async def take(self, line: Line) -> None:
        """Wait for a place; whoever has it must ``give_back``."""
        turn = asyncio.get_running_loop().create_future()
        line.waiting.append(turn)
        if line not in self._lines:
            self._lines.append(line)
        self._give()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it came in the same moment
                self.give_back(line)
            raise

    def give_back(self, line: Line) -> None:
        """Let others have a place that was taken."""
        self._free += 1
        line.at_work = False
        self._give()

    def _give(self) -> None:
        """Give what is free to who is next."""
        passed = 0
        while self._free and passed < len(self._lines):
            line = self._lines.popleft()
            while line.waiting and line.waiting[0].done():  # nobody waits any more
                line.waiting.popleft()
            if not line.waiting:
                continue
            self._lines.append(line)
            if line.at_work:
                passed += 1
                continue
            passed = 0
            line.waiting.popleft().set_result(None)
            line.at_work = True
            self._free -= 1
