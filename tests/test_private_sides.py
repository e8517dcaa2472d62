# covers: B1, B3, B5, C2, R9, R18
"""Where Pawprint relies on more than a library promises: an upgrade that breaks it fails here."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib
import io
import json
import logging
import multiprocessing
import os
import platform
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zipfile import ZipFile

import h11
import httpx
import numpy as np
import pytest
import uvicorn
import yaml
from corpus import heic
from dvc.dependency import ParamsDependency
from dvc.repo import Repo
from dvc_data.hashfile.meta import Meta
from living import wait_until
from PIL import Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile
from project import Project
from servers import Reply, kaggle_environment, serve
from starlette.types import ASGIApp, Receive, Scope, Send

from pawprint.backbones.build import build_backbone
from pawprint.backbones.lite import LITES
from pawprint.comparison.trees import find_project, open_tree
from pawprint.inference.classifier import ModelCard
from pawprint.networks.runtime import hidden
from pawprint.pictures.images import READABLE, decode_image
from pawprint.pictures.netpbm import scale_numbers
from pawprint.ranking.weights import keras_file
from pawprint.registry.backbones import BACKBONES
from pawprint.runner.errors import ImageError, ImageFault, PawprintError, WeightsError
from pawprint.runner.files import file_digest
from pawprint.runner.params_file import load_params
from pawprint.runner.processes import available_cores, worker_pool
from pawprint.serving.access import SURPLUS
from pawprint.serving.app import PAGES, build_app
from pawprint.serving.connections import connection_class
from pawprint.serving.crowd import IDLE_S, Crowd, Ended, Occupant
from pawprint.serving.open_files import Listener
from pawprint.serving.server import Server, listen
from pawprint.serving.service import Service
from pawprint.serving.settings import Settings
from pawprint.serving.wire import Wire

ROOT = Path(__file__).resolve().parent.parent
NOISE = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
PRIVATE_IMPORT = re.compile(r"\s*(from|import) .*(\.python\.|\.src\b|\._|_pb2|_impl\b|_generated)")


def module_of(name: str) -> Path:
    """The file in which ``pawprint.a.b.Class.method`` stands."""
    parts = name.split(".")
    files = [ROOT.joinpath(*parts[:i]).with_suffix(".py") for i in range(2, len(parts) + 1)]
    return next(file for file in files if file.is_file())


def test_each_trick_is_marked_where_it_is_used():
    """The docstrings here name the places, and a comment at each of these names this file."""
    texts = {path: path.read_text(encoding="utf-8") for path in (ROOT / "pawprint").rglob("*.py")}
    marked = {path for path, text in texts.items() if f"tests/{Path(__file__).name}" in text}
    told = [str(test.__doc__) for name, test in globals().items() if name.startswith("test_")]
    named = {
        module_of(name) for text in told for name in re.findall(r"`(pawprint(?:\.\w+)+)`", text)
    }
    assert marked == named
    importing = {p for p, text in texts.items() if any(map(PRIVATE_IMPORT.match, text.split("\n")))}
    assert importing
    assert importing <= marked


# ---- uvicorn


async def tell_state(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that says whether its connection is one too many; on /slow after a while.

    On /5000 the answer has 5000 bytes; on /body it is given while the body still comes.
    """
    if scope["path"] == "/slow":
        await asyncio.sleep(1)
    size = scope["path"][1:]
    content = bytes(int(size)) if size.isdecimal() else str(SURPLUS in scope["state"]).encode()
    headers = [(b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if scope["path"] == "/body":
        while (await receive()).get("more_body"):
            pass
    await send({"type": "http.response.body", "body": content})


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Uvicorn:
    """A server of an application with Pawprint's connections, for one event loop.

    Attributes:
        address: of it.
        ended: why connections were ended, in order.
    """

    def __init__(self, address: tuple[str, int], ended: list[Ended]) -> None:
        self.address = address
        self.ended = ended

    async def connect(self, send: bytes = b"") -> Connection:
        reader, writer = await asyncio.open_connection(*self.address)
        writer.write(send)
        return reader, writer

    async def ask(self, connection: Connection, path: str = "/") -> str:
        """What is answered on a connection, which stays open."""
        reader, writer = connection
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        return (await reader.read(5)).decode()


@asynccontextmanager
async def serving(
    settings: Settings,
    app: ASGIApp = tell_state,
    crowd_class: type[Crowd] = Crowd,
    **options: Any,
) -> AsyncIterator[Uvicorn]:
    ended: list[Ended] = []
    crowd = crowd_class(settings, 1, ended.append)
    config = uvicorn.Config(
        app, http=connection_class(crowd), lifespan="off", log_config=None, **options
    )
    server = Server(config, service_of(), crowd)
    with listen("127.0.0.1", 0) as listener:
        address = listener.getsockname()
        running = asyncio.create_task(server.serve([listener]))
        while not server.started:
            await asyncio.sleep(0.01)
        try:
            yield Uvicorn(address, ended)
        finally:
            server.should_exit = True
            await running


def run_soon(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, 20))


async def read_rest(connection: Connection) -> bytes:
    content = b""
    with suppress(ConnectionResetError):
        while part := await connection[0].read(1_000_000):
            content += part
    connection[1].close()
    return content


def test_uvicorn_asks_the_connection_for_the_state_of_its_requests():
    """`pawprint.serving.connections.Connection` replaces `app_state` and is told of its end.

    Uvicorn has a limit of its own, which is one too high and refuses the health check, too; nothing
    public tells an application how many connections are open.
    """

    async def scenario() -> None:
        async with serving(Settings(max_connections=1)) as server:
            first = await server.connect()
            assert await server.ask(first) == "False"
            second = await server.connect()
            assert await server.ask(second) == "True"
            assert await server.ask(first) == "False"
            for _, writer in (first, second):
                writer.close()
            told = "True"
            while told == "True":  # until the server has met that they are closed
                await asyncio.sleep(0.05)
                third = await server.connect()
                told = await server.ask(third)
                third[1].close()

    run_soon(scenario())


def test_uvicorn_tells_the_connection_of_its_data():
    """`pawprint.serving.connections.Connection` times headers by h11's state in `conn`.

    Uvicorn waits for headers for ever, and has no option for that. A connection is timed between
    its requests only: an answer may take longer, and the next headers are timed anew.
    """

    async def scenario() -> None:
        async with serving(Settings(read_timeout_s=0.5)) as server:
            connection = await server.connect()
            assert await server.ask(connection, "/slow") == "False"
            connection[1].write(b"GET / HTTP/1.1\r\nX-Slow: ")
            assert await read_rest(connection) == b""
            assert server.ended == [Ended.SLOW]

    run_soon(scenario())


def test_uvicorn_hands_its_output_to_a_transport_that_tells_of_what_waits():
    """`pawprint.serving.connections.Connection` is asked to `pause_writing`, at the first byte.

    So it ends answers that nobody reads. Uvicorn closes an idle connection when all has been sent,
    which never comes where a client does not read; it has no option for that.
    """

    async def scenario() -> None:
        async with serving(Settings(write_timeout_s=0.3)) as server:
            connection = await server.connect(b"GET /20000000 HTTP/1.1\r\nHost: x\r\n\r\n")
            await asyncio.sleep(1)
            assert server.ended == [Ended.UNREAD]
            assert 0 < len(await read_rest(connection)) < 20_000_000

    run_soon(scenario())


def test_a_transport_tells_of_little_that_waits_too():
    """`pawprint.serving.connections.Connection` sets the transport's limit to 0.

    Uvicorn leaves it as it is, and a rest below it would wait for ever when uvicorn closes the
    connection. What the system takes first is not known, so answers of many sizes are not read.
    """
    met: list[Any] = []
    waiting: list[Any] = []

    class Telling(Crowd):
        def admit(self, occupant: Occupant) -> None:
            met.append(occupant)
            super().admit(occupant)

        def wait(self, occupant: Occupant, idle: bool) -> None:
            if not idle:
                waiting.append(occupant)
            super().wait(occupant, idle)

    async def scenario() -> None:
        async with serving(Settings(), crowd_class=Telling) as server:
            held = [socket.socket() for _ in range(30)]
            for i, connection in enumerate(held):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                connection.connect(server.address)
                connection.sendall(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % (20_000 * i))
            await asyncio.sleep(0.5)
            sizes = {one: one.transport.get_write_buffer_size() for one in met}
            for connection in held:
                connection.close()
        assert any(0 < size < 65_536 for size in sizes.values())
        assert {one for one in met if sizes[one]} <= set(waiting)

    run_soon(scenario())


def test_uvicorn_runs_the_application_of_the_connection(caplog):
    """`pawprint.serving.connections.Connection` puts its own `app` around that of the server.

    So it knows when a request is no more in work, and ends what nobody waits for. Uvicorn lets it
    run; its `disconnected` then keeps it from complaining that there was no answer.
    """
    given_up, done = asyncio.Event(), asyncio.Event()

    async def work(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != "/work":
            await tell_state(scope, receive, send)
            return
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            given_up.set()
            await done.wait()
            raise

    async def scenario() -> None:
        async with serving(Settings(max_connections=1), work) as server:
            _, writer = await server.connect(b"GET /work HTTP/1.1\r\nHost: x\r\n\r\n")
            await asyncio.sleep(0.3)
            writer.close()
            await given_up.wait()
            await asyncio.sleep(IDLE_S)
            for told in ("True", "False"):  # its place is free when its work is done
                connection = await server.connect()
                assert await server.ask(connection) == told
                done.set()
                connection[1].close()
                await asyncio.sleep(0.2)

    run_soon(scenario())
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        (b"nonsense\r\n\r\n", b"HTTP/1.1 400"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a:\r\n" * 200 + b"\r\n", b"HTTP/1.1 400"),
        # its answer had begun, of which nothing was on its way yet
        (b"POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n;", b""),
    ],
)
def test_uvicorn_asks_the_connection_to_refuse(sent, answered, caplog):
    """`pawprint.serving.connections.Connection` counts in `send_400_response`.

    It is called where h11 refuses, and where `pawprint.serving.wire.Wire` does, which h11 need not
    know; and in the middle of an answer, where uvicorn fails, since h11 sends no second one.
    """

    async def scenario() -> None:
        async with serving(Settings()) as server:
            connection = await server.connect(sent)
            await asyncio.sleep(0.2)
            connection[1].write(b"\r\n\r\n")
            assert (await read_rest(connection))[:12] == answered
            assert server.ended == [Ended.MALFORMED]

    run_soon(scenario())
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_h11_tells_what_it_has_not_read_yet():
    """`pawprint.serving.wire.Wire` looks at `trailing_data` before h11 does.

    That is meant for other protocols, after the last request. It must hold what comes next, whole,
    between requests, too.
    """
    connection = h11.Connection(h11.SERVER)
    request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    connection.receive_data(request[:20])
    assert connection.next_event() is h11.NEED_DATA
    assert connection.trailing_data[0] == request[:20]
    connection.receive_data(request[20:] + request[:9])
    assert isinstance(connection.next_event(), h11.Request)
    assert isinstance(connection.next_event(), h11.EndOfMessage)
    assert connection.next_event() is h11.PAUSED
    connection.send(h11.Response(status_code=204, headers=[]))
    connection.send(h11.EndOfMessage())
    connection.start_next_cycle()
    assert connection.their_state is h11.IDLE
    assert connection.trailing_data[0] == request[:9]


def test_h11_reads_the_same_in_parts():
    """`pawprint.serving.wire.Wire` gives h11 more only when that wants it, in `next_event`.

    Nothing promises that h11 and those who use it call no other way to read.
    """
    body = bytes(range(256)) * 400
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    wire, read = Wire(), b""
    wire.receive_data((head + body) * 2)
    for _ in range(2):
        assert isinstance(wire.next_event(), h11.Request)
        while isinstance(event := wire.next_event(), h11.Data):
            read += event.data
        assert isinstance(event, h11.EndOfMessage)
        wire.send(h11.Response(status_code=204, headers=[]))
        wire.send(h11.EndOfMessage())
        wire.start_next_cycle()
    assert read == body * 2
    assert not wire.has_more


def test_uvicorn_lets_asyncio_accept_no_more_than_its_backlog_at_once():
    """`pawprint.serving.server.Server` sets the system's own backlog again in `startup`.

    asyncio accepts as many connections in one turn as they may wait to be accepted, and each is an
    open file before anything can close it. It has one number for both.
    """
    turn, met = 0, []

    class Counting(Crowd):
        def admit(self, occupant: Occupant) -> None:
            met.append(turn)
            super().admit(occupant)

    async def scenario() -> None:
        nonlocal turn
        async with serving(Settings(), crowd_class=Counting, backlog=3) as server:
            # All of them wait to be accepted, beyond asyncio's number, while this loop stands still
            held = [socket.create_connection(server.address, timeout=5) for _ in range(20)]
            while len(met) < 20:
                turn += 1
                await asyncio.sleep(0)
            for connection in held:
                connection.close()

    run_soon(scenario())
    assert max(met.count(one) for one in met) <= 4  # one more, in some versions of Python


def test_asyncio_accepts_by_the_socket_it_is_given(caplog, monkeypatch):
    """`pawprint.serving.open_files.Listener` says in `accept` that no file is left.

    asyncio then comes back after a second, once for each time that it was told so in one turn.
    """
    # Libraries that configure logging switch off the loggers that they find
    monkeypatch.setattr(logging.getLogger("asyncio"), "disabled", False)
    caplog.set_level(logging.ERROR, "asyncio")
    tries: list[float] = []

    class Full(Listener):
        def _accept(self) -> tuple[int, Any]:
            tries.append(time.monotonic())
            raise OSError(errno.EMFILE, "none left")

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        with Full() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            server = await loop.create_server(asyncio.Protocol, sock=listener, backlog=100)
            with socket.create_connection(listener.getsockname(), timeout=5):
                await asyncio.sleep(2.5)
            server.close()

    run_soon(scenario())
    assert 2 <= len(tries) <= 3
    assert tries[1] - tries[0] > 0.9
    assert len([record for record in caplog.records if record.name == "asyncio"]) == len(tries)


def service_of(**values: Any) -> Any:
    """What ``Server`` asks of a service."""
    return SimpleNamespace(**{"started": True, "stopping": False, "failure": None, **values})


def test_uvicorn_calls_on_tick_and_lets_its_error_pass():
    """`pawprint.serving.server.Server` ends by what `on_tick` raises when a model does not run.

    The models start while requests are answered already (with 503). Nothing public lets what runs
    beside a server end it with an error.
    """
    service = service_of()

    async def scenario() -> None:
        config = uvicorn.Config(tell_state, lifespan="off", log_config=None)
        with listen("127.0.0.1", 0) as listener:
            server = Server(config, service, Crowd(Settings(), 1, print))
            running = asyncio.create_task(server.serve([listener]))
            await asyncio.sleep(0.3)
            assert not running.done()
            service.failure = RuntimeError("wrong shape")
            await running

    with pytest.raises(PawprintError, match="a model does not run: wrong shape"):
        asyncio.run(asyncio.wait_for(scenario(), 20))


def test_uvicorn_leaves_signals_to_handle_exit_and_raises_them_again():
    """`pawprint.serving.server.Server` waits in `handle_exit` before it accepts no more.

    Uvicorn sets the handlers itself, and offers no moment between a signal and the closed socket.
    When it has finished, it raises the signal once more: `serve` makes that exit code 0.
    """
    service, raised = service_of(), []
    before = signal.signal(signal.SIGTERM, lambda number, frame: raised.append(number))

    async def scenario() -> None:
        config = uvicorn.Config(tell_state, lifespan="off", log_config=None)
        with listen("127.0.0.1", 0) as listener:
            address = listener.getsockname()
            server = Server(config, service, Crowd(Settings(drain_s=0.5), 1, print))
            running = asyncio.create_task(server.serve([listener]))
            while not server.started:
                await asyncio.sleep(0.01)
            os.kill(os.getpid(), signal.SIGTERM)
            while not service.stopping:
                await asyncio.sleep(0.01)
            _, writer = await asyncio.open_connection(*address)
            writer.close()
            assert not running.done()
            assert raised == []
            await running

    try:
        asyncio.run(asyncio.wait_for(scenario(), 20))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert raised == [signal.SIGTERM]


# ---- Starlette, FastAPI


def unstarted() -> Service:
    """A service without models."""
    models: Any = SimpleNamespace(all=list)
    return Service(Settings(), models)


async def ask(service: Service, *paths: str) -> list[httpx.Response]:
    transport = httpx.ASGITransport(build_app(service))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        return [await client.get(path) for path in paths]


def test_the_router_leaves_its_route_in_the_scope():
    """`pawprint.serving.access.Access` counts requests by the path of `scope["route"]`.

    A path that a client made up must not become a label. Starlette's and FastAPI's documents name
    no way in which a middleware learns the route.
    """
    *_, counted = asyncio.run(ask(unstarted(), "/healthz", "/healthz?x=1", "/made-up", "/metrics"))
    counts = dict(re.findall(r'pawprint_requests_total{.*path="(.+?)".*} (\S+)', counted.text))
    assert counts == {"/healthz": "2.0", "other": "1.0"}


def test_the_files_of_swagger_ui_have_their_names():
    """`pawprint.serving.app.build_app` mounts what the package fastapi_offline keeps for itself.

    Its own page of a description needs scripts within the page, which Pawprint's headers forbid.
    """
    page = (PAGES / "docs.html").read_text(encoding="utf-8")
    names = re.findall(r"static/swagger/[\w.-]+", page)
    assert len(names) == 2
    answers = asyncio.run(ask(unstarted(), *(f"/{name}" for name in names)))
    assert [answer.status_code for answer in answers] == [200, 200]
    assert all(len(answer.content) > 10_000 for answer in answers)


# ---- Pillow


def encode(format_: str, pixels: np.ndarray = NOISE, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format_, **options)
    return file.getvalue()


def test_a_jpeg_that_was_opened_stands_behind_its_header():
    """`pawprint.pictures.images.decode_image` asks `image.fp` where the header of a JPEG ends.

    A preview in the header has an end mark of its own, which must not count for the picture's.
    Pillow has no public name for this place.
    """
    preview = encode("JPEG", NOISE[:8, :8])
    content = encode("JPEG", comment=preview)
    place = content.rfind(b"\xff\xda")
    assert content.find(b"\xff\xd9") < place, "expected an end mark in the header"
    with Image.open(io.BytesIO(content), formats=READABLE) as image:
        assert image.fp is not None
        assert place <= image.fp.tell() <= place + 14  # the start of the scan and its header
    without_end = content.removesuffix(b"\xff\xd9")
    with pytest.raises(ImageError, match="it has no end mark"):
        decode_image(without_end, 32, 10**6)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("size", [(96, 64), (48, 32)])
def test_pixels_that_a_jpeg_lacks_are_grey(mode, size):
    """`pawprint.pictures.images.decode_image` looks closer at a JPEG whose last pixel is 128.

    That is what libjpeg puts where the pixels end too early, at any scale. It only warns of it,
    and Pillow does not hand that on.
    """
    content = encode("JPEG", NOISE if mode == "RGB" else NOISE[..., 0], quality=90)
    cut = content[: len(content) // 2] + b"\xff\xd9"
    with Image.open(io.BytesIO(cut), formats=READABLE) as image:
        image.draft(None, size)
        assert (image.mode, image.size) == (mode, size)
        last = image.getpixel((size[0] - 1, size[1] - 1))
    assert last == (128 if mode == "L" else (128, 128, 128))
    with pytest.raises(ImageError, match="its end mark comes too early"):
        decode_image(cut, 32, 10**6)


@pytest.mark.parametrize("format_", ["PNG", "GIF", "BMP", "TIFF", "PPM"])
def test_pillow_says_truncated(format_):
    """`pawprint.pictures.images.decode_image` tells files that end too early by Pillow's words.

    Pillow raises `OSError` for these as for other faults.
    """
    content = encode(format_)
    with pytest.raises(ImageError) as refused:
        decode_image(content[: len(content) // 2], 32, 10**6)
    assert refused.value.fault is ImageFault.TRUNCATED


def test_a_picture_of_two_eyes_is_a_jpeg():
    """`pawprint.pictures.images.READABLE` names JPEG, and means MPO.

    Pillow's plugin for JPEG opens these files, as a class of its own; for the name MPO, it has no
    plugin that opens any. What holds for JPEG holds for the first of their pictures.
    """
    other = Image.fromarray(NOISE[::-1].copy())
    content = encode("MPO", save_all=True, append_images=[other])
    with Image.open(io.BytesIO(content), formats=READABLE) as image:
        assert image.format == "MPO"
        assert isinstance(image, JpegImageFile)
    np.testing.assert_array_equal(
        decode_image(content, 64, 10**6), decode_image(encode("JPEG"), 64, 10**6)
    )


def test_pillow_says_in_words_that_there_is_no_memory():
    """`pawprint.pictures.images.decode_image` tells that from damage; -9 is the codecs' number."""
    assert Image.core.getcodecstatus(-9) == "out of memory"


@pytest.mark.parametrize("order", ["B", "L"])
def test_a_colour_of_16_bits_has_its_lower_bytes_in_the_other_order(order: str):
    """`pawprint.pictures.deep_pixels.deep_bands`: raw modes keep the upper byte of 16 bits."""
    pixel = bytes([1, 2, 3, 4, 5, 6])
    kept = list(Image.frombytes("RGB", (1, 1), pixel, "raw", f"RGB;16{order}").tobytes())
    assert kept == ([1, 3, 5] if order == "B" else [2, 4, 6])


def test_grey_with_alpha_of_16_bits_is_four_bytes_a_pixel():
    """`pawprint.pictures.deep_pixels.deep_bands` reads it as RGBA: Pillow knows no other order.

    Both take four bytes, and the mode of the picture is RGBA.
    """
    pixel = bytes([1, 2, 3, 4])
    kept = list(Image.frombytes("RGBA", (1, 1), pixel, "raw", "LA;16B").tobytes())
    assert kept == [1, 1, 1, 3]
    assert Image.frombytes("RGBA", (1, 1), pixel, "raw", "RGBA").tobytes() == pixel
    with pytest.raises(ValueError, match="mode"):
        Image.frombytes("RGBA", (1, 1), pixel, "raw", "LA;16L")


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("white", [1, 2, 100, 254, 256, 510, 1023, 4095, 65534])
def test_numbers_of_a_netpbm_are_scaled_as_pillow_scales_them(mode: str, white: int):
    """`pawprint.pictures.netpbm.scale_numbers` knows what Pillow's decoder named `ppm` computes.

    It replaces that decoder, which takes half a microsecond for each number.
    """
    largest = 65_535 if white > 255 else 255  # more than white is white
    numbers = np.linspace(0, largest, 96 * 64 * len(mode)).astype(">u2" if white > 255 else "u1")
    kind = "P5" if mode == "L" else "P6"
    content = f"{kind} 96 64 {white}\n".encode() + numbers.tobytes()
    with Image.open(io.BytesIO(content)) as pillows, Image.open(io.BytesIO(content)) as ours:
        assert pillows.tile[0].codec_name == "ppm"
        scale_numbers(ours)
        assert ours.tile[0].codec_name == "raw"
        assert (ours.mode, ours.tobytes()) == (pillows.mode, pillows.tobytes())


def test_a_jpeg_tells_how_many_values_of_each_colour_a_block_has():
    """`pawprint.pictures.memory.decoding_bytes` reads `layer`, which Pillow's documents lack."""
    for subsampling, factors in (("4:4:4", [1, 1, 1]), ("4:2:2", [2, 1, 1]), ("4:2:0", [4, 1, 1])):
        with Image.open(io.BytesIO(encode("JPEG", subsampling=subsampling))) as image:
            assert isinstance(image, JpegImageFile)
            assert [wide * high for _, wide, high, _ in image.layer] == factors


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_exif_that_was_read_is_kept_without_its_source(format_: str):
    """`pawprint.pictures.images.decode_image` removes EXIF's bytes before the picture is turned.

    Pillow would write them anew, tag by tag: minutes, for some files. It turns by what it has read.
    """
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(io.BytesIO(encode(format_, exif=exif))) as image:
        image.load()
        image.getexif()
        del image.info["exif"]
        ImageOps.exif_transpose(image, in_place=True)
        assert image.size == NOISE.shape[:2]
        assert "exif" not in image.info


# ---- PyYAML, DVC, Python, Linux


def test_rules_of_yaml_can_be_taken_from_a_loader(tmp_path):
    """`pawprint.runner.params_file` edits `yaml_implicit_resolvers`, a table of PyYAML's.

    `add_implicit_resolver` only adds, and the rules of YAML 1.1 would come first. PyYAML's own
    loader must keep them.
    """
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    path = tmp_path / "params.yaml"
    path.write_text(re.sub(r"(?m)^  head_lr: \S+", "  head_lr: 1e-05", text), encoding="utf-8")
    assert load_params(path).finetune.head_lr == 1e-05
    path.write_text(re.sub(r"(?m)^  sample_seed: \S+", "  sample_seed: 010", text))
    with pytest.raises(PawprintError, match=r"data\.sample_seed: .*found 10\.0"):
        load_params(path)
    assert yaml.safe_load("[1e-05, 010, 1:30]") == ["1e-05", 8, 90]


def test_experiments_are_where_dvc_looks_for_them():
    """`pawprint.search.experiments` writes commits under `refs/exps`, and entries of `dvc.lock`.

    DVC has no function that takes in results which it did not run. Where experiments are is told in
    its documents. How it writes a stage's entry and its cache is not: `tests/test_search.py` holds
    both against `dvc commit`, byte by byte, and `dvc exp apply`.
    """
    from dvc.repo.experiments.refs import ExpRefInfo

    from pawprint.search.experiments import reference

    baseline = "0123456789" * 4
    assert reference(baseline, "search-head-0007") == str(ExpRefInfo(baseline, "search-head-0007"))


TELL = """
import os, pathlib
told = os.environ["DVC_STAGE"], os.getsid(os.getppid()) == os.getsid(0)
pathlib.Path("told.txt").write_text(repr(told))
"""


@pytest.mark.filterwarnings("ignore:_NoneStep.value will soon:DeprecationWarning")
def test_dvc_tells_of_a_project_what_comparing_asks(tmp_path):
    """`pawprint.comparison.trees` asks for the cache, the status, hashes and numbers of YAML;
    `pawprint.workplaces.workplace` for deps and outs, and for the cache of a clone."""
    """`pawprint.comparison.trees` asks for the cache, the status, hashes and numbers of YAML."""
    project = Project(tmp_path / "project", tmp_path / "home")
    project.root.mkdir()
    command = "mkdir -p out/in && echo 1 > out/b && echo 2 > out/in/a"
    stage = {"cmd": command, "params": ["lr"], "outs": ["out"]}
    (project.root / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"evaluate": stage}}))
    (project.root / "params.yaml").write_text("lr: 1e-05")
    project.run("git", "init", "--quiet")
    project.dvc("init", "--quiet")
    project.dvc("repro", "--quiet")
    project.commit()
    with contextlib.chdir(project.root):
        found = find_project()
        trees = [open_tree(found, name) for name in ("HEAD", "workspace")]
    md5 = project.lock()["evaluate"]["outs"][0]["md5"]
    assert [tree.digest("out") for tree in trees] == [md5, md5]
    assert trees[0].digest("out/b") == file_digest(project.root / "out/b", "md5")
    assert found.cached(trees[0].digest("out/b")).read_text() == "1\n"
    assert [tree.read_yaml("params.yaml") for tree in trees] == [{"lr": 1e-5}] * 2
    assert trees[1].status("evaluate") == {}
    (project.root / "params.yaml").write_text("lr: 2e-05")
    changes = {"evaluate": [{"changed deps": {"params.yaml": {"lr": "modified"}}}]}
    assert open_tree(found, "workspace").status("evaluate") == changes
    with contextlib.chdir(project.root), Repo(str(project.root)) as repo:
        assert [out.def_path for stage in repo.index.stages for out in stage.outs] == ["out"]
        assert [stage.is_data_source for stage in repo.index.stages] == [False]  # not of dvc add
        (stage_of_name,) = repo.stage.collect("evaluate")
        assert [type(dep) for dep in stage_of_name.deps] == [ParamsDependency]
        with repo.config.edit("local") as settings:
            settings["cache"]["dir"] = str(tmp_path / "other")
    assert project.dvc("cache", "dir").text.strip() == str(tmp_path / "other")
    assert found.cache == project.root / ".dvc/cache/files/md5"


def test_dvcs_run_cache_is_blind_to_two_names():
    """`pawprint.runner.params.Params` has no key of these names: other values would be the same
    run to DVC, which would hand out wrong results."""
    blind = {Meta.PARAM_SIZE, Meta.PARAM_NFILES}
    assert blind == {"size", "nfiles"}
    sections = load_params(ROOT / "params.yaml").model_dump()
    assert blind & {*sections, *(key for section in sections.values() for key in section)} == set()


def test_dvc_keeps_the_last_outputs_in_its_cache_while_a_stage_runs_again(tmp_path):
    """`pawprint.versions.cache` finds them by `dvc.lock`, the old one until the stage has ended.

    A hard link to a file of the cache may become an output again: DVC takes it as it is.
    """
    project = Project(tmp_path / "project", tmp_path)
    project.root.mkdir()
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "from pathlib import Path\n"
        "from pawprint.versions.cache import find_version, link_or_copy\n"
        "version, out = find_version('made'), Path('out/a/0.npy')\n"
        "assert not Path('out').exists()\n"
        "out.parent.mkdir(parents=True)\n"
        "if version is None:\n"
        "    out.write_text('kept')\n"
        "else:\n"
        "    (kept,) = version.array(Path('out/a'))\n"
        "    print('found', version.linked, version.text(out), version.text(Path('one.txt')))\n"
        "    link_or_copy(kept, out, version.linked)\n"
        "Path('one.txt').write_text('one')\n"
    )
    (project.root / "made.py").write_text(code)
    stage = {"cmd": "python made.py", "outs": ["out", "one.txt"]}
    (project.root / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"made": stage}}))
    project.dvc("init", "--no-scm", "--quiet")
    project.dvc("config", "cache.type", "hardlink,copy")
    assert "found" not in project.dvc("repro").text
    place = project.root / "out/a/0.npy"
    inode = place.stat().st_ino
    lock = (project.root / "dvc.lock").read_text()
    assert "found True kept one\n" in project.dvc("repro", "--force").text
    assert place.stat().st_ino == inode
    assert place.stat().st_mode & 0o222 == 0  # who writes into it writes into the cache
    assert (project.root / "dvc.lock").read_text() == lock
    assert project.stale() == set()


