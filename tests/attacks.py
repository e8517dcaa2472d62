"""Attacks the real server by connections that want more than their share, and asks it meanwhile.

    make attacks ARGS="'700 idle' churn"

During an attack it must answer a good picture and /healthz within a second, but for the first two
seconds, in which it learns who keeps it waiting. At SIGTERM, in the middle of the attack, it must
end within two seconds; and once the attackers have gone, its memory must be what it was before, up
to a tenth more (a quarter where all places were taken). Of a flood, which is more than the server
can answer, the end and the memory are judged alone. Linux only.
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

BUNDLE = b"GET /static/swagger/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
TWO_LENGTHS = POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
LEARNS_S = 2.0
LASTS_S = 8.0
RESTS_S = 3.0
WITHIN_S = 1.0
ENDS_WITHIN_S = 2.0
FULL = 1.25  # growth: Python keeps some of what 500 requests at a time have taken


class Attackers:
    """Many connections to one server, until it is over.

    Attributes:
        over: set at the end.
        opened: connections so far.
    """

    def __init__(self, address: str) -> None:
        place = urlsplit(address)
        self._address = (str(place.hostname), int(place.port or 0))
        self.over = Event()
        self.opened = 0

    def connect(self, send: bytes) -> socket.socket | None:
        """A connection that has sent something, as far as it was taken at once."""
        try:
            connection = socket.create_connection(self._address, timeout=5)
            self.opened += 1
            connection.setblocking(False)
            with suppress(BlockingIOError):
                connection.send(send)
        except OSError:
            return None
        return connection

    def stand(
        self,
        number: int,
        send: bytes,
        trickle: bytes = b"",
        back: bool = True,
        read: int = 0,
        half: bool = False,
    ) -> None:
        """Hold connections.

        Args:
            number: of them.
            send: what each sends first.
            trickle: and every fifth of a second.
            back: whether those that were closed come back.
            read: bytes that each takes every fifth of a second.
            half: whether each says that it will send no more.
        """
        held: list[socket.socket] = []
        while not self.over.wait(0.2):
            held = [one for one in held if _lives(one, trickle, read)]
            while len(held) < number and (back or self.opened < number):
                if (connection := self.connect(send)) is None:
                    break
                if half:
                    with suppress(OSError):
                        connection.shutdown(socket.SHUT_WR)
                held.append(connection)
        for connection in held:
            connection.close()

    def flood(self, send: bytes, read: bool = True) -> None:
        """Send for as long as it is taken, on one connection after the other."""
        while not self.over.wait(0.001):
            with suppress(OSError), socket.create_connection(self._address, timeout=1) as held:
                self.opened += 1
                while not self.over.is_set():
                    held.sendall(send)
                    while read and len(held.recv(65536)) == 65536:
                        pass

    def churn(self) -> None:
        """Open connections and close them."""
        while not self.over.is_set():
            if connection := self.connect(b""):
                connection.close()
            else:
                self.over.wait(0.01)


def _lives(connection: socket.socket, trickle: bytes, read: int) -> bool:
    """Whether the server has not closed it; what it does from time to time."""
    try:
        if trickle:
            connection.send(trickle)
        if read:
            connection.recv(read)
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
        open_files: that the server may have; 0: as many as this process.
        is_flood: whether it is more than the server can answer.
        growth: the most memory afterwards, as a multiple of that before.
    """

    run: Callable[[Attackers], None]
    threads: int = 1
    options: tuple[str, ...] = ()
    open_files: int = 0
    is_flood: bool = False
    growth: float = 1.1


ATTACKS = {
    "unread": Attack(lambda a: a.stand(50, BUNDLE * 8)),
    "unread, all places": Attack(
        lambda a: a.stand(50, BUNDLE * 8), options=("--max-connections=50",)
    ),
    "700 unread": Attack(lambda a: a.stand(700, BUNDLE * 8), growth=FULL),
    "read by the byte": Attack(lambda a: a.stand(50, BUNDLE * 8, read=1)),
    "idle at 200 open files": Attack(lambda a: a.stand(220, b"", back=False), open_files=200),
    "idle at 200 open files, coming back": Attack(
        lambda a: a.stand(220, b""), open_files=200, is_flood=True
    ),
    "700 idle": Attack(lambda a: a.stand(700, b"")),
    "700 idle after a request": Attack(lambda a: a.stand(700, GET)),
    "two lengths": Attack(lambda a: a.stand(50, TWO_LENGTHS)),
    "700 slow heads": Attack(lambda a: a.stand(700, GET[:-2] + b"X: ", b"x")),
    "100 slow bodies": Attack(lambda a: a.stand(100, CHUNKED, b"1\r\n \r\n")),
    "700 slow bodies": Attack(
        lambda a: a.stand(700, CHUNKED, b"1\r\n \r\n"), is_flood=True, growth=FULL
    ),
    "700 that never continue": Attack(
        lambda a: a.stand(700, POST + b"Expect: 100-continue\r\nContent-Length: 9\r\n\r\n"),
        growth=FULL,
    ),
    "100 half-closed": Attack(lambda a: a.stand(100, BUNDLE * 8, half=True)),
    "endless GET, unread": Attack(lambda a: a.flood(GET * 500, read=False), threads=8),
    "endless GET": Attack(lambda a: a.flood(GET * 500), threads=8),
    "endless HEAD": Attack(lambda a: a.flood(BUNDLE.replace(b"GET", b"HEAD") * 500), threads=8),
    "heads of 1 MB": Attack(
        lambda a: a.flood(GET[:-2] + b"X: " + b"x" * 1_000_000 + b"\r\n\r\n"), threads=4
    ),
    "50,000 headers": Attack(lambda a: a.flood(GET[:-2] + b"a:\n" * 50_000 + b"\n"), threads=4),
    "tiny chunks": Attack(lambda a: a.flood(CHUNKED + b"1\r\n \r\n" * 40_000), threads=4),
    "20,000 lines behind a body": Attack(
        lambda a: a.flood(CHUNKED + b"0\r\n" + b"a:\n" * 20_000 + b"\n"), threads=4
    ),
    "churn": Attack(Attackers.churn, threads=4, is_flood=True),
}


