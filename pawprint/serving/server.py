"""Runs the application until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import ipaddress
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from types import FrameType

import uvicorn

from pawprint.runner.errors import PawprintError
from pawprint.runner.limits import give_back_large_blocks
from pawprint.serving.app import build_app
from pawprint.serving.connections import connection_class
from pawprint.serving.crowd import PIECE_BYTES, Crowd
from pawprint.serving.logs import LOGGER, start_logging
from pawprint.serving.models import open_models
from pawprint.serving.open_files import Listener, Room, make_room
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
        PawprintError: a model cannot be used, the address cannot be listened on, or too few files
            may be open.
    """
    wanted = Room(settings.max_connections)
    room = make_room(wanted.connections, settings.decoder_count)
    settings = dataclasses.replace(settings, max_connections=room.connections)
    give_back_large_blocks()  # or bodies of 30 MB would stay, a few for each thread
    service = Service(settings, open_models(settings))
    count = service.monitor.closed
    crowd = Crowd(settings, room.spare, lambda reason: count.labels(reason).inc())
    with listen(settings.host, settings.port) as listener:
        text = settings.log == "text" or (settings.log == "auto" and sys.stderr.isatty())
        start_logging(text, settings.log_lines_per_s)
        config = uvicorn.Config(
            build_app(service),
            http=connection_class(crowd),
            loop="asyncio",
            ws="none",
            backlog=room.at_once,
            timeout_keep_alive=settings.keep_alive_s,
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
            if service.ring:
                LOGGER.info(service.ring.describe())
            for served in service.models.all():
                for line in served.describe_watch():
                    LOGGER.info(line)
            for line in _find_warnings(service, wanted):
                LOGGER.warning(line)
            Server(config, service, crowd).run([listener])
        finally:
            LOGGER.info("stopped")


def _find_warnings(service: Service, wanted: Room) -> Iterator[str]:
    """What whoever starts the server should know; `wanted` is the room that was asked for."""
    settings = service.settings
    if settings.max_connections < wanted.connections:
        yield (
            f"open files: too few are allowed for --max-connections {wanted.connections}, which "
            f"is {settings.max_connections} now; raise the limit (ulimit -n) to "
            f"{wanted.files(settings.decoder_count)}"
        )
    for served in service.models.all():
        if served.stale:
            yield served.stale


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
    """Says that it is not ready for a while before it accepts no more, and then ends soon.

    What uvicorn calls here is none of its public side: see tests/test_private_sides.py.
    """

    def __init__(self, config: uvicorn.Config, service: Service, crowd: Crowd) -> None:
        super().__init__(config)
        self._crowd = crowd
        self._service = service
        self._drain_s = crowd.settings.drain_s

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # The backlog that asyncio was told of is also how many connections it accepts at once
        for listener in sockets or []:
            listener.listen(BACKLOG)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._crowd.closing = True
        await super().shutdown(sockets)

    async def on_tick(self, counter: int) -> bool:
        if self._service.failure is not None:
            raise PawprintError(f"a model does not run: {self._service.failure}")
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._service.stopping or not self._service.started or self.should_exit:
            super().handle_exit(sig, frame)
            return
        self._service.stopping = True
        # A signal may come while asyncio sorts its timers, and a timer that is set then is lost
        loop = asyncio.get_running_loop()
        loop.call_soon_threadsafe(loop.call_later, self._drain_s, super().handle_exit, sig, frame)


def listen(host: str, port: int) -> socket.socket:
    """A socket for the server; PawprintError if the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only where the protocol is named; it costs 40 ms an answer
    listener = Listener(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
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
    if sys.platform in ("linux", "darwin"):
        # An answer that nobody reads waits in this process, where it is seen, not in the system
        with suppress(OSError):  # some sandboxes know no such option
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, 2 * PIECE_BYTES)
    return listener