def test_dvc_names_the_stage_that_it_starts_and_stays_in_its_session(tmp_path):
    """`pawprint.runner.processes.end_with_dvc` asks for `DVC_STAGE`, and compares sessions.

    DVC's documents tell of neither. Without the name, a stage would outlive a killed DVC; in a
    session of its own, it would take itself for an orphan and end at once.
    """
    project = Project(tmp_path / "project", tmp_path / "home")
    project.root.mkdir()
    stage = {"cmd": shlex.join([sys.executable, "tell.py"]), "outs": ["told.txt"]}
    (project.root / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"asking": stage}}))
    (project.root / "tell.py").write_text(TELL)
    project.dvc("init", "--no-scm", "--quiet")
    project.dvc("repro", "--quiet")
    assert project.read("told.txt") == "('asking', True)"


def test_a_pool_starts_a_process_for_each_task():
    """`pawprint.runner.processes.worker_pool` submits idle tasks to have all processes at once.

    `ProcessPoolExecutor` starts one for each task that comes while none is idle; it has no way to
    say that they shall start, and they take a second to import what they need.
    """
    before = set(multiprocessing.active_children())
    with worker_pool("nothing"):
        assert len(set(multiprocessing.active_children()) - before) == available_cores()


FREED = """
import sys, threading
from pathlib import Path
from pawprint.runner.limits import give_back_large_blocks

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

def work():
    for size in (20, 24, 28, 30):  # glibc learns from what is freed
        block = b"x" * (size * 2**20)
        del block
    done.release(), wait.acquire()

if "--told" in sys.argv:
    give_back_large_blocks()
done, wait, before = threading.Semaphore(0), threading.Semaphore(0), resident()
for _ in range(4):
    threading.Thread(target=work, daemon=True).start()
    done.acquire()
print((resident() - before) // 2**20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has it")
def test_glibc_gives_large_blocks_back_when_it_is_told():
    """`pawprint.runner.limits.give_back_large_blocks` calls mallopt through `ctypes`.

    What threads have freed stays with the process otherwise; Python has no such function.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    kept = [
        int(subprocess.check_output([sys.executable, "-c", FREED, *told], env=environment))
        for told in ([], ["--told"])
    ]
    assert kept[0] > 50
    assert kept[1] < 10


