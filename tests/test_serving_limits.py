"""Hostile and clumsy requests: refused early, by name, and forgotten. Never a 5xx but 503."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from select import select

import httpx
import pytest
from corpus import pictures
from living import wait_until
from served import (
    Gated,
    Running,
    answer_of,
    colours,
    connected,
    in_process,
    picture,
    serving,
)

from pawprint.serving.limits import Limits, Refusal
from pawprint.serving.models import Models, open_models
from pawprint.serving.service import Service
from pawprint.serving.settings import Settings

# covers: B5, R18

READ_TIMEOUT_S = 1.0
MAX_BODY = 1_000_000


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    limits = {
        "max-body-mb": MAX_BODY / 1e6,
        "read-timeout-s": READ_TIMEOUT_S,
        "max-files": 70,
        "queue": 80,
    }
    options = [f"--{name}={value}" for name, value in limits.items()]
    with serving("--model", str(colours()), *options) as running:
        yield running
        assert [entry for entry in running.log if entry["level"] == "error"] == []
        assert all("stack" not in entry and "line" not in entry for entry in running.log)


def head(**headers: object) -> bytes:
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items()]
    return f"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\n{''.join(lines)}\r\n".encode()


def still_works(server: Running) -> None:
    answer = server.predict(picture("blue"))
    assert answer.json()["results"][0]["predictions"][0]["class"] == "blue"
    assert server.metric("pawprint_queue_pictures") == 0


def test_a_body_that_says_it_is_too_large_is_not_waited_for(server):
    with connected(server) as connection:
        connection.sendall(head(Content_Type="application/json", Content_Length=10**12))
        status, text = answer_of(connection)
    assert status == 413
    assert f"expected at most {MAX_BODY} bytes" in text


def test_a_body_that_does_not_say_so_is_cut_off(server):
    refused = 'pawprint_rejected_total{reason="body"}'
    before = server.metric(refused)
    chunk = b"[" * 50_000
    with connected(server) as connection:
        connection.sendall(head(Content_Type="application/json", Transfer_Encoding="chunked"))
        with suppress(ConnectionResetError, BrokenPipeError):
            for _ in range(100 * MAX_BODY // len(chunk)):
                connection.sendall(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
            pytest.fail("the server took a hundred times what it may")
    still_works(server)
    assert server.metric(refused) == before + 1
    largest = picture("red", (600, 500))
    assert len(largest) < MAX_BODY
    assert server.predict(largest).status_code == 200


@pytest.mark.parametrize("path", ["healthz", "nowhere", "v1/gradcam?class=pink"])
def test_a_body_that_nobody_reads_is_not_waited_for(server, path):
    with connected(server) as connection:
        request = f"POST /{path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000\r\n\r\n"
        connection.sendall(request.encode())
        status, text = answer_of(connection)
    assert status in (404, 405, 422)
    assert "connection: close" in text.lower()


def test_too_many_files(server):
    answer = server.predict(*[picture("red", (8, 8))] * 71)
    assert answer.status_code == 413
    assert "at most 70 pictures" in answer.json()["error"]
    images = {"images": [{"content": ""}] * 71}
    assert server.post("/v1/predict", json=images).status_code == 413


def test_a_body_that_trickles_is_given_up(server):
    with connected(server) as connection:
        connection.sendall(head(Content_Type="application/json", Content_Length=1000))
        for _ in range(500):
            connection.sendall(b" ")
            if select([connection], [], [], READ_TIMEOUT_S / 5)[0]:
                break
        status, text = answer_of(connection)
    assert status == 408
    assert "did not arrive within 1 s" in text


@pytest.mark.parametrize("before", [b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"])
def test_headers_that_trickle_are_given_up(server, before):
    with connected(server) as connection:
        connection.sendall(before)
        if before:
            content = b""
            while not content.endswith(b'"alive"}'):
                content += connection.recv(65536)
        connection.sendall(b"GET / HTTP/1.1\r\nX-Slow: ")
        assert answer_of(connection) == (0, "")


def test_clients_that_go_away_leave_nothing(server):
    body = httpx.Request("POST", server.address, files={"files": picture("red", (500, 500))})
    content = body.read()
    headers = head(
        Content_Type=body.headers["content-type"], Content_Length=len(content), X_Request_ID="gone"
    )
    for sent in (0, 1, len(content) // 2, len(content)):
        for _ in range(5):
            with connected(server) as connection:
                connection.sendall(headers + content[:sent])

    def statuses() -> list[int]:
        return [entry["status"] for entry in server.requests() if entry["request_id"] == "gone"]

    assert wait_until(lambda: len(statuses()) == 20, 30)
    seen = set(statuses())
    assert 499 in seen
    assert seen <= {200, 499}
    still_works(server)


def test_every_picture_of_the_corpus_is_used_or_refused_with_its_reason(server):
    cases = pictures()
    small = {name: case for name, case in cases.items() if len(case.content) < MAX_BODY // 2}
    for name, case in small.items():
        answer = server.predict(case.content)
        if case.reason:
            assert answer.status_code == 422, name
        elif case.pixels is not None:
            assert answer.status_code == 200, name
        else:
            assert answer.status_code in (200, 422), name
    assert len(small) > 100
    assert server.metric('pawprint_rejected_total{reason="pixels"}') >= 5  # the bombs
    still_works(server)


JSON_BODIES = [
    "",
    "null",
    "[]",
    "{}",
    "{",
    '{"images": []}',
    '{"images": "x"}',
    '{"images": [null]}',
    '{"images": [{"content": 5}]}',
    '{"images": [{"content": "", "more": 1}]}',
    '{"images": [{"content": "\\ud800"}]}',
    '{"images": [{"content": ""}], "top": 0}',
    '{"images": [{"content": ""}], "top": "5"}',
    '{"images": [{"content": ""}], "top": 1e400}',
    '{"images": [{"content": "é"}]}',
    "[" * 100_000,
    '{"a":' * 50_000,
]


@pytest.mark.parametrize("body", JSON_BODIES, ids=range(len(JSON_BODIES)))
def test_wrong_json(server, body):
    headers = {"Content-Type": "application/json"}
    answer = server.post("/v1/predict", content=body.encode(), headers=headers)
    assert answer.status_code == 422
    assert len(answer.json()["error"]) < 300


DISPOSITION = 'Content-Disposition: form-data; name="files"; filename="x"\r\n'

FORM = '--b\r\nContent-Disposition: form-data; name="files"; filename="%s"\r\n\r\nx\r\n--b--\r\n'


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("multipart/form-data", "x", 400),
        ("multipart/form-data; boundary=", "x", 400),
        ("multipart/form-data; boundary=b", "", 400),
        ("multipart/form-data; boundary=b", "--b--", 422),
        ("multipart/form-data; boundary=b", "--b\r\n\r\n\r\nno name\r\n--b--", 400),
        ("multipart/form-data; boundary=b", f"--b\r\n{DISPOSITION}\r\ncut", 400),
        ("multipart/form-data; boundary=b", "--x\r\n", 400),
        (f"multipart/form-data; boundary={'b' * 300}", "--", 400),
        *[
            (f"multipart/form-data; boundary=b; charset={charset}", FORM % name, 400)
            for charset, name in {
                "undefined": "x",
                "punycode": "x",
                "nonsense": "x",
                "utf-7": "+2AA-",
                "unicode_escape": r"\ud800",
            }.items()
        ],
        ("multipart/form-data; boundary=b; charset=UTF-8", FORM % "\xe9", 422),
        ("multipart/form-data; boundary=b", f"--b\r\n{'X: y' * 50_000}\r\n\r\n\r\n--b--", 400),
        ("text/plain", "x", 415),
        ("", "x", 415),
        ("application/json; charset=utf-7", "{}", 422),
    ],
)
def test_wrong_forms_and_types(server, kind, body, status):
    answer = server.post("/v1/predict", content=body.encode(), headers={"Content-Type": kind})
    assert answer.status_code == status, answer.text


@pytest.mark.parametrize("top", ["0", "-1", "x", "٣", "1" * 5000, ""])
def test_wrong_top_in_a_form(server, top):
    files = {"files": picture("red")}
    answer = server.post("/v1/predict", files=files, data={"top": top})
    assert answer.status_code == 422
    assert answer.json()["error"] == "top: expected a whole number from 1 to 1000, once"


def test_wrong_methods_and_places(server):
    for method, path, status in [
        ("GET", "/v1/predict", 405),
        ("POST", "/healthz", 405),
        ("BREW", "/v1/predict", 405),
        ("GET", "/static/../app.py", 404),
        ("GET", "/static/%2e%2e/app.py", 404),
        ("GET", "/static", 404),
        ("GET", "/%00", 404),
    ]:
        answer = server.client.request(method, path)
        assert answer.status_code == status, (method, path)
    with connected(server) as connection:
        connection.sendall(b"\x16\x03\x01 nothing of HTTP\r\n\r\n")
        assert answer_of(connection)[0] == 400


def test_a_full_queue_says_when_to_come_back():
    options = ("--queue", "2", "--max-batch", "1")
    with serving("--model", str(colours()), *options) as server:
        content = picture("red", (900, 900))
        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda _: server.predict(content, content), range(32)))
        refused = [answer for answer in answers if answer.status_code == 429]
        assert refused
        assert {answer.status_code for answer in answers} == {200, 429}
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
        assert server.predict(content, content, content).status_code == 413
        assert server.get("/v1/model").json()["limits"]["max_files"] == 2
        body = server.get("/openapi.json").json()["paths"]["/v1/predict"]["post"]["requestBody"]
        form, json_ = (kind["schema"]["properties"] for kind in body["content"].values())
        assert form["files"]["maxItems"] == json_["images"]["maxItems"] == 2
        still_works(server)


def test_what_takes_too_long_is_answered_by_503():
    settings = Settings(model=str(colours()), timeout_s=0.2)
    opened = open_models(settings).primary
    primary = Gated(opened.role, opened.classifier, opened.hash, opened.max_pixels)
    service = Service(settings, Models(primary))

    async def scenario() -> None:
        Gated.gate.clear()
        async with in_process(service) as client:

            async def ask() -> httpx.Response:
                return await client.post("/v1/predict", files={"files": picture("red")})

            answer = await ask()
            assert (answer.status_code, answer.json()["reason"]) == (503, "timeout")
            assert answer.headers["retry-after"] == "5"
            assert service.limits.pictures == 0
            Gated.gate.set()
            while (await ask()).status_code != 200:
                pass
            assert service.limits.pictures == 0

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_limits_count_what_is_in_work_alone():
    limits = Limits(Settings(queue=3))
    with limits.queued(2):
        with pytest.raises(Refusal, match="2 pictures are waiting; try again"), limits.queued(2):
            pass
        with limits.queued(1):
            assert limits.pictures == 3
    assert limits.pictures == 0


def test_bytes_of_all_requests_are_limited():
    from starlette.requests import Request

    def request(size: int) -> Request:
        async def receive() -> dict[str, object]:
            return {"type": "http.request", "body": b"x" * size, "more_body": False}

        return Request({"type": "http", "method": "POST", "headers": []}, receive)

    async def scenario() -> None:
        limits = Limits(Settings(max_body_mb=0.001, max_memory_mb=400.0015, decoders=1))
        async with limits.body(request(1000)) as body:
            assert len(body) == 1000
            with pytest.raises(Refusal, match="too many bytes are in work"):
                async with limits.body(request(600)):
                    pass
            async with limits.body(request(500)):
                pass
        with pytest.raises(Refusal, match="expected at most 1000 bytes"):
            async with limits.body(request(1001)):
                pass
        async with limits.body(request(1000)):
            pass

    asyncio.run(scenario())


def test_the_server_keeps_to_its_own_description(server, tmp_path):
    """Requests made up from /openapi.json; --seed keeps the tests the same every time."""
    # it cannot say which bytes are a picture, and knows no 413 for too many of them
    checks = "positive_data_acceptance,negative_data_rejection"
    command = [sys.executable, "-m", "schemathesis.cli", "run"]
    command += [f"{server.address}/openapi.json", "--exclude-checks", checks, "--seed", "1"]
    command += ["--max-examples", "10", "--phases", "examples,coverage,fuzzing", "--workers", "1"]
    command += ["--no-color", "--generation-database", "none"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-1000:]
    still_works(server)
