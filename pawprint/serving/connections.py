"""Connections: each waits for its client for so long and no longer."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from enum import Enum
from typing import ClassVar

import h11
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from pawprint.serving.access import SURPLUS
from pawprint.serving.crowd import PIECE_BYTES, SPARE_S, Crowd, Ended
from pawprint.serving.wire import Wire

LAST_WAIT_S = 1.0  # for a piece, when the server is about to end


class Wait(Enum):
    """What a connection waits for its client to do."""

    REQUEST = "begin a request"
    HEAD = "send the rest of its headers"
    BODY = "send the rest of its body"
    OUTPUT = "take what was answered"


class Connection(H11Protocol):
    """Uvicorn's connection, with an end to whatever its client may keep it waiting for.

    Uvicorn itself ends what is idle after an answer, and waits for all else for ever; its limit on
    connections counts one too many, refuses in plain text, and even the health check. What is
    called and overridden here is none of its public side: see tests/test_private_sides.py.
    """

    crowd: ClassVar[Crowd]
    conn: Wire
    _work: set[asyncio.Task[object]]  # on answers
    _wait: Wait | None = None
    _timer: asyncio.TimerHandle | None = None
    _life: asyncio.TimerHandle | None = None
    _blocked = False  # whether there is output that the system does not take
    _unsent_bytes = 0  # when the wait began
    _come_bytes = 0  # of a body, since the wait began
    _ended = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.conn = Wire()
        self._work = set()
        self.app = self._answer
        transport.set_write_buffer_limits(0)  # tells of any output that waits
        self.crowd.admit(self)
        if self.crowd.is_beyond(self):
            self.app_state = {**self.app_state, SURPLUS: True}
            self._life = self.loop.call_later(SPARE_S, self.end, Ended.SURPLUS)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        self._stop_timer()
        if self._life is not None:
            self._life.cancel()
        self.crowd.rest(self)
        super().connection_lost(exc)
        for task in self._work:  # for whom nobody waits
            task.cancel()
        self._leave()
        self.app = self.config.loaded_app  # no more a reference to itself

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._come_bytes += len(data)
        self.goes_on()
        self._watch()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._blocked = True
        self._watch()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._blocked = False
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def send_400_response(self, msg: str) -> None:
        self.crowd.count(Ended.MALFORMED)
        if self.cycle and not self.cycle.response_complete:  # it has no rest to wait for
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(self.conn.fault or "expected a request of HTTP/1.1")
        else:
            self.transport.abort()

    def shutdown(self) -> None:
        if not self.transport.is_closing():
            super().shutdown()
        self._begin_wait()  # which is a short one now

    def end(self, reason: Ended) -> None:
        """Close without waiting for anything, and count it."""
        if self._ended:
            return
        self._ended = True
        self.crowd.count(reason)
        if self.transport.get_write_buffer_size() and os.name == "posix":
            # Or the system would go on offering what nobody takes
            connection: socket.socket = self.transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def goes_on(self) -> bool:
        """Wait anew, if its client has sent or taken a piece since it began to wait."""
        moved = 0
        if self._wait is Wait.OUTPUT:
            moved = self._unsent_bytes - self.transport.get_write_buffer_size()
        elif self._wait is Wait.BODY:
            moved = self._come_bytes
        if moved < PIECE_BYTES:
            return False
        self._begin_wait()
        return True

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._work.add(task)
        try:
            await self.config.loaded_app(scope, receive, send)
        except asyncio.CancelledError:
            if not self._ended:
                raise
        finally:
            self._work.discard(task)
            self._leave()

    def _leave(self) -> None:
        """Give the place back, once there is nothing more to do."""
        if self._ended and not self._work:
            self.crowd.leave(self)

    def _watch(self) -> None:
        """Begin to wait for something else, if it is something else."""
        wait = self._find_wait()
        if wait is not self._wait:
            self._wait = wait
            self._begin_wait()

    def _find_wait(self) -> Wait | None:
        if self._blocked:
            return Wait.OUTPUT
        if self.transport.is_closing():
            return None
        if self.conn.their_state is h11.SEND_BODY:
            return Wait.BODY
        if self.conn.their_state is h11.IDLE:
            return Wait.HEAD if self.cycle is None or self.conn.has_more else Wait.REQUEST
        return None

    def _begin_wait(self) -> None:
        self._come_bytes = 0
        self._unsent_bytes = self.transport.get_write_buffer_size()
        self._stop_timer()
        self.crowd.rest(self)
        if self._wait is None or self._ended:
            return
        self.crowd.wait(self, idle=self._wait in (Wait.HEAD, Wait.REQUEST))
        timeout_s = self._find_timeout(self._wait)
        if timeout_s is not None:
            self._timer = self.loop.call_later(timeout_s, self._time_out)

    def _find_timeout(self, wait: Wait) -> float | None:
        """In seconds; None where others look: uvicorn at what is idle, ``Limits`` at bodies."""
        settings = self.crowd.settings
        timeouts_s = {Wait.HEAD: settings.read_timeout_s, Wait.OUTPUT: settings.write_timeout_s}
        if self.crowd.closing:
            return min(LAST_WAIT_S, timeouts_s.get(wait, LAST_WAIT_S))
        return timeouts_s.get(wait)

    def _time_out(self) -> None:
        if self.goes_on():
            return
        if self.crowd.closing:
            self.end(Ended.STOPPED)
        else:
            self.end(Ended.UNREAD if self._wait is Wait.OUTPUT else Ended.SLOW)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def connection_class(crowd: Crowd) -> type[Connection]:
    """The connections of one server, as uvicorn wants them: it makes them itself."""
    return type("Connection", (Connection,), {"crowd": crowd})