SCATTERED = """
from pawprint.runner.limits import give_back_free_blocks, give_back_large_blocks
from pathlib import Path

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

give_back_large_blocks()
before, blocks, kept = resident(), [], []
for _ in range(50):
    blocks.append(b"x" * 1_500_000)
    kept.append(b"y" * 100_000)  # between them, so that they are not at the end
del blocks
full = resident() - before
give_back_free_blocks()
print(full // 10**6, (resident() - before) // 10**6)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has it")
def test_glibc_gives_back_what_is_free_between_what_is_not():
    """`pawprint.runner.limits.give_back_free_blocks` calls malloc_trim through `ctypes`."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    printed = subprocess.check_output([sys.executable, "-c", SCATTERED], env=environment)
    before, after = map(int, printed.split())
    assert before > 50
    assert after < 20


SENT = """
import multiprocessing, resource, sys, threading
from pawprint.runner.limits import keep_large_blocks

def send():
    for _ in range(8):
        end.send(content)

if "--told" in sys.argv:
    keep_large_blocks()
connection, end = multiprocessing.Pipe()
content = b"x" * 12_000_000
threading.Thread(target=send).start()
for number in range(8):
    connection.recv()
    if number == 2:  # what is kept was asked for by then
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has it")
def test_glibc_keeps_the_memory_of_messages_when_it_is_told():
    """`pawprint.runner.limits.keep_large_blocks` calls mallopt through `ctypes`.

    It counts the pages that the kernel had to clear.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    cleared = [
        int(subprocess.check_output([sys.executable, "-c", SENT, *told], env=environment))
        for told in ([], ["--told"])
    ]
    assert cleared[1] < cleared[0] / 4


