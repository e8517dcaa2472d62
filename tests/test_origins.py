"""By which names the server is asked, and from whose pages: a page elsewhere cannot use it."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from chromium import needs_chromium
from living import wait_until
from served import ROOT, Running, colours, picture, serving
from sites import site_of

# covers: R18

FOREIGN_HOSTS = (
    "elsewhere.example",
    "elsewhere.example:{port}",
    "localhost.elsewhere.example",
    "elsewhere-localhost",
    "127.0.0.1.elsewhere.example",
    "0.0.0.0",
    "10.0.0.5",
    "[::2]",
    "localhost.",
)
NO_HOSTS = (
    "",
    "?",
    "a b",
    "http://localhost",
    "ann@localhost",
    "localhost:",
    "localhost:port",
    "localhost:123456",
    "localhost, localhost",
    "*.localhost",
    "::1",
    "[::1",
    "b\xfccher",
    "a" * 300,
)


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with serving("--model", str(colours())) as running:
        yield running


def ask(server: Running, request: str) -> tuple[int, dict[str, Any] | str]:
    """Send a request as it is; the status, and the answer, which need not be JSON."""
    place = urlsplit(server.address)
    with socket.create_connection((str(place.hostname), int(place.port or 0)), 20) as connection:
        connection.sendall(f"{request}Connection: close\r\n\r\n".encode("latin-1"))
        with connection.makefile("rb") as file:
            head, _, content = file.read().partition(b"\r\n\r\n")
    try:
        return int(head.split()[1]), json.loads(content)
    except ValueError:
        return int(head.split()[1]), content.decode()


def ask_as(server: Running, host: str, path: str = "/v1/model") -> tuple[int, Any]:
    return ask(server, f"GET {path} HTTP/1.1\r\nHost: {host}\r\n")


def port_of(server: Running) -> str:
    return server.address.rpartition(":")[2]


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_a_name_that_leads_here_is_not_answered(server, host):
    """As after DNS rebinding: the page has its own name, the browser this server's address."""
    refused = 'pawprint_rejected_total{reason="host"}'
    before = server.metric(refused)
    paths = ("/", "/v1/model", "/v1/predict", "/metrics", "/openapi.json", "/static/page.js")
    for path in paths:
        status, answer = ask_as(server, host.format(port=port_of(server)), path)
        assert (status, answer["reason"]) == (421, "host"), path
        name = host.removesuffix(":{port}")
        assert answer["error"] == f"expected a Host that --allowed-hosts lists, found {name}"
    assert server.metric(refused) == before + len(paths)


@pytest.mark.parametrize("host", NO_HOSTS)
def test_what_is_no_host_is_refused(server, host):
    assert ask_as(server, host)[0] == 400


def test_a_request_says_one_host(server):
    assert ask(server, "GET /v1/model HTTP/1.1\r\n")[0] == 400
    assert ask(server, "GET /v1/model HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n")[0] == 400
    status, answer = ask(server, "GET /v1/model HTTP/1.0\r\n")
    assert (status, answer["reason"]) == (400, "host")  # type: ignore[index]
    two = "GET http://elsewhere.example/v1/model HTTP/1.1\r\nHost: localhost\r\n"
    assert ask(server, two)[0] in (400, 404)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:{port}",
        "LOCALHOST:1",
        "127.0.0.1:{port}",
        "[::1]:80",
        "a.b.localhost",
    ],
)
def test_names_of_this_machine_are_answered(server, host):
    status, answer = ask_as(server, host.format(port=port_of(server)))
    assert (status, answer["models"][0]["name"]) == (200, "colours")


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_need_no_name(server, path):
    """They ask a container by whatever address it has, some by HTTP/1.0 and without a Host."""
    assert ask_as(server, "10.1.2.3:8000", path)[0] == 200
    assert ask(server, f"GET {path} HTTP/1.0\r\n")[0] == 200


def test_names_can_be_given_and_are_compared_whole():
    options = ("--allowed-hosts", "Pictures.example, *.app.example,[0:0::1]")
    with serving("--model", str(colours()), *options) as server:
        answered = ("pictures.example", "PICTURES.example:8443", "a.app.example", "b.a.app.example")
        for host in (*answered, "[::1]:8000"):
            assert ask_as(server, host)[0] == 200, host
        for host in ("app.example", "xapp.example", "a.pictures.example", "localhost", "127.0.0.1"):
            assert ask_as(server, host)[0] == 421, host
        command = [sys.executable, "-m", "pawprint.serving.health"]
        environment = {"PAWPRINT_PORT": port_of(server)}
        subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=60)


def test_a_server_for_other_machines_answers_to_any_name_unless_it_is_told():
    other = ("--model", str(colours()), "--host", "0.0.0.0")
    with serving(*other) as server:
        assert ask_as(server, "elsewhere.example")[0] == 200
        assert ask_as(server, "?")[0] == 400
    with serving(*other, environment={"PAWPRINT_ALLOWED_HOSTS": "localhost,127.0.0.1"}) as server:
        assert ask_as(server, "elsewhere.example")[0] == 421
        assert ask_as(server, "localhost")[0] == 200


