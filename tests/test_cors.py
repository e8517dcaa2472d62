"""Pages of other origins: those that are listed may use the server, all others may not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import needs_chromium
from served import Running, colours, picture, serving
from sites import site_of

# covers: R18

KEY = "opensesame"
LISTED = "https://app.example"
OTHERS = (
    "https://elsewhere.example",
    "http://app.example",
    "https://app.example:444",
    "https://app.example.evil.example",
    "https://xapp.example",
    "https://APP.example",  # browsers write it small
    "null",
    "",
)
PREFLIGHT = {"Access-Control-Request-Method": "POST"}
PATHS = ("/v1/predict", "/v1/gradcam", "/v1/model", "/metrics", "/nowhere")


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[str]:
    """The origin of an empty page on another port."""
    directory = tmp_path_factory.mktemp("site")
    Path(directory, "index.html").write_text("<!doctype html><link rel=icon href=data:,>")
    with site_of(directory) as origin:
        yield origin


@pytest.fixture(scope="module")
def server(site) -> Iterator[Running]:
    origins = ("--cors-origins", f"{LISTED}:443, {site}")
    environment = {"PAWPRINT_API_KEY": KEY}
    with serving("--model", str(colours()), *origins, environment=environment) as running:
        yield running


def cors(headers: Any) -> dict[str, str]:
    return {name: text for name, text in headers.items() if name.startswith("access-control-")}


@pytest.mark.parametrize("path", PATHS)
def test_a_preflight_needs_no_key(server, path):
    asked = {"Origin": LISTED, **PREFLIGHT}
    answer = server.client.options(path, headers=asked)
    assert (answer.status_code, answer.content) == (204, b"")
    headers = answer.headers
    assert headers["access-control-allow-origin"] == LISTED
    assert headers["access-control-allow-methods"] == "GET, POST"
    allowed = headers["access-control-allow-headers"].lower().split(", ")
    assert allowed == ["authorization", "content-type", "x-client-id", "x-request-id"]
    assert "access-control-allow-credentials" not in headers
    assert headers["vary"] == "Origin"


@pytest.mark.parametrize("origin", OTHERS)
def test_an_origin_that_is_not_listed_is_refused_whatever_it_resembles(server, origin):
    answer = server.client.options("/v1/predict", headers={"Origin": origin, **PREFLIGHT})
    assert (answer.status_code, answer.json()["reason"]) == (403, "origin")
    assert "--cors-origins" in answer.json()["error"]
    key = {"Authorization": f"Bearer {KEY}"}
    read = server.get("/v1/model", headers={"Origin": origin, **key})
    assert (read.status_code, read.json()["reason"]) == (403, "origin")
    for headers in (answer.headers, read.headers):
        assert cors(headers) == {}
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["vary"] == "Origin"
    metrics = server.get("/metrics", headers=key).text
    assert re.search(r'pawprint_rejected_total\{reason="origin"\} [1-9]', metrics)


@pytest.mark.parametrize(
    ("headers", "status"), [({}, 401), ({"Authorization": f"Bearer {KEY}"}, 200)]
)
def test_an_answer_to_a_listed_origin_may_be_read_there_also_a_refusal(server, headers, status):
    answer = server.predict(picture("red"), headers={"Origin": LISTED, **headers})
    assert answer.status_code == status
    assert answer.headers["access-control-allow-origin"] == LISTED
    assert answer.headers["access-control-expose-headers"] == (
        "X-Request-ID, X-Model-Name, X-Model-Hash, X-Model-Resize, Retry-After"
    )
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
    assert answer.headers["vary"] == "Origin"


def test_options_without_a_question_is_no_preflight(server):
    assert server.client.options("/v1/predict", headers={"Origin": LISTED}).status_code == 401


def test_without_the_option_there_is_no_word_of_other_origins():
    with serving("--model", str(colours())) as server:
        answer = server.client.options("/v1/predict", headers={"Origin": LISTED, **PREFLIGHT})
        assert answer.status_code == 403
        for headers in (
            answer.headers,
            server.get("/v1/model", headers={"Origin": LISTED}).headers,
        ):
            assert cors(headers) == {}
            assert "vary" not in headers
            assert headers["cross-origin-resource-policy"] == "same-origin"


ASK = """async ([address, key, content]) => {
  const options = { headers: { Authorization: `Bearer ${key}`, "X-Client-ID": "page" } };
  const body = new FormData();
  body.append("files", new Blob([Uint8Array.from(content)]), "x.png");
  const predict = await fetch(`${address}/v1/predict`, { ...options, method: "POST", body });
  const again = new FormData();
  again.append("files", body.get("files"));
  const seen = await fetch(`${address}/v1/gradcam`, { ...options, method: "POST", body: again });
  const answer = await predict.json();
  return [answer.results[0].predictions[0].class, seen.headers.get("X-Model-Name")];
}"""


@needs_chromium
def test_a_page_of_a_listed_origin_gets_its_answers_and_another_does_not(browser, site, server):
    page = browser.new_page()
    page.goto(f"{site}/")
    argument = [server.address, KEY, list(picture("green"))]
    assert page.evaluate(ASK, argument) == ["green", "colours"]
    page.goto(f"{site.replace('127.0.0.1', 'localhost')}/")  # the same page, by another name
    with pytest.raises(Exception, match=re.compile("Failed to fetch")):
        page.evaluate(ASK, argument)
    page.close()