READ_HEIC = "import io, sys, pi_heif; pi_heif.HeifImageFile(io.BytesIO(sys.stdin.buffer.read()))"


def test_pi_heif_ends_a_process_by_metadata_whose_type_is_no_text():
    """`pawprint.pictures.heif_items` refuses these; they are read as soon as a file is opened."""
    content = heic(Image.new("RGB", (64, 64)), exif=Image.Exif().tobytes())
    ended = {
        text: subprocess.run(
            [sys.executable, "-c", READ_HEIC], input=content.replace(b"Exif", text, 1)
        ).returncode
        for text in (b"Exif", b"Exi\xff")
    }
    assert ended == {b"Exif": 0, b"Exi\xff": -signal.SIGSEGV}


ORPHAN = """
import subprocess, sys, time
child = "from pawprint.runner.processes import _ask_kernel as ask; print(ask(), flush=True);"
child += "import time; time.sleep(60)"
process = subprocess.Popen([sys.executable, "-c", child])
print(process.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux offers that")
def test_the_kernel_ends_a_process_whose_parent_was_killed():
    """`pawprint.runner.processes.worker_pool` and stages call prctl through `ctypes`.

    Nothing else ends a process at once when SIGKILL ended its parent. Python has no such function.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", ORPHAN], env=environment, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        lines = sorted(parent.stdout.readline().strip() for _ in range(2))
        parent.kill()
    assert lines[1] == "True"
    status = Path("/proc", lines[0], "status")

    def ended() -> bool:  # or a zombie, which waits for whoever adopted it
        try:
            return "State:\tZ" in status.read_text()
        except OSError:
            return True

    assert wait_until(ended, 5)


