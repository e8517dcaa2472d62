"""The files of the pages: whole, in pieces, and not sent again to whoever has them."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from served import colours
from starlette.types import Message, Scope

from pawprint.serving.app import PAGES, build_app
from pawprint.serving.crowd import PIECE_BYTES
from pawprint.serving.models import open_models
from pawprint.serving.pages import Held
from pawprint.serving.service import Service
from pawprint.serving.settings import Settings

# covers: R18

BUNDLE = "/static/swagger/swagger-ui-bundle.js"


def ask(path: str, method: str = "GET", **options: Any) -> httpx.Response:
    settings = Settings(model=str(colours()))
    app = build_app(Service(settings, open_models(settings)))

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request(method, path, **options)

    return asyncio.run(send())


@pytest.mark.parametrize(
    ("path", "file", "kind"),
    [
        ("/", "index.html", "text/html; charset=utf-8"),
        ("/docs", "docs.html", "text/html; charset=utf-8"),
        ("/static/page.css", "page.css", "text/css; charset=utf-8"),
        ("/static/page.js", "page.js", "text/javascript; charset=utf-8"),
        ("/static/paw.svg", "paw.svg", "image/svg+xml"),
    ],
)
def test_a_file_is_sent_once_to_whoever_keeps_it(path, file, kind):
    answer = ask(path)
    assert answer.status_code == 200
    assert answer.content == (PAGES / file).read_bytes()
    assert answer.headers["content-type"] == kind
    assert answer.headers["content-length"] == str(len(answer.content))
    assert answer.headers["cache-control"] == "no-cache"
    tag = answer.headers["etag"]
    for known in (tag, f'"other", W/{tag}'):
        again = ask(path, headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == tag
    assert ask(path, headers={"If-None-Match": '"other"'}).status_code == 200


def test_a_large_file_arrives_whole():
    answer = ask(BUNDLE)
    assert len(answer.content) > 1_000_000
    assert answer.headers["content-length"] == str(len(answer.content))
    assert answer.headers["etag"] != ask("/static/page.js").headers["etag"]


@pytest.mark.parametrize("path", ["/static/none.js", "/static/", "/static", "/static/swagger/x"])
def test_other_files_are_not_found(path):
    assert ask(path).status_code == 404


def test_files_are_read_and_no_more():
    assert ask("/static/page.js", "HEAD").status_code == 200
    refused = ask("/static/page.js", "POST")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES])
def test_pieces_are_small_and_make_the_whole(size):
    content = bytes(i % 251 for i in range(size))
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError("there is nothing to receive")

    scope: Scope = {"type": "http", "method": "GET", "headers": []}
    asyncio.run(Held(content)(scope, receive, send))
    assert (b"content-length", str(size).encode()) in sent[0]["headers"]
    pieces = [message["body"] for message in sent[1:]]
    assert b"".join(pieces) == content
    assert max(map(len, pieces)) <= PIECE_BYTES
    assert [message["more_body"] for message in sent[1:]] == [True] * (len(pieces) - 1) + [False]
