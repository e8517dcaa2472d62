"""No connection costs the server more than its share, and none holds up its end."""

from __future__ import annotations

import asyncio
import heapq
import json
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from threading import Event, Thread
from types import SimpleNamespace
from typing import cast

import pytest
import uvicorn
from living import wait_until
from served import Running, answer_of, colours, connected, get_alone, picture, serving

from pawprint.serving.crowd import IDLE_S, SLOW_S, Crowd, Ended
from pawprint.serving.server import Server
from pawprint.serving.service import Service
from pawprint.serving.settings import Settings

# covers: B5, R18

BUNDLE = b"GET /static/swagger/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
HALF_BODY = POST + b"Content-Length: 9000000\r\n\r\n["
LONG = ("--read-timeout-s", "600", "--write-timeout-s", "600", "--keep-alive-s", "600")


def closed(server: Running, reason: Ended) -> float:
    return server.metric(f'pawprint_connections_closed_total{{reason="{reason}"}}')


@contextmanager
def standing(server: Running, *sent: bytes) -> Iterator[list[socket.socket]]:
    """Connections that send something and then nothing; these have a small place for answers."""
    with ExitStack() as stack:
        connections = [stack.enter_context(connected(server)) for _ in sent]
        for connection, content in zip(connections, sent, strict=True):
            connection.sendall(content)
        yield connections


def still_works(server: Running) -> None:
    assert get_alone(server, "/healthz")[0] == 200
    assert server.predict(picture("blue")).status_code == 200


# ---- each for itself


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    options = ("--write-timeout-s", "0.5", "--read-timeout-s", "2", "--keep-alive-s", "1")
    with serving("--model", str(colours()), *options) as running:
        yield running
        assert [entry for entry in running.log if entry["level"] != "info"] == []


def test_answers_that_nobody_reads_are_given_up(server):
    before, asked = closed(server, Ended.UNREAD), len(server.requests())
    with standing(server, *[BUNDLE * 8] * 20):
        still_works(server)
        assert wait_until(lambda: closed(server, Ended.UNREAD) == before + 20, 20)

        def pages() -> int:
            return sum(entry["path"] == "other" for entry in server.requests()[asked:])

        assert wait_until(lambda: pages() >= 20, 20)
        assert pages() == 20, "a request was in work while the answer before it was not read"
    still_works(server)


def test_an_answer_that_is_read_by_the_byte_is_given_up(server):
    before = closed(server, Ended.UNREAD)
    with connected(server) as connection:
        connection.sendall(BUNDLE * 8)
        with suppress(ConnectionResetError):
            while closed(server, Ended.UNREAD) == before:
                assert connection.recv(1)
                time.sleep(0.02)


