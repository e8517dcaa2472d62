"""The web application: requests, page, and what surrounds both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from pawprint.serving.access import Access
from pawprint.serving.api import add_routes
from pawprint.serving.limits import Refusal
from pawprint.serving.service import Service
from pawprint.serving.uploads import describe

STATIC = Path(__file__).parent / "static"


def build_app(service: Service) -> FastAPI:
    """The application of a service, which it starts and stops.

    Swagger's page is left out: it comes from a CDN. The description is at /openapi.json.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        starting = asyncio.create_task(service.start())
        yield
        await starting
        await service.stop()

    app = FastAPI(title="Pawprint", version="1", docs_url=None, redoc_url=None, lifespan=lifespan)
    app.add_middleware(Access, service=service)
    add_routes(app, service)

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})

    app.mount("/static", StaticFiles(directory=STATIC), name="static")

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


def _render(
    request: Request, status: int, reason: str, text: str, headers: Mapping[str, str] | None = None
) -> Response:
    request.state.reason = reason
    content = {"error": text, "reason": reason, "request_id": request.state.request_id}
    return JSONResponse(content, status, headers)
