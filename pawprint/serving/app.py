"""The web application: requests, page, and what surrounds both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from pawprint.serving import schemas
from pawprint.serving.access import DESCRIPTION, DOCS, Access
from pawprint.serving.api import add_routes
from pawprint.serving.limits import Refusal
from pawprint.serving.pages import Page, Pages
from pawprint.serving.service import Service
from pawprint.serving.uploads import describe

PAGES = Path(__file__).parent / "static"


def build_app(service: Service) -> FastAPI:
    """The application of a service, which it starts and stops.

    FastAPI's own page of its description is left out: it comes from a CDN.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        starting = asyncio.create_task(service.start())
        yield
        await starting
        await service.stop()

    app = FastAPI(
        title="Pawprint",
        version="1",
        description=introduction(service),
        openapi_tags=schemas.TAGS,
        openapi_url=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # they would lead to where the header Host says
        lifespan=lifespan,
    )
    app.add_middleware(Access, service=service)
    add_routes(app, service)

    for path, file in (("/", "index.html"), (DOCS, "docs.html")):
        app.add_api_route(path, _page(Page(PAGES / file)), include_in_schema=False)
    # The package's own files: see tests/test_private_sides.py
    app.mount("/static/swagger", Pages(Path(str(files("fastapi_offline"))) / "static"))
    app.mount("/static", Pages(PAGES))

    @app.exception_handler(HTTPException)
    async def refuse(request: Request, error: HTTPException) -> Response:
        phrase = HTTPStatus(error.status_code).phrase
        reason = getattr(error, "reason", phrase.lower().replace(" ", "_"))
        if isinstance(error, Refusal):
            service.monitor.rejected.labels(reason).inc()
        return _render(request, error.status_code, reason, error.detail, error.headers)

    @app.exception_handler(RequestValidationError)
    async def refuse_query(request: Request, error: RequestValidationError) -> Response:
        service.monitor.rejected.labels("malformed").inc()
        return _render(request, 422, "malformed", describe(error.errors()[0]))

    return app


def introduction(service: Service) -> str:
    """What a reader of the description must know first, in Markdown."""
    settings = service.settings
    key = ' -H "Authorization: Bearer $KEY"' if settings.api_key else ""
    asked = (
        "Requests about pictures and models need the server's key: *Authorize* sets it on this "
        "page, the header `Authorization: Bearer KEY` elsewhere."
        if settings.api_key
        else "No key is asked for."
    )
    return f"""
Says which class a picture belongs to, and shows where the evidence lies. `/v1/model` tells which
models answer, their classes, and how many pixels a picture may have.

    curl{key} -F files=@cat.jpg http://127.0.0.1:8000/v1/predict

Put this server's own address there. A form may hold many `files`; JSON holds pictures in base64,
or as data URLs: `{{"images": [{{"content": "data:image/png;base64,..."}}]}}`. A picture that cannot
be used is an entry with the reason; the others are answered.

{asked}

A request holds at most {settings.max_pictures} pictures and {settings.max_body_bytes:,} bytes, and
is answered within {settings.timeout_s:g} s. With 429 or 503 there is too much to do: try again
after the seconds in `Retry-After`.
"""


def _page(page: Page) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        return page.answer(request.headers)

    return answer


def _render(
    request: Request, status: int, reason: str, text: str, headers: Mapping[str, str] | None = None
) -> Response:
    request.state.reason = reason
    content = schemas.Error(error=text, reason=reason, request_id=request.state.request_id)
    return schemas.render(content, status, headers)
