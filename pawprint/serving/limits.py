"""What a request may cost, and how it is refused beyond that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from starlette.exceptions import HTTPException
from starlette.requests import Request

from pawprint.runner.limits import give_back_free_blocks
from pawprint.serving.settings import Settings

MANY_BYTES = 16_000_000  # of bodies at a time, whose memory in pieces is worth giving back
TIDY_S = 0.5  # after the last of them, when its answer is on its way


class Refusal(HTTPException):
    """An answer other than what was asked for.

    Args:
        status: of HTTP.
        reason: one word, by which refusals are counted.
        text: what was expected, and what was found.
        headers: of the answer.
    """

    def __init__(
        self, status: int, reason: str, text: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(status, text, headers)
        self.reason = reason


def _busy(text: str) -> Refusal:
    return Refusal(429, "queue", f"{text}; try again", {"Retry-After": "1"})


class Limits:
    """Counts what is in work, and refuses more than the settings allow."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._most_bytes = settings.max_memory_bytes
        self._bytes = 0
        self._had_many = False  # bytes, since there were none
        self.pictures = 0

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytes]:
        """The body of a request, which counts until the block is left.

        Raises:
            Refusal: it is too large (said by its header, or found while reading), too slow, or
                there are too many.
            ClientDisconnect: the client went away.
        """
        content = await self._read(request)
        try:
            yield content
        finally:
            self._bytes -= len(content)
            self._tidy()

    def _tidy(self) -> None:
        """Once nearly all of many bytes are answered, give back what they were taken apart in."""
        if self._had_many and self._bytes < MANY_BYTES // 4:
            self._had_many = False
            asyncio.get_running_loop().call_later(TIDY_S, give_back_free_blocks)

    async def _read(self, request: Request) -> bytes:
        self._check_announced(request)
        chunks: list[bytes] = []
        size, timeout_s = 0, self._settings.read_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                async for chunk in request.stream():
                    size += len(chunk)
                    self._bytes += len(chunk)
                    self._had_many = self._had_many or self._bytes > MANY_BYTES
                    self._check_size(size)
                    chunks.append(chunk)
        except BaseException as error:
            self._bytes -= size
            self._tidy()
            if isinstance(error, TimeoutError):
                text = f"the body did not arrive within {timeout_s:g} s"
                raise Refusal(408, "slow", text) from None
            raise
        return b"".join(chunks)

    def _check_announced(self, request: Request) -> None:
        length = request.headers.get("content-length", "0")
        if length.isdecimal():
            self._check_size(int(length))

    def _check_size(self, size: int) -> None:
        most = self._settings.max_body_bytes
        if size > most:
            raise Refusal(413, "body", f"expected at most {most} bytes")
        if self._bytes > self._most_bytes:
            raise _busy("too many bytes are in work")

    @contextmanager
    def queued(self, count: int) -> Iterator[None]:
        """Pictures count until the block is left.

        Raises:
            Refusal: there are too many.
        """
        left = self._settings.queue - self.pictures
        # Of what is left no request gets more than half: there is room for small ones for longer
        if self.pictures and count > max(left // 2, min(left, 1)):
            raise _busy(f"{self.pictures} pictures are waiting")
        self.pictures += count
        try:
            yield
        finally:
            self.pictures -= count

    @asynccontextmanager
    async def time(self) -> AsyncIterator[None]:
        """Refuse with 503 what takes longer than a request may."""
        timeout_s = self._settings.timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                yield
        except TimeoutError:
            text = f"no answer within {timeout_s:g} s; try again"
            raise Refusal(503, "timeout", text, {"Retry-After": "5"}) from None