def test_an_import_of_what_is_hidden_fails(monkeypatch):
    """`pawprint.networks.runtime.hidden` puts None into `sys.modules`.

    Python's reference says that this makes an import fail. A finder in `sys.meta_path` would be
    the longer way to the same.
    """
    monkeypatch.delitem(sys.modules, "tabnanny", raising=False)
    with hidden("tabnanny"), pytest.raises(ModuleNotFoundError):
        importlib.import_module("tabnanny")
    assert importlib.import_module("tabnanny").__name__ == "tabnanny"


# ---- requests, as Kaggle's client uses it

KAGGLE_CHILD = """
import json
from pathlib import Path
from requests.adapters import HTTPAdapter
from servers import data_params
from pawprint.runner.errors import KaggleError
from pawprint.sources import kaggle
send, sent = HTTPAdapter.send, []
def record(self, request, **options):
    sent.append([request.method, options["timeout"]])
    return send(self, request, **options)
HTTPAdapter.send = record
kaggle.RETRIES = 0
failures = []
for _ in range(2):
    try:
        kaggle.download(data_params(source="kaggle", timeout_s=7.5), Path("kept"))
    except KaggleError as error:
        failures.append(str(error))
print(json.dumps([sent, failures, HTTPAdapter.send is record]))
"""


