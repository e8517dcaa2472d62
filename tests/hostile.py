"""Sends thousands of requests to the real server, a tenth of them hostile, and looks for damage.

    make hostile REQUESTS=10000 SEED=0

Every good request must get the answer of `Classifier.probs`, to the bit, and every hostile one be
refused as it deserves; no 5xx but 503; memory at the end at most 1.1 times that after the warm-up;
and the server must still be alive. Linux only.
"""

from __future__ import annotations

import argparse
import base64
import json
import random
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import corpus
import httpx
import numpy as np
from served import Running, serving

from pawprint.inference.classifier import Classifier
from pawprint.runner.errors import PawprintError
from pawprint.sources.sample import draw_picture

CLIENTS = 16
HOSTILE = 0.1  # share of the requests
MAX_BODY = 2_000_000
MAX_FILES = 16
READ_TIMEOUT_S = 1.0
GROWTH = 1.1  # most memory at the end, as a multiple of that after the warm-up
DRAWN = 100
NO_ANSWER = 0  # in place of a status: the connection ended without one
OPTIONS = (
    f"--max-body-mb={MAX_BODY / 1e6}",
    f"--max-files={MAX_FILES}",
    f"--read-timeout-s={READ_TIMEOUT_S}",
)


@dataclass(frozen=True)
class Kind:
    """A way to be hostile.

    Attributes:
        send: makes the request with its own random numbers and returns the status.
        expected: statuses that are right.
    """

    send: Callable[[Running, random.Random], int]
    expected: tuple[int, ...]


@dataclass(frozen=True)
class Outcome:
    """What became of a request.

    Attributes:
        kind: its name.
        status: of the answer.
        fault: what is wrong about it, if anything is.
    """

    kind: str
    status: int
    fault: str


class Good:
    """Pictures that must be answered rightly.

    Args:
        classifier: what the server serves.
        seed: of the drawn ones.
        drawn: how many; those of the corpus that can be used are added.
    """

    def __init__(self, classifier: Classifier, seed: int, drawn: int = DRAWN) -> None:
        usable = [case.content for case in corpus.pictures().values() if case.pixels is not None]
        self._contents = [draw_picture(i, seed)[1] for i in range(drawn)] + usable
        pixels = np.stack([classifier.decode(content) for content in self._contents])
        self._names = classifier.card.class_names
        self._probs = classifier.probs(pixels)

    def send(self, server: Running, rng: random.Random) -> tuple[int, str]:
        """One to three pictures as a form or JSON → the status, and what is wrong about it."""
        chosen = rng.sample(range(len(self._contents)), rng.choice((1, 1, 1, 3)))
        contents = [self._contents[i] for i in chosen]
        top = min(1000, len(self._names))
        if rng.random() < 0.2:
            answer = server.post("/v1/predict", json={**_in_json(*contents), "top": top})
        else:
            answer = server.predict(*contents, data={"top": str(top)})
        if answer.status_code != 200:
            return answer.status_code, f"expected 200: {answer.text[:200]}"
        found = [_read_probs(result) for result in answer.json()["results"]]
        return 200, "" if found == [self._expect(i, top) for i in chosen] else "wrong answer"

    def _expect(self, i: int, top: int) -> dict[str, float]:
        best = np.argsort(-self._probs[i], kind="stable")[:top]
        return {self._names[k]: float(str(self._probs[i][k])) for k in best}


def _read_probs(result: dict[str, Any]) -> dict[str, float]:
    return {p["class"]: p["probability"] for p in result.get("predictions", [])}


def _in_json(*contents: bytes) -> dict[str, Any]:
    return {"images": [{"content": base64.b64encode(content).decode()} for content in contents]}


def hostile_kinds() -> dict[str, Kind]:
    """All ways to be hostile, by name."""
    refused = [
        case.content
        for case in corpus.pictures().values()
        if case.reason and len(case.content) < MAX_BODY - 1000
    ]
    return {
        "bad picture": Kind(lambda s, rng: s.predict(rng.choice(refused)).status_code, (422,)),
        "bad picture in JSON": Kind(
            lambda s, rng: _post_json(s, _in_json(rng.choice(refused))), (422,)
        ),
        "body too large": Kind(_announce_too_much, (413,)),
        # a reset may overtake the answer, for the client is still sending
        "body too large, unannounced": Kind(_send_too_much, (413, NO_ANSWER)),
        "too many files": Kind(
            lambda s, rng: s.predict(*[b"x"] * (MAX_FILES + 1)).status_code, (413,)
        ),
        "slow body": Kind(_trickle_body, (408,)),
        "slow headers": Kind(_trickle_headers, (NO_ANSWER,)),
        "cut connection": Kind(_cut, (NO_ANSWER, 200)),
        "wrong type": Kind(_wrong_type, (415, 422, 400)),
        "wrong base64": Kind(
            lambda s, rng: _post_json(s, {"images": [{"content": f"{rng.random()}!"}]}), (422,)
        ),
        "wrong JSON": Kind(_wrong_json, (422,)),
        "swollen JSON": Kind(_swollen_json, (413, 422)),
        "swollen form": Kind(_swollen_form, (400, 413, 422)),
        "foreign host": Kind(_foreign_host, (400, 421)),
        "foreign page": Kind(_foreign_page, (403,)),
        "wrong path": Kind(_wrong_path, (404, 405)),
        "not HTTP": Kind(_not_http, (400,)),
    }


