"""What every request passes: its id, the key, the headers of its answer, its line in the log."""

from __future__ import annotations

import hmac
import logging
import re
import secrets
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pawprint.serving import schemas
from pawprint.serving.logs import LOGGER, REQUEST
from pawprint.serving.origins import Origins
from pawprint.serving.service import Service

SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
STATIC = "/static/"
PROBES = ("/healthz", "/readyz")
DOCS, DESCRIPTION = "/docs", "/openapi.json"
FREE = ("/", DOCS, DESCRIPTION, *PROBES)  # no key; the pages ask for it
SURPLUS = "surplus"  # in the state of connections beyond the most that may be open
CLIENT_GONE = 499  # nginx' number for a client that did not wait; it is never sent
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
RAW_HEADERS = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
# Of the requests by which a browser asks whether a page of another origin may send its own
PREFLIGHT = frozenset(("origin", "access-control-request-method"))
PERMISSION = {
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, X-Client-ID, X-Request-ID",
    "Access-Control-Max-Age": "600",
}
EXPOSED = ("X-Request-ID", *schemas.MODEL_HEADERS, "Retry-After")


class Access:
    """Outermost layer of the application.

    Args:
        app: what lies within.
        service: whose key is asked for, and whose counters count.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service
        self._origins = Origins(service.settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if SANE_ID.fullmatch(given) else secrets.token_hex(8)
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        status = CLIENT_GONE
        unread = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers

        async def receive_on() -> Message:
            nonlocal unread
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body"):
                unread = False
            return message

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                out = MutableHeaders(scope=message)
                out["X-Request-ID"] = request_id
                kept = scope["path"].startswith(STATIC)
                out.setdefault("Cache-Control", "no-cache" if kept else "no-store")
                out.raw.extend(RAW_HEADERS)
                self._admit(headers, out)
                if unread:  # what is still on its way is not waited for
                    out["Connection"] = "close"
            await send(message)

        level, error = logging.INFO, None
        try:
            app = self._find_refusal(scope, headers) or self._app
            await app(scope, receive_on, send_on)
        except ClientDisconnect:
            pass
        except Exception as caught:
            level, error = logging.ERROR, caught
            if status == CLIENT_GONE:
                await _fail(scope, receive, send_on)
        finally:
            seconds = time.perf_counter() - began
            # see tests/test_private_sides.py
            path = getattr(scope.get("route"), "path", "") or "other"
            self._count(path, scope["method"], status, seconds, state.get("model"))
            fields = {
                "request_id": request_id,
                "method": scope["method"],
                "path": path,
                "status": status,
                "seconds": round(seconds, 4),
                "pictures": state.get("pictures", 0),
                **({"peer": scope["client"][0]} if self._names_peer(scope) else {}),
                **{name: state[name] for name in ("model", "reason") if name in state},
            }
            LOGGER.log(level, REQUEST, extra={"fields": fields}, exc_info=error)

    def _names_peer(self, scope: Scope) -> bool:
        return self._service.settings.log_peer and scope.get("client") is not None

    def _find_refusal(self, scope: Scope, headers: Headers) -> Response | None:
        if SURPLUS in scope["state"] and scope["path"] not in PROBES:
            most = self._service.settings.max_connections
            text = f"expected at most {most} connections, found more; try again"
            return self._refuse(
                scope, 503, "connections", text, {"Retry-After": "1", "Connection": "close"}
            )
        if scope["path"] in PROBES and scope["method"] == "GET":
            return None  # asked by address from within a container, a cluster, a balancer
        if fault := self._origins.find_host_fault(headers):
            return self._refuse(scope, fault[0], "host", fault[1], {})
        if self._is_preflight(scope, headers):
            return Response(status_code=204, headers=PERMISSION)
        if self._origins.is_foreign(scope["method"], scope["path"], headers):
            text = "expected a page of this server, or of an Origin listed by --cors-origins"
            return self._refuse(scope, 403, "origin", text, {})
        if not self._may_pass(scope["path"], headers):
            text = "expected the header 'Authorization: Bearer' with the server's API key"
            return self._refuse(scope, 401, "key", text, {"WWW-Authenticate": "Bearer"})
        return None

    def _is_preflight(self, scope: Scope, headers: Headers) -> bool:
        """Whether a browser asks if a page of a listed origin may send a request."""
        asks = scope["method"] == "OPTIONS" and PREFLIGHT.issubset(headers)
        return asks and headers["origin"] in self._origins.listed

    def _admit(self, headers: Headers, out: MutableHeaders) -> None:
        """Let pages of the listed origins read an answer; browsers keep it from all others."""
        if not self._origins.listed:
            return
        out.add_vary_header("Origin")
        origin = headers.get("origin", "")
        if origin in self._origins.listed:
            out["Access-Control-Allow-Origin"] = origin
            out["Access-Control-Expose-Headers"] = ", ".join(EXPOSED)
            out["Cross-Origin-Resource-Policy"] = "cross-origin"

    def _refuse(
        self, scope: Scope, status: int, reason: str, text: str, headers: dict[str, str]
    ) -> Response:
        state = scope["state"]
        state["reason"] = reason
        self._service.monitor.rejected.labels(reason).inc()
        error = schemas.Error(error=text, reason=reason, request_id=state["request_id"])
        return schemas.render(error, status, headers)

    def _may_pass(self, path: str, headers: Headers) -> bool:
        key = self._service.settings.api_key
        if not key or path in FREE or path.startswith(STATIC):
            return True
        scheme, _, sent = headers.get("authorization", "").partition(" ")
        same = hmac.compare_digest(sent.strip().encode(), key.encode())
        return same and scheme.lower() == "bearer"

    def _count(
        self, path: str, method: str, status: int, seconds: float, model: str | None
    ) -> None:
        known = method if method in ("GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE") else "other"
        monitor = self._service.monitor
        monitor.requests.labels(path, known, str(status)).inc()
        monitor.seconds.labels(path).observe(seconds)
        if model is not None:
            monitor.model_requests.labels(model, path, str(status)).inc()
            monitor.model_seconds.labels(model, path).observe(seconds)


async def _fail(scope: Scope, receive: Receive, send: Send) -> None:
    error = schemas.Error(
        error="a fault of the server; its log has the reason under this request_id",
        reason="fault",
        request_id=scope["state"]["request_id"],
    )
    await schemas.render(error, 500)(scope, receive, send)