def test_every_request_of_kaggles_client_passes_through_the_patched_adapter(tmp_path):
    """`pawprint.sources.kaggle._limits` replaces `requests.adapters.HTTPAdapter.send` meanwhile.

    It is the only place that all requests of the client pass, and there is no public one: the
    client asks Kaggle already when it is imported, opens sessions of its own, continues a download
    by `requests.request`, and lets nobody set a timeout for any but the last. Were a request to go
    another way, a silent server would stop a run for ever; here one would be missing.
    """
    replies = {"/dogs-vs-cats.zip": Reply(bytes(2_000_000), cuts=[1_500_000])}
    with serve(replies) as server:
        child = subprocess.run(
            [sys.executable, "-c", KAGGLE_CHILD],
            cwd=tmp_path,
            env=kaggle_environment(tmp_path, server.address, {"KAGGLE_API_TOKEN": "good-token"}),
            capture_output=True,
            text=True,
            timeout=50,
        )
    assert child.returncode == 0, child.stderr
    sent, failures, restored = json.loads(child.stdout)
    assert [method for method, _ in sent] == [method for method, _, _ in server.requests]
    assert {timeout for _, timeout in sent} == {7.5}
    asked = [path.rpartition("/")[2] for _, path, _ in server.requests]
    assert asked[:2] == ["IntrospectToken"] * 2, "expected a request at import, and one to sign in"
    assert server.ranges_of("/dogs-vs-cats.zip") == ["", "", f"bytes={1 << 20}-"]
    assert len(failures) == 1, "expected the first download to break off, the second to continue it"
    assert "broke off" in failures[0]
    assert restored


# ---- Keras on OpenVINO

WITHOUT_TENSORFLOW = """
import json, sys
from pathlib import Path
from zipfile import ZipFile
from pawprint.networks.runtime import start_engine
start_engine("openvino", 1)
import keras
from pawprint.networks.model_files import ModelInfo, load_model, save_model
from pawprint.networks.predictor import build_predictor
x = pixels = keras.Input((8, 8, 3), name="pixels")
layers = keras.layers
for layer in (layers.Conv2D(2, 3), layers.BatchNormalization(), layers.Dropout(0.5)):
    x = layer(x)
network = keras.Model(pixels, x, name="network")
path = Path(sys.argv[1])
save_model(network, path, ModelInfo([], 8))
import numpy as np
(map,) = build_predictor(load_model(path), cores=1)(np.zeros((1, 8, 8, 3), np.uint8))
hidden = {"IPython", "matplotlib", "sklearn", "tensorflow"}
print(json.dumps([list(map.shape), sorted(hidden & set(sys.modules))]))
"""


