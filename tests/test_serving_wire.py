"""What is taken for a request on the wire, and what is refused before anything looks at it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from served import Running, answer_of, colours, connected, serving

# covers: B5, R18

MALFORMED = 'pawprint_connections_closed_total{reason="malformed"}'
GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
POST = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
CHUNKED = POST + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
SMUGGLED = b"0\r\n\r\nGET /v1/model HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with serving("--model", str(colours()), "--keep-alive-s", "60") as running:
        yield running
        assert [entry for entry in running.log if entry["level"] == "error"] == []


def header_lines(count: int) -> bytes:
    return b"".join(b"X-%d: y\r\n" % i for i in range(count))


def chunks(count: int, size: int) -> bytes:
    return (b"%x\r\n" % size + b" " * size + b"\r\n") * count


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        (b"\x16\x03\x01 nothing of HTTP\r\n\r\n", "expected a request of HTTP/1.1"),
        (
            POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + SMUGGLED,
            "expected Content-Length or Transfer-Encoding, found both",
        ),
        (
            POST + b"Transfer-Encoding: chunked\r\nContent-Length: 48\r\n\r\n" + SMUGGLED,
            "expected Content-Length or Transfer-Encoding, found both",
        ),
        (
            b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n" + SMUGGLED,
            "expected no Transfer-Encoding in HTTP/1.0",
        ),
        (GET + header_lines(99) + b"\r\n", "expected at most 100 headers in 16384 bytes"),
        (GET + b"X: " + b"x" * 16_384 + b"\r\n\r\n", "expected at most 100 headers in 16384"),
        (GET + b"X: " + b"x" * 1_000_000, "expected at most 100 headers in 16384 bytes"),
        (GET + b"a:\n" * 50_000 + b"\n", "expected at most 100 headers in 16384 bytes"),
        (CHUNKED + chunks(1001, 1), "expected chunks of 512 bytes or more, found smaller"),
        (CHUNKED + b"0\r\n" + header_lines(101) + b"\r\n", "expected at most 100 lines after"),
        (CHUNKED + b"nonsense\r\n", "expected a request of HTTP/1.1"),
    ],
)
def test_what_is_refused_is_closed_and_counted(server, sent, text):
    before = server.metric(MALFORMED)
    with connected(server) as connection:
        connection.sendall(sent)
        status, answer = answer_of(connection)
    assert answer.count("HTTP/1.1 ") == 1
    assert status == 400
    assert text in answer
    assert server.metric(MALFORMED) == before + 1


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (GET + header_lines(98) + b"\r\n", 200),
        (GET + b"X: " + b"x" * (16_384 - len(GET) - 7) + b"\r\n\r\n", 200),
        (CHUNKED + chunks(1000, 1) + b"0\r\n\r\n", 422),
        (CHUNKED + chunks(3000, 512) + b"0\r\n" + header_lines(100) + b"\r\n", 422),
    ],
)
def test_what_is_just_within_the_limits_is_read(server, sent, status):
    with connected(server) as connection:
        connection.sendall(sent)
        assert answer_of(connection)[0] == status


@pytest.mark.parametrize("lines", [b"0\r\n" + b"a:\n" * 80_000 + b"\n", chunks(20_000, 1)])
def test_requests_behind_others_have_the_same_limits(server, lines):
    with connected(server) as connection:
        first = GET.replace(b"Connection: close\r\n", b"") + b"\r\n"
        connection.sendall(first + CHUNKED + lines)
        text = answer_of(connection)[1]
    assert [text.count(f"HTTP/1.1 {status}") for status in (200, 400)] == [1, 1]


def test_what_is_refused_in_the_middle_ends_what_came_before(server):
    """Requests before it are answered, and none behind it."""
    with connected(server) as connection:
        first = GET.replace(b"Connection: close\r\n", b"") + b"\r\n"
        connection.sendall(first + b"nonsense\r\n\r\n" + first)
        text = answer_of(connection)[1]
    assert [text.count(f"HTTP/1.1 {status}") for status in (200, 400)] == [1, 1]
