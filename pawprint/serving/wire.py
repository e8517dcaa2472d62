"""What is taken for a request, before anything else looks at it."""

from __future__ import annotations

import re

import h11

MAX_HEAD_BYTES = 16_384
MAX_HEAD_LINES = 100
FEW_CHUNKS = 1000  # of one body, that may be as small as they like
SMALL_CHUNK_BYTES = 64
END_OF_HEAD = re.compile(rb"\n\r?\n")


class Wire(h11.Connection):
    """HTTP/1.1 as h11 reads it, but for what costs too much, and what others may read otherwise.

    h11 limits a head only while it is incomplete, and neither its lines nor the chunks of a body.
    A body with two lengths is how requests are smuggled past a proxy (RFC 9112, section 6.1).

    What else h11 shows here is more than it promises: see tests/test_private_sides.py.

    Attributes:
        fault: why the last request was refused, if it was not by h11 itself.
        takes_all: whether what comes next is a body that costs the same in whatever parts it comes.
    """

    def __init__(self) -> None:
        super().__init__(h11.SERVER, MAX_HEAD_BYTES)
        self.fault = ""
        self._chunked = False
        self._chunks = 0
        self._chunk_bytes = 0

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """What h11 says.

        Raises:
            h11.RemoteProtocolError: this is no request, or none that is taken.
        """
        if self.their_state is h11.IDLE:
            self._check_head()
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._check_length(event)
        elif isinstance(event, h11.Data):
            self._check_chunk(event)
        elif isinstance(event, h11.EndOfMessage) and len(list(event.headers)) > MAX_HEAD_LINES:
            self._refuse(f"expected at most {MAX_HEAD_LINES} lines after the body, found more")
        return event

    @property
    def takes_all(self) -> bool:
        return self.their_state is h11.SEND_BODY and not self._chunked

    def _check_head(self) -> None:
        received = self.trailing_data[0]
        end = END_OF_HEAD.search(received)
        length = end.end() if end else len(received)
        if length > MAX_HEAD_BYTES or received.count(b"\n", 0, length) > MAX_HEAD_LINES + 2:
            self._refuse(
                f"expected at most {MAX_HEAD_LINES} headers in {MAX_HEAD_BYTES} bytes, found more"
            )

    def _check_length(self, request: h11.Request) -> None:
        self._chunks = self._chunk_bytes = 0
        names = {name for name, _ in request.headers}
        self._chunked = b"transfer-encoding" in names
        if not self._chunked:
            return
        if b"content-length" in names:
            self._refuse("expected Content-Length or Transfer-Encoding, found both")
        if request.http_version < b"1.1":
            self._refuse("expected no Transfer-Encoding in HTTP/1.0")

    def _check_chunk(self, data: h11.Data) -> None:
        self._chunk_bytes += len(data.data)
        self._chunks += data.chunk_end
        if self._chunks > max(FEW_CHUNKS, self._chunk_bytes // SMALL_CHUNK_BYTES):
            self._refuse(f"expected chunks of {SMALL_CHUNK_BYTES} bytes or more, found smaller")

    def _refuse(self, fault: str) -> None:
        self.fault = fault
        raise h11.RemoteProtocolError(fault)