def test_an_answer_that_is_read_slowly_arrives_whole(server):
    """In twice the time in which an answer that stands still is given up."""
    with connected(server) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        connection.sendall(BUNDLE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        content = b""
        while part := connection.recv(20_000):
            content += part
            time.sleep(0.01)
    head, _, body = content.partition(b"\r\n\r\n")
    assert f"content-length: {len(body)}".encode() in head.lower()
    assert len(body) > 1_000_000


def test_idle_connections_are_closed(server):
    with standing(server, GET) as (connection,):
        assert answer_of(connection)[0] == 200  # and then the end


def test_headers_that_do_not_come_are_counted(server):
    before = closed(server, Ended.SLOW)
    with standing(server, b"", GET[:9]):
        assert wait_until(lambda: closed(server, Ended.SLOW) == before + 2, 20)


def test_what_nobody_waits_for_is_not_worked_on(server):
    body = b"[" + b" " * 200_000
    head = POST + b"X-Request-ID: gone\r\nContent-Length: 9000000\r\n\r\n"
    with standing(server, *[head + body] * 5) as connections:
        for connection in connections:
            connection.shutdown(socket.SHUT_WR)

        def given_up() -> list[int]:
            return [line["status"] for line in server.requests() if line["request_id"] == "gone"]

        assert wait_until(lambda: given_up() == [499] * 5, 20)


# ---- taken together


class Guest:
    """What a crowd knows of a connection."""

    def __init__(self, crowd: Crowd) -> None:
        self.crowd = crowd
        self.ended: Ended | None = None
        self.active = False

    def end(self, reason: Ended) -> None:
        self.ended = reason

    def goes_on(self) -> bool:
        if self.active:
            self.crowd.wait(self, idle=False)
        return self.active


@pytest.fixture
def crowd() -> Crowd:
    return Crowd(Settings(max_connections=2), 1, lambda reason: None)


def enter(crowd: Crowd, idle: bool | None = None) -> Guest:
    guest = Guest(crowd)
    crowd.admit(guest)
    if idle is not None and guest.ended is None:
        crowd.wait(guest, idle)
    return guest


def test_who_is_busy_keeps_its_place(crowd):
    first, second, spare, surplus = (enter(crowd) for _ in range(4))
    assert [crowd.is_beyond(guest) for guest in (first, second, spare)] == [False, False, True]
    assert surplus.ended is Ended.SURPLUS
    time.sleep(IDLE_S)
    assert enter(crowd).ended is Ended.SURPLUS
    crowd.leave(first)
    assert not crowd.is_beyond(enter(crowd))
    assert [guest.ended for guest in (second, spare)] == [None, None]


def test_the_longest_idle_gives_way_but_no_one_at_once(crowd):
    first, second = enter(crowd, idle=True), enter(crowd, idle=True)
    spare = enter(crowd, idle=True)
    assert crowd.is_beyond(spare)
    crowd.wait(first, idle=True)
    time.sleep(IDLE_S)
    assert not crowd.is_beyond(enter(crowd, idle=True))
    assert [guest.ended for guest in (first, second)] == [None, Ended.GAVE_WAY]
    assert not crowd.is_beyond(enter(crowd, idle=True))
    assert first.ended is Ended.GAVE_WAY
    assert spare.ended is None
    enter(crowd)
    assert spare.ended is Ended.GAVE_WAY


def test_who_stands_still_gives_way_before_who_moves(crowd):
    moving, still = enter(crowd, idle=False), enter(crowd, idle=False)
    moving.active = True
    spare = enter(crowd)
    time.sleep(SLOW_S)
    assert not crowd.is_beyond(enter(crowd))
    assert [guest.ended for guest in (moving, still, spare)] == [None, Ended.GAVE_WAY, None]
    assert enter(crowd).ended is Ended.SURPLUS


def test_nobody_comes_in_when_it_closes(crowd):
    crowd.closing = True
    assert enter(crowd).ended is Ended.STOPPED


@contextmanager
def uploading(server: Running, count: int) -> Iterator[None]:
    """Connections whose requests are in work, each sending its body a piece at a time."""
    over = Event()

    def move(connections: list[socket.socket]) -> None:
        while not over.wait(SLOW_S / 10):
            for connection in connections:
                connection.sendall(b" " * 20_000)

    with standing(server, *[HALF_BODY] * count) as connections:
        thread = Thread(target=move, args=(connections,))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def test_connections_beyond_the_limit_are_told_so_and_those_within_go_on():
    with serving("--model", str(colours()), "--max-connections", "2", *LONG) as server:
        server.client.close()
        refused = 'pawprint_rejected_total{reason="connections"} '
        with uploading(server, 2):
            assert wait_until(lambda: get_alone(server, "/v1/model")[0] == 503, 20)
            status, text = get_alone(server, "/v1/model")
            assert status == 503
            assert "retry-after: 1\r\n" in text
            answer = json.loads(text.partition("\r\n\r\n")[2])
            assert answer["error"] == "expected at most 2 connections, found more; try again"
            assert get_alone(server, "/healthz")[0] == get_alone(server, "/readyz")[0] == 200
            time.sleep(SLOW_S)
            assert get_alone(server, "/v1/model")[0] == 503
        assert wait_until(lambda: refused in get_alone(server, "/metrics")[1], 20)
        assert "gave_way" not in get_alone(server, "/metrics")[1]
        expected = {"request_id": answer["request_id"], "status": 503, "reason": "connections"}
        assert any(expected.items() <= entry.items() for entry in server.requests())


@pytest.mark.parametrize("sent", [b"", GET, GET[:-2], HALF_BODY, BUNDLE * 8])
def test_connections_that_keep_the_server_waiting_give_way(sent):
    with serving("--model", str(colours()), "--max-connections", "5", *LONG) as server:
        server.client.close()
        with standing(server, *[sent] * 40):
            assert wait_until(lambda: get_alone(server, "/v1/model")[0] == 200, 20)
            text = get_alone(server, "/metrics")[1]
            assert 'connections_closed_total{reason="gave_way"}' in text
            assert get_alone(server, "/healthz")[0] == 200


def test_spare_places_are_a_fixed_number():
    with serving("--model", str(colours()), "--max-connections", "1", *LONG) as server:
        server.client.close()
        with uploading(server, 1), standing(server, *[b""] * 100):
            text = get_alone(server, "/metrics")[1]
            assert 'connections_closed_total{reason="surplus"}' in text or not text
            assert wait_until(lambda: get_alone(server, "/healthz")[0] == 200, 20)


# ---- SIGTERM


def test_sigterm_waits_for_work_and_for_nothing_else():
    content = picture("green", (1000, 1000), "JPEG")
    with serving("--model", str(colours()), *LONG) as server:
        kinds = (b"", GET, GET[:9], BUNDLE * 8, POST + b"Expect: 100-continue\r\n\r\n", HALF_BODY)
        with ThreadPoolExecutor() as pool, standing(server, *kinds * 5):
            still_works(server)
            working = pool.submit(server.predict, *[content] * 60)
            queued = "pawprint_queue_pictures 60.0"
            assert wait_until(lambda: queued in get_alone(server, "/metrics")[1], 20)
            server.process.send_signal(signal.SIGTERM)
            assert working.result().status_code == 200
            assert server.process.wait(20) == 0
    assert server.log[-1]["message"] == "stopped"
    assert [entry for entry in server.log if entry["level"] != "info"] == []


def test_sigterm_is_not_lost_while_timers_are_sorted(monkeypatch):
    """Asyncio replaces its list of timers once more than half of over 100 were cancelled.

    That happens when many connections close, and a server is often stopped then.
    """
    config = uvicorn.Config(lambda: None, log_config=None)
    service = cast(Service, SimpleNamespace(started=True, stopping=False, failure=None))
    sort = heapq.heapify

    async def scenario() -> None:
        server = Server(config, service, Crowd(Settings(drain_s=0.01), 1, lambda reason: None))

        def interrupted(timers: list[asyncio.TimerHandle]) -> None:
            if not service.stopping:
                server.handle_exit(signal.SIGTERM, None)
            sort(timers)

        monkeypatch.setattr(heapq, "heapify", interrupted)
        for _ in range(200):
            asyncio.get_running_loop().call_later(60, print).cancel()
        while not server.should_exit:
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(scenario(), 5))
    assert service.stopping
