"""The page's server: what it shows, and the one thing that it writes."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import asdict
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from typing import Any

from PIL import Image
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from pawprint.data.manifest import Picture, open_archive
from pawprint.data.suspects import Suspects
from pawprint.pictures.images import decode_image
from pawprint.review.desk import Desk
from pawprint.runner.errors import DataError, ImageError, describe_os_error
from pawprint.runner.params import PreprocessParams
from pawprint.serving.origins import OWN_SITES, Origins
from pawprint.serving.settings import Settings

REVIEW_FILES = Path(__file__).parent / "static"
PAGE = {
    "/": "review.html",
    "/review.css": "review.css",
    "/review.js": "review.js",
}
OPEN = "open"  # what the page says of a decision that is taken back
SIDES_PX = (160, 720)  # of a neighbour, of the picture itself
MOST_BYTES = 4096  # of what is decided
_VALUES = {"decision", "label", "why", "who"}
_QUALITY = 85  # of the JPEGs
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}


def build_app(suspects: Suspects, desk: Desk, archive: Path, config: PreprocessParams) -> ASGIApp:
    """The application.

    Args:
        suspects: what is shown.
        desk: where it is decided.
        archive: the canonical one.
        config: how pictures are decoded.
    """
    known = suspects.pictures
    show = lru_cache(maxsize=256)(lambda sha256, px: _render(archive, known[sha256], px, config))

    async def page(request: Request) -> Response:
        return FileResponse(REVIEW_FILES / PAGE[request.url.path], headers=_HEADERS)

    async def table(request: Request) -> Response:
        decisions = await run_in_threadpool(_or_conflict, desk.read)
        found = _as_values(suspects)
        found["decisions"] = {sha256: asdict(one) for sha256, one in decisions.items()}
        return JSONResponse(found, headers=_HEADERS)

    async def picture(request: Request) -> Response:
        sha256, side_px = request.path_params["sha256"], request.path_params["side_px"]
        if sha256 not in known or side_px not in SIDES_PX:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        content = await run_in_threadpool(show, sha256, side_px)
        return Response(content, media_type="image/jpeg", headers=_HEADERS)

    async def decide(request: Request) -> Response:
        sha256 = request.path_params["sha256"]
        if sha256 not in known:
            raise HTTPException(HTTPStatus.NOT_FOUND, "no picture of this data set")
        values = await _read_values(request)
        if values["decision"] == OPEN:
            count, before = await run_in_threadpool(_or_conflict, desk.reopen, sha256)
        else:
            count, before = await run_in_threadpool(_or_conflict, desk.decide, sha256, **values)
        found = {"decided": count, "before": before and asdict(before)}
        return JSONResponse(found, headers=_HEADERS)

    routes = [
        *(Route(path, page) for path in PAGE),
        Route("/suspects.json", table),
        Route("/pictures/{sha256}/{side_px:int}", picture),
        Route("/decisions/{sha256}", decide, methods=["PUT"]),
    ]
    return OwnPagesOnly(Starlette(routes=routes))


class OwnPagesOnly:
    """Answers this page, and nobody else's: a page of another origin could write decisions.

    Browsers say which page asks; a name that leads to this machine is told by the Host.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._origins = Origins(Settings())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (fault := self._find_fault(scope)):
            answer = PlainTextResponse(fault[1], fault[0], headers=_HEADERS)
            await answer(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _find_fault(self, scope: Scope) -> tuple[int, str] | None:
        headers = Headers(scope=scope)
        if fault := self._origins.find_host_fault(headers):
            return fault
        led_here = scope["path"] == "/" and scope["method"] == "GET"  # by a link
        foreign = headers.get("sec-fetch-site", "none") not in OWN_SITES and not led_here
        if foreign or self._origins.is_foreign(scope["method"], scope["path"], headers):
            return HTTPStatus.FORBIDDEN, "another page asks; only that of the review may"
        return None


async def _read_values(request: Request) -> dict[str, str]:
    """The body: decision, label, why and, if an earlier decision comes back, who; each a text."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MOST_BYTES:
            raise HTTPException(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {MOST_BYTES} bytes"
            )
    try:
        values = {"decision": "", "label": "", "why": ""} | json.loads(body)
    except (TypeError, ValueError, RecursionError):
        values = {}
    texts = all(isinstance(value, str) for value in values.values())
    if not values or values.keys() - _VALUES or not texts:
        raise HTTPException(
            HTTPStatus.BAD_REQUEST,
            "expected a JSON object with decision, label, why and who, as texts",
        )
    return values


def _or_conflict(function: Any, *args: Any, **options: Any) -> Any:
    """Call a function of the desk; what stands in the way is told to the person."""
    try:
        return function(*args, **options)
    except DataError as error:
        raise HTTPException(HTTPStatus.CONFLICT, str(error)) from None
    except OSError as error:
        raise HTTPException(HTTPStatus.INSUFFICIENT_STORAGE, describe_os_error(error)) from None


def _render(archive: Path, picture: Picture, side_px: int, config: PreprocessParams) -> bytes:
    """A JPEG of the whole picture."""
    try:
        with open_archive(archive) as opened:
            content = opened.read(picture.path)
        if hashlib.sha256(content).hexdigest() != picture.sha256:
            raise DataError(f"{picture.path} is another picture now: start the review again")
        pixels = decode_image(
            content, side_px, config.max_pixels, config.max_value, resize="letterbox"
        )
    except (DataError, ImageError) as error:
        raise HTTPException(HTTPStatus.NOT_FOUND, str(error)) from None
    except OSError as error:  # while `dvc repro` makes the archive anew, there is none
        raise HTTPException(HTTPStatus.NOT_FOUND, describe_os_error(error)) from None
    small = io.BytesIO()
    Image.fromarray(pixels).save(small, "JPEG", quality=_QUALITY)
    return small.getvalue()


def _as_values(suspects: Suspects) -> dict[str, Any]:
    def describe(picture: Picture) -> dict[str, str]:
        return {
            "sha256": picture.sha256,
            "path": picture.path,
            "split": picture.split,
            "label": picture.class_name,
            "source_label": picture.source_class,
        }

    return {
        "classes": suspects.class_names,
        "remarks": suspects.remarks,
        "unknown": suspects.unknown,
        "suspects": [
            {
                **describe(one.picture),
                "copies": [describe(picture) for picture in one.copies],
                "suggested": one.suggested,
                "why": one.why,
                "probabilities": one.probabilities,
                "neighbours": [
                    {**describe(picture), "similarity": similarity}
                    for picture, similarity in one.neighbours
                ],
            }
            for one in suspects.suspects
        ],
    }
