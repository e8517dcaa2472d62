"""Runs the application until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import os
import signal
import socket
import sys
from types import FrameType

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from pawprint.runner.errors import PawprintError
from pawprint.serving.access import SURPLUS
from pawprint.serving.app import build_app
from pawprint.serving.logs import LOGGER, start_logging
from pawprint.serving.models import open_models
from pawprint.serving.service import Service
from pawprint.serving.settings import Settings, add_options, read_settings

GRACE_S = 5
BACKLOG = 2048


def main(arguments: list[str], prog: str) -> int:
    """Serve as the command line says; see ``serve``.

    Args:
        arguments: behind the command's name.
        prog: how the command was called, for its help.
    """
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Answer requests about pictures, and show a page that makes them. Each option "
        "is also read from a variable: --max-batch from PAWPRINT_MAX_BATCH.",
    )
    add_options(parser, os.environ)
    serve(read_settings(parser.parse_args(arguments), os.environ))
    return 0


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or Ctrl-C, and finish what was accepted by then.

    Raises:
        PawprintError: a model cannot be used, or the address cannot be listened on.
    """
    service = Service(settings, open_models(settings))
    with listen(settings.host, settings.port) as listener:
        text = settings.log == "text" or (settings.log == "auto" and sys.stderr.isatty())
        start_logging(text)
        config = uvicorn.Config(
            build_app(service),
            http=connection_class(settings.read_timeout_s, settings.max_connections),
            ws="none",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=int(settings.read_timeout_s + settings.timeout_s) + GRACE_S,
        )
        host, port = listener.getsockname()[:2]
        # uvicorn raises the signal once more when it has finished, which would be a failure
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _exit)
        try:
            if text:
                print(greet(service, host, port), file=sys.stderr, flush=True)
            else:
                LOGGER.info("listening", extra={"fields": {"host": host, "port": port}})
            for served in service.models.all():
                if served.stale:
                    LOGGER.warning(served.stale)
            Server(config, service, settings).run([listener])
        finally:
            LOGGER.info("stopped")


def greet(service: Service, host: str, port: int) -> str:
    """What whoever starts the server reads first: where it is, what answers, how to end it."""
    models = " and ".join(served.classifier.card.name for served in service.models.all())
    key = "; its API key is asked for" if service.settings.api_key else ""
    return (
        f"Pawprint serves {models}{key}\n"
        f"  {address(host, port)}  the page; /docs describes the requests\n"
        "  Ctrl-C stops it"
    )


def address(host: str, port: int) -> str:
    """Where a browser on this machine finds a server.

    Args:
        host: the address that it listens on; that of every interface is none to go to.
        port: of it.

    >>> address("0.0.0.0", 8000), address("::1", 80)
    ('http://127.0.0.1:8000', 'http://[::1]:80')
    """
    found = ipaddress.ip_address(host.partition("%")[0])
    if found.is_unspecified:
        found = ipaddress.ip_address("127.0.0.1" if found.version == 4 else "::1")
    return f"http://[{found}]:{port}" if found.version == 6 else f"http://{found}:{port}"


def _exit(sig: int, frame: FrameType | None) -> None:
    sys.exit(0)


class Server(uvicorn.Server):
    """Says that it is not ready for a while before it accepts no more.

    What uvicorn calls here is none of its public side: see tests/test_private_sides.py.
    """

    def __init__(self, config: uvicorn.Config, service: Service, settings: Settings) -> None:
        super().__init__(config)
        self._service = service
        self._drain_s = settings.drain_s

    async def on_tick(self, counter: int) -> bool:
        if self._service.failure is not None:
            raise PawprintError(f"a model does not run: {self._service.failure}")
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._service.stopping or not self._service.started or self.should_exit:
            super().handle_exit(sig, frame)
            return
        self._service.stopping = True
        asyncio.get_running_loop().call_later(self._drain_s, super().handle_exit, sig, frame)


def listen(host: str, port: int) -> socket.socket:
    """A socket for the server; PawprintError if the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only where the protocol is named; it costs 40 ms an answer
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # elsewhere this would let two servers share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise PawprintError(
            f"{host}:{port}: cannot listen there ({error.strerror}); choose another --port"
        ) from None
    return listener


def connection_class(timeout_s: float, most: int) -> type[H11Protocol]:
    """Uvicorn's connection, with an end to headers that never end and to answers never read.

    Requests of those that are opened while there are `most` say so, for ``Access`` to refuse them.
    Uvicorn's own limit counts one too many, refuses in plain text, and even the health check. Its
    connections are none of its public side: see tests/test_private_sides.py.
    """

    class Connection(H11Protocol):
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > most:
                self.app_state = {**self.app_state, SURPLUS: True}
            self._watch_headers()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch_headers()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_timer()
            super().connection_lost(exc)

        def timeout_keep_alive_handler(self) -> None:
            if self.transport.get_write_buffer_size():
                self.loop.call_later(timeout_s, self.transport.abort)
            super().timeout_keep_alive_handler()

        def _watch_headers(self) -> None:
            if self.conn.their_state is not h11.IDLE:
                self._stop_timer()
            elif self._timer is None:
                self._timer = self.loop.call_later(timeout_s, self.transport.abort)

        def _stop_timer(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    return Connection
