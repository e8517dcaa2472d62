"""Attacks the real server by connections that cost it more than their share, and asks it meanwhile.

    python tests/attacks.py [NAME ...]

During each attack it must answer a good picture and /healthz within a second. It must end within
a second or two at SIGTERM, in the middle of the attack; and once the attackers have gone, its memory
must be what it was after the first good requests, up to a tenth more. Linux only.
"""

from __future__ import annotations

import json
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import PIPE, Popen
from threading import Event, Thread
from urllib.parse import urlsplit

import httpx
from served import ROOT, Running, colours, picture, serving

BUNDLE = b"GET /static/swagger/swagger-ui-bundle.js HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
GET = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
POST = b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
LASTS_S = 8.0
WITHIN_S = 1.0
GROWTH = 1.1
END_S = 2.0


class Attackers:
    """Many connections to one server, which come back when they were closed, until it is over."""

    def __init__(self, address: str) -> None:
        place = urlsplit(address)
        self._address = (str(place.hostname), int(place.port or 0))
        self.over = Event()
        self.opened = 0

    def stand(self, number: int, send: bytes, trickle: bytes = b"", back: bool = True) -> None:
        """Hold connections that send something, and then a little from time to time."""
        held: list[socket.socket] = []
        while not self.over.is_set():
            while len(held) < number and (back or self.opened < number):
                if (connection := self.connect(send)) is None:
                    break
                held.append(connection)
            self.over.wait(0.2)
            held = [connection for connection in held if self._lives(connection, trickle)]
        for connection in held:
            connection.close()

    def connect(self, send: bytes) -> socket.socket | None:
        try:
            connection = socket.create_connection(self._address, timeout=5)
            self.opened += 1
            connection.setblocking(False)
            with suppress(BlockingIOError):
                connection.send(send)
        except OSError:
            return None
        return connection

    def flood(self, send: bytes, read: bool = True) -> None:
        """Send for as long as it is taken, on one connection after the other."""
        while not self.over.is_set():
            self.over.wait(0.001)
            with suppress(OSError), socket.create_connection(self._address, timeout=1) as held:
                self.opened += 1
                while not self.over.is_set():
                    held.sendall(send)
                    if read:
                        while len(held.recv(65536)) == 65536:
                            pass

    def churn(self) -> None:
        while not self.over.is_set():
            if connection := self.connect(b""):
                connection.close()
            else:
                self.over.wait(0.01)

    @staticmethod
    def _lives(connection: socket.socket, trickle: bytes) -> bool:
        try:
            if trickle:
                connection.send(trickle)
            gone = connection.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return True
        except OSError:
            gone = True
        if gone:
            connection.close()
        return not gone


@dataclass(frozen=True)
class Attack:
    """One way to attack.

    Attributes:
        run: what each thread does.
        threads: how many of them.
        options: of the server.
        open_files: that the server may have; 0: as many as here.
    """

    run: Callable[[Attackers], None]
    threads: int = 1
    options: tuple[str, ...] = ()
    open_files: int = 0


def trickling_reader(attackers: Attackers) -> None:
    held: list[socket.socket] = []
    while not attackers.over.is_set():
        while len(held) < 50 and (connection := attackers.connect(BUNDLE * 8)):
            held.append(connection)
        for connection in held[:]:
            try:
                connection.recv(1)
            except BlockingIOError:
                pass
            except OSError:
                held.remove(connection)
        attackers.over.wait(0.5)


def half_closed(attackers: Attackers) -> None:
    held: list[socket.socket] = []
    while not attackers.over.is_set():
        if connection := attackers.connect(BUNDLE * 8):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
            held.append(connection)
        else:
            attackers.over.wait(0.01)
        if len(held) > 300:
            held.pop(0).close()


ATTACKS = {
    "unread bundles": Attack(lambda a: a.stand(50, BUNDLE * 8)),
    "unread bundles, 50 connections at most": Attack(
        lambda a: a.stand(50, BUNDLE * 8), options=("--max-connections=50",)
    ),
    "unread bundles, 700 connections": Attack(lambda a: a.stand(700, BUNDLE * 8)),
    "bundles, a byte read now and then": Attack(trickling_reader),
    "220 idle at 200 open files": Attack(lambda a: a.stand(220, b"", back=False), open_files=200),
    "220 idle at 200 open files, back when closed": Attack(
        lambda a: a.stand(220, b""), open_files=200
    ),
    "700 idle": Attack(lambda a: a.stand(700, b"")),
    "700 idle after a request": Attack(lambda a: a.stand(700, GET)),
    "two lengths": Attack(
        lambda a: a.stand(
            50, POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        )
    ),
    "700 slow heads": Attack(lambda a: a.stand(700, GET[:-2] + b"X: ", b"x")),
    "700 slow chunked bodies": Attack(lambda a: a.stand(700, CHUNKED, b"1\r\n \r\n")),
    "700 that never continue": Attack(
        lambda a: a.stand(700, POST + b"Expect: 100-continue\r\nContent-Length: 9\r\n\r\n")
    ),
    "half-closed": Attack(half_closed),
    "endless GET, unread": Attack(lambda a: a.flood(GET * 500, read=False), threads=8),
    "endless GET, read": Attack(lambda a: a.flood(GET * 500), threads=8),
    "endless HEAD, read": Attack(
        lambda a: a.flood(BUNDLE.replace(b"GET", b"HEAD") * 500), threads=8
    ),
    "heads of 1 MB": Attack(
        lambda a: a.flood(GET[:-2] + b"X: " + b"x" * 1_000_000 + b"\r\n\r\n"), threads=4
    ),
    "50,000 headers": Attack(lambda a: a.flood(GET[:-2] + b"a:\n" * 50_000 + b"\n"), threads=4),
    "tiny chunks": Attack(lambda a: a.flood(CHUNKED + b"1\r\n \r\n" * 40_000), threads=4),
    "20,000 lines behind a body": Attack(
        lambda a: a.flood(CHUNKED + b"0\r\n" + b"a:\n" * 20_000 + b"\n"), threads=4
    ),
    "churn": Attack(Attackers.churn, threads=4),
}