def _post_json(server: Running, content: dict[str, Any]) -> int:
    return server.post("/v1/predict", json=content).status_code


def _connect(server: Running) -> socket.socket:
    place = urlsplit(server.address)
    return socket.create_connection((str(place.hostname), int(place.port or 0)), timeout=60)


def _head(*headers: str) -> bytes:
    return "\r\n".join(["POST /v1/predict HTTP/1.1", "Host: localhost", *headers, "", ""]).encode()


def _status(connection: socket.socket) -> int:
    """Of the answer, once the server closes the connection."""
    content = b""
    try:
        while part := connection.recv(65536):
            content += part
    except ConnectionResetError:
        pass
    return int(content.split(b" ", 2)[1]) if content else NO_ANSWER


def _announce_too_much(server: Running, rng: random.Random) -> int:
    with _connect(server) as connection:
        length = MAX_BODY + rng.randint(1, 10**12)
        connection.sendall(_head("Content-Type: application/json", f"Content-Length: {length}"))
        return _status(connection)


def _send_too_much(server: Running, rng: random.Random) -> int:
    with _connect(server) as connection:
        connection.sendall(_head("Content-Type: application/json", "Transfer-Encoding: chunked"))
        part = b"[" * rng.randint(10_000, 200_000)
        try:
            for _ in range(2 * MAX_BODY // len(part) + 2):
                connection.sendall(b"%x\r\n%b\r\n" % (len(part), part))
        except (ConnectionResetError, BrokenPipeError):
            pass
        return _status(connection)


def _trickle_body(server: Running, rng: random.Random) -> int:
    with _connect(server) as connection:
        connection.sendall(_head("Content-Type: application/json", "Content-Length: 1000"))
        for _ in range(rng.randint(0, 3)):
            connection.sendall(b" ")
            time.sleep(READ_TIMEOUT_S / 8)
        return _status(connection)


def _trickle_headers(server: Running, rng: random.Random) -> int:
    with _connect(server) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nX-Slow: "[: rng.randint(1, 24)])
        return _status(connection)


def _cut(server: Running, rng: random.Random) -> int:
    """Go away before, within or after the body, by a reset or politely, and perhaps too late."""
    body = httpx.Request("POST", server.address, files={"files": corpus.jpeg()})
    content = body.read()
    head = _head(f"Content-Type: {body.headers['content-type']}", f"Content-Length: {len(content)}")
    with _connect(server) as connection:
        connection.sendall((head + content)[: rng.randint(0, len(head + content))])
        if rng.random() < 0.5:
            connection.shutdown(socket.SHUT_WR)
            return _status(connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return NO_ANSWER


def _wrong_type(server: Running, rng: random.Random) -> int:
    kinds = ["text/plain", "", "image/jpeg", "multipart/form-data", "application/json"]
    kind, content = rng.choice(kinds), corpus.jpeg()
    if kind == "multipart/form-data":  # without a boundary, or in a charset that codes no text
        charset, name = rng.choice([("undefined", b"x"), ("utf-7", b"+2AA-"), ("", b"")])
        kind += f"; boundary=b; charset={charset}" if charset else ""
        disposition = b'Content-Disposition: form-data; name="files"; filename="%b"' % name
        content = b"--b\r\n%b\r\n\r\n%b\r\n--b--\r\n" % (disposition, content)
    return server.post("/v1/predict", content=content, headers={"Content-Type": kind}).status_code


def _wrong_json(server: Running, rng: random.Random) -> int:
    bodies = ["", "null", "{", '{"images": []}', '{"images": [5]}', "[" * rng.randint(1, 100_000)]
    bodies += ['{"images": [{"content": "\\ud800"}]}', '{"top": 1, "top": 1}', "\ufeff{}"]
    content = rng.choice(bodies).encode(rng.choice(["utf-8", "utf-16", "utf-16-be"]))
    headers = {"Content-Type": "application/json"}
    return server.post("/v1/predict", content=content, headers=headers).status_code


def _swell(rng: random.Random, head: bytes, repeated: bytes, tail: bytes) -> bytes:
    most = (MAX_BODY - len(head) - len(tail)) // len(repeated)
    return head + repeated * rng.randint(most // 10, most) + tail


def _swollen_json(server: Running, rng: random.Random) -> int:
    """Much of something where there is little or nothing of it."""
    picture = b'{"images": [{"content": "'
    head, repeated, tail = rng.choice(
        [
            (b'{"images": [', b"0,", b"0]}"),
            (b"{", b'"k": 0,', b'"k": 0}'),
            (b'{"images": [{', b'"k": 0,', b'"k": 0}]}'),
            (b"", b"[", b""),
            (b"", b'{"k":', b""),
            (picture + b'"}], "top": ', b"9", b"}"),
            (picture + b'"}]', b"\r\n", b"}"),
            (picture + b'", "name": "', b"x", b'"}]}'),
            (picture, b"\\n", b"!"),
            (picture, b'\\"', b'"}]}'),
            (picture, b"\\u0041\\/", b'"}]}'),
            (picture, "\N{PAW PRINTS}".encode(), b'"}]}'),
        ]
    )
    headers = {"Content-Type": "application/json"}
    content = _swell(rng, head, repeated, tail)
    return server.post("/v1/predict", content=content, headers=headers).status_code


def _swollen_form(server: Running, rng: random.Random) -> int:
    boundary = b"b" * rng.choice((1, 2, 69, 70, 71, 200, 256, 300))
    field = b'--%b\r\nContent-Disposition: form-data; name="top"\r\n' % boundary
    file = field.replace(b"top", b"files").replace(b"\r\nC", b"\r\nX: y\r\nC")[:-2]
    file += b'; filename="x"\r\n'
    end = b"\r\n--%b--\r\n" % boundary
    head, repeated, tail = rng.choice(
        [
            (b"", b"\r\n", end),
            (b"", b"-", end),
            (b"preface\r\n" + file + b"\r\n", b"\r\n", end),
            (file + b"\r\n", b"-", end),
            (file + b"\r\n", b"\r\n--" + boundary[1:], end),
            (file + b"\r\n", b"\r\n--%bx" % boundary, end),
            (file + b"\r\n\r\n--" + boundary, b" ", b"\r\n"),
            (b"", file + b"\r\n\r\n", end),
            (b"", field + b"\r\n\r\n", end),
            (field + b"\r\n", b"1", end),
            (file, b"a: b\r\n", end),
            (file + b"a:", b"b", end),
            (file + b"\r\n", b"no picture", end + b"epilogue" * rng.randint(0, 1000)),
        ]
    )
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary.decode()}"}
    content = _swell(rng, head, repeated, tail)[:MAX_BODY]
    return server.post("/v1/predict", content=content, headers=kind).status_code


def _foreign_host(server: Running, rng: random.Random) -> int:
    """As after DNS rebinding, or as nobody should write it."""
    hosts = ["elsewhere.example", "localhost.elsewhere.example:80", "10.0.0.5", "?", "a b", "[::1"]
    path = rng.choice(["/", "/v1/model", "/metrics", "/docs"])
    with _connect(server) as connection:
        request = f"GET {path} HTTP/1.1\r\nHost: {rng.choice(hosts)}\r\nConnection: close\r\n\r\n"
        connection.sendall(request.encode())
        return _status(connection)


def _foreign_page(server: Running, rng: random.Random) -> int:
    """What a browser sends for a page of another origin, which needs no answer to do harm."""
    origins = ["Origin: https://elsewhere.example", "Origin: http://localhost:1", "Origin: null"]
    told = rng.choice([*origins, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site"])
    body = httpx.Request("POST", server.address, files={"files": corpus.jpeg()})
    content = body.read()
    length = f"Content-Length: {len(content)}"
    head = _head(told, f"Content-Type: {body.headers['content-type']}", length)
    with _connect(server) as connection:
        connection.sendall(head + content)
        return _status(connection)


def _wrong_path(server: Running, rng: random.Random) -> int:
    place = rng.choice(["/v2/predict", f"/{rng.random()}", "/static/%2e%2e/app.py", "/%00"])
    method = rng.choice(["GET", "POST", "DELETE", "BREW"])
    return server.client.request(method, place).status_code


def _not_http(server: Running, rng: random.Random) -> int:
    with _connect(server) as connection:
        connection.sendall(b"\x16\x03\x01" + rng.randbytes(20).hex().encode() + b"\r\n\r\n")
        return _status(connection)


def plan(count: int, kinds: list[str], seed: int) -> list[str]:
    """The kinds of all requests in their order; "" is a good one."""
    hostile = round(count * HOSTILE)
    order = [kinds[i % len(kinds)] for i in range(hostile)] + [""] * (count - hostile)
    random.Random(seed).shuffle(order)
    return order


def send_all(
    server: Running, order: list[str], good: Good, kinds: dict[str, Kind], seed: int
) -> Iterator[Outcome]:
    """Send requests from all clients; each has random numbers of its own."""

    def send(name: str, number: int) -> Outcome:
        rng = random.Random(f"{seed} {number}")
        try:
            if not name:
                return Outcome("good", *good.send(server, rng))
            status = kinds[name].send(server, rng)
        except (httpx.HTTPError, OSError, ValueError) as error:
            return Outcome(name or "good", NO_ANSWER, f"{type(error).__name__}: {error}")
        expected = kinds[name].expected
        fault = "" if status in expected else f"expected one of {expected}, found {status}"
        return Outcome(name, status, fault)

    with ThreadPoolExecutor(CLIENTS) as pool:
        yield from pool.map(send, order, range(len(order)))


def read_rss_mb(pid: int) -> float:
    """Memory of a process in 10^6 bytes.

    Raises:
        PawprintError: it has ended.
    """
    try:
        text = Path(f"/proc/{pid}/status").read_text("ascii")
        return int(text.partition("VmRSS:")[2].split()[0]) * 1024 / 1e6
    except (OSError, IndexError):
        raise PawprintError("the server ended") from None


def find_damage(server: Running, before_mb: float, after_mb: float) -> Iterator[str]:
    """What is wrong with the server after all, one line each."""
    if after_mb > GROWTH * before_mb:
        yield f"memory: {before_mb:.0f} MB after the warm-up, {after_mb:.0f} MB at the end"
    try:
        if server.get("/healthz").status_code != 200:
            yield "/healthz does not answer 200"
        if waiting := server.metric("pawprint_queue_pictures"):
            yield f"{waiting:g} pictures still count as waiting"
    except httpx.HTTPError as error:
        yield f"the server is not alive: {error}"
    for entry in server.log:
        if entry.get("level") == "error" or "stack" in entry or "line" in entry:
            yield f"its log: {json.dumps(entry)[:500]}"


def render(outcomes: list[Outcome]) -> str:
    """The table of requests by kind and status."""
    numbers = Counter((outcome.kind, outcome.status) for outcome in outcomes)
    lines = ["| requests | number | answers |", "| --- | ---: | --- |"]
    for name in sorted({kind for kind, _ in numbers}, key=lambda kind: (kind != "good", kind)):
        found = {status: n for (kind, status), n in sorted(numbers.items()) if kind == name}
        answers = ", ".join(f"{n} x {status or 'no answer'}" for status, n in found.items())
        lines.append(f"| {name} | {sum(found.values())} | {answers} |")
    return "\n".join(lines)


def run(model: Path, count: int, warm_up: int, seed: int) -> list[str]:
    """Send the requests, print a table, and return what went wrong.

    Args:
        model: exported.
        count: of requests in all.
        warm_up: how many of them come before the first look at the memory.
        seed: of which are hostile, and how.

    Raises:
        PawprintError: the model cannot be used, or the server ended.
    """
    kinds = hostile_kinds()
    good = Good(Classifier.open(model), seed)
    order = plan(count, list(kinds), seed)
    with serving("--model", str(model), *OPTIONS) as server:
        began = time.monotonic()
        sending = send_all(server, order, good, kinds, seed)
        outcomes = list(islice(sending, warm_up))
        before_mb = read_rss_mb(server.process.pid)
        outcomes += sending
        after_mb = read_rss_mb(server.process.pid)
        seconds = time.monotonic() - began
        damage = list(find_damage(server, before_mb, after_mb))
    print(render(outcomes))
    print(
        f"\n{count} requests by {CLIENTS} clients in {seconds:.0f} s; memory {before_mb:.0f} MB "
        f"after {warm_up} of them, {after_mb:.0f} MB at the end ({after_mb / before_mb:.3f}x)"
    )
    faults = [f"request {i}, {o.kind}: {o.fault}" for i, o in enumerate(outcomes) if o.fault]
    return faults + damage


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("models/export"))
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--warm-up", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if not 0 < options.warm_up < options.requests:
        parser.error("--warm-up must be above 0 and below --requests")
    try:
        faults = run(options.model.resolve(), options.requests, options.warm_up, options.seed)
    except PawprintError as error:
        sys.exit(f"error: {error}")
    print("\n".join(faults[:50]) or "all as they should be")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