def test_keras_on_openvino_starts_saves_and_runs_without_tensorflow(tmp_path):
    """`pawprint.networks.runtime.hidden` hides TensorFlow, scikit-learn and others from Keras.

    Keras imports them where they are installed, for what is not needed here: seconds, and hundreds
    of megabytes. That it does without them on OpenVINO is not promised, and it has no option. Nor
    is it that it asks for TensorFlow once, and does not when it saves.
    """
    path = tmp_path / "network.keras"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW, str(path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == [[1, 6, 6, 2], []]


# ---- Keras on TensorFlow

CARD = ModelCard("tiny", ["cat", "dog"], 8, 10_000, {}, {}, {}, {})
PIXELS = np.random.default_rng(1).integers(0, 256, (3, 8, 8, 3), np.uint8)


@pytest.fixture(scope="module")
def tiny() -> Any:
    """A small classifier with everything that a frozen graph must hold."""
    import keras

    keras.utils.set_random_seed(0)
    x = pixels = keras.Input((8, 8, 3), name="pixels")
    for layer in (
        keras.layers.Rescaling(1 / 255),
        keras.layers.Conv2D(4, 3),
        keras.layers.BatchNormalization(name="norm"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(2, activation="softmax"),
    ):
        x = layer(x)
    model = keras.Model(pixels, x)
    model.get_layer("norm").set_weights([np.full(4, value) for value in (2, 0.5, 0.1, 3)])
    return model


def probs_of(model: Any) -> np.ndarray:
    return model(PIXELS.astype(np.float32), training=False).numpy()


def test_the_variable_of_an_update_step_leads_to_its_layer(tmp_path):
    """`pawprint.training.fit.AdamW` finds a variable's path by `_get_variable_index`.

    On TensorFlow, `update_step`, which Keras' documents tell to override, is handed TensorFlow's
    variable, which has no path. The documents' own example calls `_get_variable_index`; what it
    counts, `_trainable_variables`, has no public name. (The variable's own name begins like the
    path, by a habit of Keras'; were that to end, all factors would be 1 without a word.) A path
    begins with the layer's name in functional models, also in those that were loaded or copied.
    """
    import keras

    from pawprint.networks.architectures import with_precision
    from pawprint.networks.model_files import ModelInfo, load_model, save_model
    from pawprint.training.fit import AdamW

    x = inputs = keras.Input((4,))
    for name in ("first", "second", "third"):
        x = keras.layers.Dense(3, name=name)(x)
    save_model(keras.Model(inputs, x), tmp_path / "model.keras", ModelInfo([], 4))
    model = with_precision(load_model(tmp_path / "model.keras"), "float32")
    factors = {"first": 0.25, "third": 2.0}
    model.compile(AdamW(factors, learning_rate=0.01, weight_decay=0.0), "mse")
    before = {layer.name: layer.get_weights() for layer in model.layers}
    rng = np.random.default_rng(0)
    model.fit(rng.normal(size=(8, 4)), rng.normal(size=(8, 3)), batch_size=8, verbose=0)
    for name, rate in {"first": 0.0025, "second": 0.01, "third": 0.02}.items():
        kernel_and_bias = zip(before[name], model.get_layer(name).get_weights(), strict=True)
        for weights, found in kernel_and_bias:
            # the first step of AdamW is as long as the learning rate
            assert np.median(np.abs(found - weights)) == pytest.approx(rate, rel=1e-3)


def test_a_dropout_counts_its_draws_in_its_seed_generator():
    """`pawprint.training.fit.Continuation` sets the state of `seed_generator` in each epoch.

    Masks then follow from the epoch alone, and a stopped training continues with the same ones.
    The state is a seed and the number of draws; a `SeedGenerator` of ours would be written into
    each model file, and has no public way to be set either.
    """
    import keras

    dropout = keras.layers.Dropout(0.5, seed=3)
    ones = np.ones((1, 64), np.float32)
    masks = [dropout(ones, training=True).numpy() for _ in range(2)]
    assert dropout.seed_generator.state.numpy().tolist() == [3, 2]
    dropout.seed_generator.state.assign([3, 1])
    again = dropout(ones, training=True).numpy()
    np.testing.assert_array_equal(again, masks[1])
    assert (masks[0] != masks[1]).any()


def test_an_epoch_draws_once_a_step():
    """`pawprint.training.fit.Continuation` counts a dropout's draws by `params["steps"]`.

    What stands in a callback's `params` is told by examples only. The count of an epoch must be
    that which the training itself arrives at, or continued trainings would have other masks.
    """
    import keras

    seen = []

    class Watch(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
            state = self.model.get_layer("dropout").seed_generator.state.numpy().tolist()
            seen.append((state, [5, epoch * self.params["steps"]]))

    dropout = keras.layers.Dropout(0.5, seed=5, name="dropout")
    model = keras.Sequential([keras.Input((4,)), dropout, keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(np.ones((12, 4)), np.ones(12), batch_size=4, epochs=3, callbacks=[Watch()], verbose=0)
    assert seen == [([5, 0], [5, 0]), ([5, 3], [5, 3]), ([5, 6], [5, 6])]


def test_early_stopping_restores_the_best_weights_that_it_holds():
    """`pawprint.training.fit.Continuation` replaces `best_weights`, and `best_epoch` is read.

    Neither is told in Keras' documents. A stopped training knows its best weights by them alone.
    """
    import keras

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    stopping = keras.callbacks.EarlyStopping("v", mode="min", restore_best_weights=True)
    stopping.set_model(model)
    stopping.on_train_begin()
    for epoch, (weight, value) in enumerate([(1.0, 3.0), (2.0, 1.0), (3.0, 2.0)]):
        model.set_weights([np.array([[weight]])])
        stopping.on_epoch_end(epoch, {"v": value})
    assert stopping.best_epoch == 1
    assert [weights.item() for weights in stopping.best_weights] == [2.0]
    stopping.best_weights = [np.array([[7.0]])]
    stopping.on_train_end()
    assert model.get_weights()[0].item() == 7.0


def test_a_model_file_holds_nothing_but_the_model(tiny, tmp_path):
    """`pawprint.networks.model_files.save_model` edits the files in Keras' archive.

    Keras writes a date and the addresses of objects into its JSON, and no option leaves them out.
    A further one of these, or another name, would make equal models unequal files.
    """
    from pawprint.networks.model_files import ModelInfo, save_model

    path = tmp_path / "tiny.keras"
    save_model(tiny, path, ModelInfo(["cat", "dog"], 8))
    with ZipFile(path) as archive:
        names = archive.namelist()
        metadata = json.loads(archive.read("metadata.json"))
        config = archive.read("config.json").decode()
    assert names == ["config.json", "metadata.json", "model.weights.h5"]
    assert set(metadata) == {"keras_version", "pawprint"}
    assert re.findall(r"(?<![\d.])\d{7,}", config) == [], "expected no address of an object"
    raw = tmp_path / "raw.keras"
    tiny.save(raw)
    with ZipFile(raw) as archive:
        assert "date_saved" in json.loads(archive.read("metadata.json"))


@pytest.mark.parametrize("backbone", [b.name for b in BACKBONES if b.name not in LITES])
def test_keras_asks_for_the_files_of_weights_by_these_names(backbone, monkeypatch):
    """`pawprint.ranking.weights` looks for them, so that nothing is fetched."""
    from keras.src.utils import file_utils

    asked = []

    def refuse(name, *_, file_hash=None, **__):
        asked.append((name, file_hash))
        raise OSError("no network")

    monkeypatch.setattr(file_utils, "get_file", refuse)
    with pytest.raises(WeightsError, match=r"cannot be downloaded \(no network"):
        build_backbone(backbone, 96, "imagenet")  # of which MobileNetV2 has other weights
    assert asked == [keras_file(backbone)]


# ---- TensorFlow


def test_variables_become_constants(tiny):
    """`pawprint.export.formats.freeze` and `pawprint.networks.predictor.TensorFlowPredictor` call
    `convert_variables_to_constants_v2` of `tensorflow.python`.

    Public is only what does this for graphs of TensorFlow 1, with a session. Without it, the graph
    would need its variables beside it, and batch norm is not folded into convolutions.
    """
    import tensorflow as tf

    from pawprint.export.formats import freeze
    from pawprint.networks.predictor import TensorFlowPredictor

    expected, weights = probs_of(tiny), tiny.get_weights()
    frozen, predictor = freeze(tiny, 1), TensorFlowPredictor(tiny)
    try:
        tiny.set_weights([np.zeros_like(array) for array in weights])
        (found,) = frozen(tf.constant(PIXELS))
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
        np.testing.assert_allclose(predictor(PIXELS)[0], expected, atol=1e-6)
    finally:
        tiny.set_weights(weights)
    kinds = {node.op for node in frozen.graph.as_graph_def().node}
    assert "Const" in kinds
    assert not [kind for kind in kinds if "Var" in kind]
    assert [tensor.name for tensor in frozen.inputs] == ["pixels:0"]


def test_a_saved_model_can_be_made_of_its_protocol_buffers(tiny, tmp_path):
    """`pawprint.export.formats.write_saved_model` fills messages of `tensorflow.core.protobuf`.

    `tf.saved_model.save` never writes the same bytes twice. The format is documented, and what
    Python has made of it is not public.
    """
    import tensorflow as tf

    from pawprint.export.formats import freeze, write_saved_model

    contents = []
    for name in ("first", "second"):
        write_saved_model(freeze(tiny, 1), CARD, tmp_path / name)
        contents.append((tmp_path / name / "saved_model.pb").read_bytes())
    assert contents[0] == contents[1]
    signature = tf.saved_model.load(str(tmp_path / "first")).signatures["serving_default"]
    found = signature(pixels=tf.constant(PIXELS))["probs"].numpy()
    np.testing.assert_allclose(found, probs_of(tiny), atol=1e-6)


def test_a_tflite_file_takes_one_more_buffer(tiny, tmp_path):
    """`pawprint.export.formats.write_tflite` edits the file by `schema_py_generated` of LiteRT.

    TensorFlow's converter has no argument for metadata, and that module is told of nowhere.
    """
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.interpreter import Interpreter

    from pawprint.export.formats import freeze, write_saved_model, write_tflite

    write_saved_model(freeze(tiny, 1), CARD, tmp_path / "saved_model")
    path = tmp_path / "model.tflite"
    write_tflite(tmp_path / "saved_model", CARD, path)
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    buffers = {entry.name: model.buffers[entry.buffer].data for entry in model.metadata}
    told = json.loads(bytes(buffers[b"pawprint"]))
    assert told["name"] == "tiny"
    assert json.loads(told["class_names"]) == ["cat", "dog"]
    network = Interpreter(str(path)).get_signature_runner("serving_default")
    np.testing.assert_allclose(network(pixels=PIXELS)["probs"], probs_of(tiny), atol=1e-6)


def test_the_name_of_a_device_begins_as_expected():
    """`pawprint.networks.runtime.choose_strategy` cuts the beginning off the names of GPUs.

    `tf.config` gives the names of physical devices, and strategies want the short ones; nothing
    public makes one of the other. Those of CPUs are of the same form.
    """
    import tensorflow as tf

    from pawprint.networks.runtime import choose_strategy

    (name,) = [device.name for device in tf.config.list_physical_devices("CPU")]
    assert name == "/physical_device:CPU:0"
    with tf.device(name.removeprefix("/physical_device:")):
        assert tf.constant(1).device.endswith("/device:CPU:0")
    assert choose_strategy().num_replicas_in_sync == 1


def test_zipfile_keeps_the_bytes_of_a_name():
    """`pawprint.sources.zips._stored_name` takes them back out of `ZipInfo.orig_filename`.

    `zipfile` decodes a name that does not tell its encoding by cp437, of which each byte is a
    letter, and cuts and replaces in `filename` only.
    """
    import io

    raw = bytes(range(1, 256))
    stream = io.BytesIO()
    with ZipFile(stream, "w") as archive:
        archive.writestr("x" * len(raw), b"")
    with ZipFile(io.BytesIO(stream.getvalue().replace(b"x" * len(raw), raw))) as archive:
        (info,) = archive.infolist()
    assert info.orig_filename.encode("cp437") == raw
    assert not info.flag_bits & 0x800


def test_tarfile_tells_where_it_stopped():
    """`pawprint.sources.tars` looks at the block at `TarFile.offset`, for tarfile takes a damaged
    header for the end."""
    import io
    import tarfile

    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name in ("a", "b", "c"):
            archive.addfile(tarfile.TarInfo(name))
    content = bytearray(stream.getvalue())
    for damaged, names in ((False, ["a", "b", "c"]), (True, ["a", "b"])):
        content[2 * 512] ^= damaged
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            assert [info.name for info in archive] == names
            assert archive.offset == 512 * len(names)


def test_ray_says_why_it_does_not_connect():
    """`pawprint.cluster.session` tells by Ray's words what keeps a cluster from being used: its
    exceptions are of types that say nothing."""
    import inspect

    from ray._private import services, utils, worker

    from pawprint.cluster.session import explain

    with pytest.raises(RuntimeError) as caught:
        utils.check_version_info({"ray_version": "1.0.0", "python_version": "3.9.0"}, "node")
    told = explain(caught.value)
    assert re.match(
        r"it runs Ray 1\.0\.0 on Python 3\.9\.0, this machine Ray \d\S+ on Python 3", told
    )
    assert "Could not find any running Ray instance" in inspect.getsource(services)
    assert "Failed to connect to Ray cluster" in inspect.getsource(worker)