@dataclass
class Report:
    """What was seen of a server under attack.

    Attributes:
        slowest_s: of the good requests.
        answers: how often each status was given to them; 0: none.
    """

    slowest_s: dict[str, float] = field(default_factory=dict)
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)

    def ask(self, server: Running, path: str) -> None:
        begin = time.monotonic()
        try:
            if path == "/healthz":
                status = httpx.get(server.address + path, timeout=10).status_code
            else:
                files = {"files": ("x.png", picture("red"))}
                status = httpx.post(server.address + path, files=files, timeout=10).status_code
        except httpx.HTTPError:
            status = 0
        self.answers[path, status] += 1
        self.slowest_s[path] = max(self.slowest_s.get(path, 0.0), time.monotonic() - begin)


@contextmanager
def under(name: str, server: Running) -> Iterator[Popen[str]]:
    """Attack by a process of its own, which says at the end how many connections it opened."""
    command = [sys.executable, __file__, "--attack", name, server.address]
    with Popen(command, stdin=PIPE, stdout=PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout
        process.stdout.readline()
        yield process


def attack(name: str, address: str) -> None:
    attackers = Attackers(address)
    threads = [
        Thread(target=ATTACKS[name].run, args=(attackers,)) for _ in range(ATTACKS[name].threads)
    ]
    for thread in threads:
        thread.start()
    print("begun", flush=True)
    sys.stdin.read()
    attackers.over.set()
    for thread in threads:
        thread.join()
    print(attackers.opened)


def memory_mb(server: Running) -> float:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1000


def closed(server: Running) -> dict[str, int]:
    lines = server.get("/metrics").text.splitlines()
    found = [line for line in lines if line.startswith("pawprint_connections_closed_total{")]
    return {line.split('"')[1]: int(float(line.split()[-1])) for line in found}


def run(name: str, kind: Attack) -> bool:
    report = Report()
    options = ("--model", str(colours()), *kind.options)
    with serving(*options, open_files=kind.open_files) as server:
        for _ in range(20):
            report.ask(server, "/v1/predict")
        report = Report()
        rest = memory_mb(server)
        lines = len(server.log)
        with under(name, server) as attackers:
            began = time.monotonic()
            while time.monotonic() - began < LASTS_S:
                report.ask(server, "/healthz")
                report.ask(server, "/v1/predict")
                time.sleep(0.1)
            lines = len(server.log) - lines
            peak = memory_mb(server)
            opened = int(attackers.communicate()[0])
        time.sleep(3)
        after = memory_mb(server)
        reasons = closed(server)
        with under(name, server) as process:
            time.sleep(1.5)
            began = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            server.process.wait(120)
            ended = time.monotonic() - began
            process.stdin.close()
    good = {key for key in report.answers if key[1] == 200} == set(report.answers)
    fine = (
        good
        and max(report.slowest_s.values()) <= WITHIN_S
        and after <= GROWTH * rest
        and ended <= END_S
    )
    seen = {f"{path} {status}": number for (path, status), number in report.answers.items()}
    slowest = {path: round(s, 3) for path, s in report.slowest_s.items()}
    print(
        f"{'ok  ' if fine else 'BAD '} {name}: {seen} slowest {slowest}; MB {rest:.0f} "
        f"{peak:.0f} {after:.0f} ({after / rest:.2f}); SIGTERM {ended:.2f} s; log {lines}; "
        f"opened {opened}; {json.dumps(reasons)}",
        flush=True,
    )
    return fine


if __name__ == "__main__":
    if sys.argv[1:2] == ["--attack"]:
        attack(*sys.argv[2:])
        sys.exit()
    chosen = sys.argv[1:] or list(ATTACKS)
    sys.exit(0 if all([run(name, ATTACKS[name]) for name in chosen]) else 1)