FOREIGN = [
    {"Origin": "https://elsewhere.example"},
    {"Origin": "http://elsewhere.example:{port}"},
    {"Origin": "http://127.0.0.1"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "http://localhost:{port}"},  # this machine, too, and yet another origin
    {"Origin": "http://127.0.0.1:{port}.elsewhere.example"},
    {"Origin": "http://127.0.0.1:{port}/"},
    {"Origin": "ftp://127.0.0.1:{port}"},
    {"Origin": "127.0.0.1:{port}"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "http://127.0.0.1:{port}", "Sec-Fetch-Site": "cross-site"},
]
OWN: list[dict[str, str]] = [
    {},
    {"Origin": "http://127.0.0.1:{port}"},
    {"Origin": "http://127.0.0.1:{port}", "Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
]


def fill(headers: dict[str, str], server: Running) -> dict[str, str]:
    return {name: text.format(port=port_of(server)) for name, text in headers.items()}


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_what_a_page_elsewhere_asks_for_does_not_run(server, headers):
    sent = fill(headers, server)
    refused, seen = 'pawprint_rejected_total{reason="origin"}', "pawprint_batch_pictures_sum"
    before = server.metric(refused), server.metric(f'{seen}{{model="primary"}}')
    answers = [
        server.predict(picture("red"), headers=sent),
        server.post("/v1/gradcam", files={"files": picture("red")}, headers=sent),
        server.post("/v1/predict", content=b"{}", headers={"Content-Type": "text/plain", **sent}),
        server.post("/healthz", headers=sent),
        server.get("/v1/model", headers=sent),
        server.get("/metrics", headers=sent),
    ]
    for answer in answers:
        assert (answer.status_code, answer.json()["reason"]) == (403, "origin")
        assert "--cors-origins" in answer.json()["error"]
    after = server.metric(refused), server.metric(f'{seen}{{model="primary"}}')
    assert after == (before[0] + len(answers), before[1])


@pytest.mark.parametrize("headers", OWN, ids=str)
def test_the_own_page_and_programs_are_answered(server, headers):
    sent = fill(headers, server)
    assert server.predict(picture("red"), headers=sent).status_code == 200
    assert server.get("/v1/model", headers=sent).status_code == 200


def test_links_to_the_page_work_from_everywhere(server):
    for path in ("/", "/docs", "/static/page.js", "/openapi.json", "/healthz"):
        for headers in FOREIGN:
            assert server.get(path, headers=fill(headers, server)).status_code == 200


@pytest.mark.parametrize("host", ["pictures.example", "pictures.example:443"])
def test_behind_a_proxy_with_tls_the_own_page_is_told_by_its_host(host):
    with serving("--model", str(colours()), "--allowed-hosts", "pictures.example") as server:
        for origin, status in (("https://pictures.example", 200), ("https://b.example", 403)):
            headers = {"Host": host, "Origin": origin}
            assert server.predict(picture("red"), headers=headers).status_code == status


def test_no_answer_leads_elsewhere(server):
    """A redirect would be built from the header Host."""
    paths = ["/static", "/docs/", "/v1/model/", "/v1/predict/", "/healthz/", "/static/swagger"]
    paths += [
        "//elsewhere.example/",
        "/static//elsewhere.example",
        "/static/swagger/.",
        "/metrics/",
    ]
    with httpx.Client(base_url=server.address, trust_env=False) as client:
        for path in paths:
            for method in ("GET", "POST"):
                target = {"target": path.encode()}
                answer = client.request(method, "/", extensions=target)
                assert answer.status_code in (404, 405), (method, path)
                assert "location" not in answer.headers


SEND = """async (address) => {
  const body = new FormData();
  body.append("files", new Blob(["x"]), "x.png");
  const send = (path, options) => fetch(address + path, { mode: "no-cors", ...options });
  await send("/v1/predict", { method: "POST", body }).catch(() => 0);
  await send("/v1/gradcam", { method: "POST", body: "x" }).catch(() => 0);
  await send("/v1/model").catch(() => 0);
  const image = new Image();
  await new Promise((resolve) => { image.onerror = resolve; image.src = address + "/metrics"; });
}"""


def refused_all(server: Running, done: int) -> bool:
    """Whether the last requests have five refusals of an origin, and no POST that was answered."""
    found = server.requests()[done:]
    assert all(entry["status"] == 403 for entry in found if entry["method"] == "POST")
    return [entry.get("reason") for entry in found].count("origin") == 5


@needs_chromium
def test_a_page_elsewhere_in_a_browser(browser, server, tmp_path):
    Path(tmp_path, "index.html").write_text(
        f"<!doctype html><link rel=icon href=data:,><a href='{server.address}/'>to the server</a>"
        f"<form method=post enctype=multipart/form-data action='{server.address}/v1/predict'>"
        "<input name=files value=x><button>send</button></form>"
    )
    with site_of(tmp_path) as site:
        page = browser.new_page()
        for origin in (site, site.replace("127.0.0.1", "localhost")):  # same-site, cross-site
            done = len(server.requests())
            page.goto(f"{origin}/")
            page.evaluate(SEND, server.address)
            page.get_by_role("button").click()
            page.get_by_text(re.compile("--cors-origins")).wait_for()
            assert wait_until(partial(refused_all, server, done), 10)
            page.goto(f"{origin}/")
            page.get_by_role("link").click()
            page.locator(".card").wait_for()  # the server's own page works, also when linked to
        page.close()
