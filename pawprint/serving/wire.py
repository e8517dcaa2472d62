"""What is taken for a request, before anything else looks at it."""

from __future__ import annotations

import re

import h11

REQUEST_HEAD_BYTES = 16_384
REQUEST_HEAD_LINES = 100
FEW_CHUNKS = 1000  # of one body, that may be as small as they like
SMALL_CHUNK_BYTES = 512
END_OF_HEAD = re.compile(rb"\n\r?\n")

_Next = h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]


class Wire(h11.Connection):
    """HTTP/1.1 as h11 reads it, but for what costs too much, and what others may read otherwise.

    h11 limits a head, and the lines behind a body, only while they are incomplete: here it gets
    what has come in parts. It limits neither the lines of a head nor the chunks of a body. A body
    with two lengths is how requests are smuggled past a proxy (RFC 9112, section 6.1).

    What else h11 shows here is more than it promises: see tests/test_private_sides.py.

    Attributes:
        fault: why the last request was refused, if it was not by h11 itself.
    """

    def __init__(self) -> None:
        super().__init__(h11.SERVER, REQUEST_HEAD_BYTES)
        self.fault = ""
        self._waiting = bytearray()
        self._left_bytes = 0  # of a body whose length is known
        self._chunks = 0
        self._chunk_bytes = 0
        self._head: list[bytes] = []  # of an answer

    @property
    def has_more(self) -> bool:
        """Whether something has come that was not read yet."""
        return bool(self._waiting or self.trailing_data[0])

    def receive_data(self, data: bytes) -> None:
        self._waiting += data

    def send_with_data_passthrough(self, event: h11.Event) -> list[bytes] | None:
        """What `send` joins; the head of an answer goes out only with the next piece of it."""
        pieces = super().send_with_data_passthrough(event)
        if isinstance(event, h11.Response):
            self._head = pieces or []
            return []
        if pieces is not None:
            pieces, self._head = [*self._head, *pieces], []
        return pieces

    def next_event(self) -> _Next:
        """What h11 says.

        Raises:
            h11.RemoteProtocolError: this is no request, or none that is taken.
        """
        event = self._read()
        while event is h11.NEED_DATA and self._waiting:
            size = max(self._left_bytes, REQUEST_HEAD_BYTES)
            super().receive_data(bytes(self._waiting[:size]))
            del self._waiting[:size]
            event = self._read()
        return event

    def _read(self) -> _Next:
        if self.their_state is h11.IDLE:
            self._check_head()
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._check_length(event)
        elif isinstance(event, h11.Data):
            self._check_chunk(event)
        elif isinstance(event, h11.EndOfMessage) and len(list(event.headers)) > REQUEST_HEAD_LINES:
            self._refuse(f"expected at most {REQUEST_HEAD_LINES} lines after the body, found more")
        return event

    def _check_head(self) -> None:
        received = self.trailing_data[0]
        end = END_OF_HEAD.search(received)
        length = end.end() if end else len(received)
        if length > REQUEST_HEAD_BYTES or received.count(b"\n", 0, length) > REQUEST_HEAD_LINES + 2:
            most = f"{REQUEST_HEAD_LINES} headers in {REQUEST_HEAD_BYTES} bytes"
            self._refuse(f"expected at most {most}, found more")

    def _check_length(self, request: h11.Request) -> None:
        headers = dict(request.headers)
        if b"transfer-encoding" in headers:
            if b"content-length" in headers:
                self._refuse("expected Content-Length or Transfer-Encoding, found both")
            if request.http_version < b"1.1":
                self._refuse("expected no Transfer-Encoding in HTTP/1.0")
        self._left_bytes = int(headers.get(b"content-length", b"0"))
        self._chunks = self._chunk_bytes = 0

    def _check_chunk(self, data: h11.Data) -> None:
        self._left_bytes = max(0, self._left_bytes - len(data.data))
        self._chunk_bytes += len(data.data)
        self._chunks += data.chunk_end
        if self._chunks > max(FEW_CHUNKS, self._chunk_bytes // SMALL_CHUNK_BYTES):
            self._refuse(f"expected chunks of {SMALL_CHUNK_BYTES} bytes or more, found smaller")

    def _refuse(self, fault: str) -> None:
        self.fault = fault
        raise h11.RemoteProtocolError(fault)
