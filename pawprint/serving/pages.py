"""The files of the pages, held in memory: whoever asks for one costs no thread and no open file."""

from __future__ import annotations

import asyncio
import hashlib
import mimetypes
from functools import cached_property
from pathlib import Path

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pawprint.serving.crowd import PIECE_BYTES


class Held(Response):
    """An answer that is sent in pieces, so that only one of them waits for a slow client."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": self.status_code}
        await send({**start, "headers": self.raw_headers})
        body = memoryview(self.body)
        for begin in range(0, max(1, len(body)), PIECE_BYTES):
            piece = bytes(body[begin : begin + PIECE_BYTES])
            more = begin + PIECE_BYTES < len(body)
            await send({"type": "http.response.body", "body": piece, "more_body": more})
            if more:
                await asyncio.sleep(
                    0
                )  # the turn of others; and time to learn that the client has gone


class Page:
    """One file, read when it is first asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def answer(self, headers: Headers) -> Response:
        """The file, or that whoever asks has it already (status 304).

        Args:
            headers: of the request.
        """
        same = {"ETag": self._tag, "Cache-Control": "no-cache"}
        known = headers.get("if-none-match", "").replace("W/", "").split(",")
        if self._tag in (tag.strip() for tag in known):
            return Response(status_code=304, headers=same)
        return Held(self._content, headers=same, media_type=mimetypes.guess_type(self._path)[0])

    @cached_property
    def _content(self) -> bytes:
        return self._path.read_bytes()

    @cached_property
    def _tag(self) -> str:
        return f'"{hashlib.sha256(self._content).hexdigest()[:32]}"'


class Pages:
    """The files of a directory, to be mounted: those that it has now, and none below it."""

    def __init__(self, directory: Path) -> None:
        self._pages = {f"/{path.name}": Page(path) for path in directory.iterdir()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        page = self._pages.get(scope["path"].removeprefix(scope["root_path"]))
        if page is None:
            raise HTTPException(404)
        if scope["method"] not in ("GET", "HEAD"):
            raise HTTPException(405, headers={"Allow": "GET, HEAD"})
        await page.answer(Headers(scope=scope))(scope, receive, send)
