"""The web application: requests, page, and what surrounds both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from pawprint.serving import schemas
from pawprint.serving.access import DESCRIPTION, DOCS, Access
from pawprint.serving.api import add_routes
from pawprint.serving.limits import Refusal
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
        openapi_url=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.add_middleware(Access, service=service)
    add_routes(app, service)

    for path, file in (("/", "index.html"), (DOCS, "docs.html")):
        app.add_api_route(path, _page(PAGES / file), include_in_schema=False)
    # The package's own files: see tests/test_private_sides.py
    app.mount("/static/swagger", StaticFiles(packages=[("fastapi_offline", "static")]))
    app.mount("/static", StaticFiles(directory=PAGES), name="static")

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


def _page(file: Path) -> Callable[[], Awaitable[Response]]:
    async def page() -> Response:
        return FileResponse(file, headers={"Cache-Control": "no-cache"})

    return page


def _render(
    request: Request, status: int, reason: str, text: str, headers: Mapping[str, str] | None = None
) -> Response:
    request.state.reason = reason
    content = schemas.Error(error=text, reason=reason, request_id=request.state.request_id)
    return schemas.render(content, status, headers)