@dataclass
class Report:
    """What became of the good requests during an attack.

    Attributes:
        answers: how often each path had each status; 0: none.
        slowest_s: of each path.
    """

    answers: Counter[str] = field(default_factory=Counter)
    slowest_s: dict[str, float] = field(default_factory=dict)

    def ask(self, server: Running, path: str) -> None:
        """A good request by a connection of its own."""
        begin = time.monotonic()
        try:
            if path == "/healthz":
                status = httpx.get(server.address + path, timeout=10).status_code
            else:
                files = {"files": ("x.png", picture("red"))}
                status = httpx.post(server.address + path, files=files, timeout=10).status_code
        except httpx.HTTPError:
            status = 0
        self.answers[f"{path} {status}"] += 1
        took_s = round(time.monotonic() - begin, 3)
        self.slowest_s[path] = max(self.slowest_s.get(path, 0.0), took_s)

    @property
    def is_good(self) -> bool:
        answered = all(answer.endswith("200") for answer in self.answers)
        return answered and max(self.slowest_s.values()) <= WITHIN_S


@contextmanager
def under(name: str, server: Running) -> Iterator[Popen[str]]:
    """Attack by a process of its own, which says at the end how many connections it opened."""
    command = [sys.executable, __file__, "--attack", name, server.address]
    with Popen(command, stdin=PIPE, stdout=PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout
        process.stdout.readline()
        yield process
        if process.returncode is None:
            process.communicate()


def attack(name: str, address: str) -> None:
    """What that process does until its standard input ends."""
    attackers = Attackers(address)
    kind = ATTACKS[name]
    threads = [Thread(target=kind.run, args=(attackers,)) for _ in range(kind.threads)]
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


def run(name: str) -> bool:
    """Attack in one way; whether the server stood it."""
    kind, first, report = ATTACKS[name], Report(), Report()
    options = ("--model", str(colours()), *kind.options)
    with serving(*options, open_files=kind.open_files) as server:
        for _ in range(20):
            first.ask(server, "/v1/predict")
        rest_mb, lines = memory_mb(server), len(server.log)
        with under(name, server) as attackers:
            began = time.monotonic()
            while (lasted_s := time.monotonic() - began) < LASTS_S:
                for path in ("/healthz", "/v1/predict"):
                    (first if lasted_s < LEARNS_S else report).ask(server, path)
                time.sleep(0.1)
            lines, most_mb = len(server.log) - lines, memory_mb(server)
            opened = int(attackers.communicate()[0])
        time.sleep(RESTS_S)
        reasons, after_mb = closed(server), memory_mb(server)
        with under(name, server):
            time.sleep(2)
            began = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            server.process.wait(120)
            ended_s = time.monotonic() - began
    stood = (kind.is_flood or report.is_good) and after_mb <= kind.growth * rest_mb
    stood = stood and ended_s <= ENDS_WITHIN_S
    print(
        f"{'stood' if stood else 'FELL '} {name}: {dict(report.answers)}, at most "
        f"{dict(report.slowest_s)} s; {rest_mb:.0f}, {most_mb:.0f}, {after_mb:.0f} MB before, in "
        f"and after it; end {ended_s:.1f} s; {lines} lines; {opened} connections, "
        f"closed {json.dumps(reasons)}",
        flush=True,
    )
    return stood


if __name__ == "__main__":
    if sys.argv[1:2] == ["--attack"]:
        attack(*sys.argv[2:])
        sys.exit()
    sys.exit(0 if all([run(name) for name in sys.argv[1:] or ATTACKS]) else 1)
