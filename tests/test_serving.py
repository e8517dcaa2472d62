"""What the server answers, says of itself and counts, asked over real connections."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from classifiers import colours_models, promising_model
from corpus import heic
from living import wait_until
from PIL import Image
from served import (
    CLASSES,
    METRICS,
    ROOT,
    SIZE,
    Running,
    colours,
    in_process,
    picture,
    renamed,
    serving,
)

from pawprint.inference.classifier import Classifier
from pawprint.inference.overlays import INFERNO, blend_heatmap, heat_layer
from pawprint.runner.errors import PawprintError
from pawprint.serving.app import build_app
from pawprint.serving.crowd import Crowd
from pawprint.serving.logs import JsonFormatter
from pawprint.serving.models import open_models
from pawprint.serving.server import Server, listen
from pawprint.serving.service import Service
from pawprint.serving.settings import Settings

# covers: R7, R10, R11, R18, B6

BAD = b"no picture"


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with serving("--model", str(colours())) as running:
        yield running


def expected_probs(*contents: bytes) -> np.ndarray:
    classifier = Classifier.open(colours())
    return classifier.probs(np.stack([classifier.decode(content) for content in contents]))


def served_probs(response: httpx.Response) -> list[list[float]]:
    assert response.status_code == 200, response.text
    rows = []
    for result in response.json()["results"]:
        found = {p["class"]: p["probability"] for p in result["predictions"]}
        rows.append([float(np.float32(found[name])) for name in CLASSES])  # as it was
    return rows


def in_json(*contents: bytes, **more: object) -> dict[str, object]:
    images = [{"content": base64.b64encode(content).decode()} for content in contents]
    return {"images": images, **more}


def read_png(response: httpx.Response) -> np.ndarray:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "image/png"
    return np.asarray(Image.open(io.BytesIO(response.content)))


def test_served_probabilities_are_the_classifiers_to_the_bit(server):
    contents = [picture(name, format_=f) for name in CLASSES for f in ("PNG", "JPEG", "WEBP")]
    expected = expected_probs(*contents)
    assert expected.argmax(axis=1).tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert served_probs(server.predict(*contents)) == expected.tolist()
    answer = server.post("/v1/predict", json=in_json(*contents))
    assert served_probs(answer) == expected.tolist()
    with ThreadPoolExecutor(16) as pool:  # one by one, and all at a time
        answers = list(pool.map(server.predict, contents * 4))
    assert [served_probs(answer)[0] for answer in answers] == expected.tolist() * 4


def darken(content: bytes) -> bytes:
    """The same picture at a quarter of its brightness."""
    file = io.BytesIO()
    Image.open(io.BytesIO(content)).point(lambda value: value // 4).save(file, "PNG")
    return file.getvalue()


def test_what_is_decided_alone_is_served_and_windows_are_compared(tmp_path_factory, tmp_path):
    """Four pictures fill a window: two of them are unlike, and one is allowed."""
    model = promising_model(colours_models(tmp_path_factory) / "telling", tmp_path / "model")
    contents = [picture(name) for name in ("red", "red", "green", "blue")]
    with serving("--model", str(model)) as server:
        assert server.metric('pawprint_drift_alarms_total{model="primary",signal="unlike"}') == 0
        results = server.predict(*contents).json()["results"]
        assert [result["decided"] for result in results] == [True, True, False, False]
        (card,) = server.get("/v1/model").json()["models"]
        assert card["deciding"] == {"precision": 0.995, "confidence": 0.98, "threshold": 0.9}
        assert server.metric('pawprint_drift_windows_total{model="primary"}') == 1
        assert server.metric('pawprint_drift_alarms_total{model="primary",signal="unlike"}') == 1
        assert server.metric('pawprint_drift_alarms_total{model="primary",signal="classes"}') == 0
        assert server.metric('pawprint_unlike_total{model="primary"}') == 2
        assert server.metric('pawprint_unlikeness_count{model="primary"}') == 4
        assert (
            server.metric('pawprint_drift_alarms_total{model="primary",signal="brightness"}') == 0
        )
        server.predict(*[darken(content) for content in contents])
        assert (
            server.metric('pawprint_drift_alarms_total{model="primary",signal="brightness"}') == 1
        )
        messages = [entry["message"] for entry in server.log]
    assert any("the last 4 pictures of the primary model are not as" in text for text in messages)


def test_a_model_that_does_not_say_what_it_decides_has_none_in_its_answers(server):
    (result,) = server.predict(picture("red")).json()["results"]
    assert result["decided"] is None
    assert server.get("/v1/model").json()["models"][0]["deciding"] is None


def test_a_server_refuses_a_model_whose_card_says_nonsense_of_drift(tmp_path_factory, tmp_path):
    model = colours_models(tmp_path_factory) / "telling"
    promising_model(model, tmp_path / "model", drift={"window": 0})
    command = [sys.executable, "-m", "pawprint", "serve", "--model", str(tmp_path / "model")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "deciding.drift: expected what stage deciding writes" in done.stderr


def test_a_server_says_which_drift_it_cannot_notice(tmp_path_factory, tmp_path):
    """That of a model without a promise; and of signals of one."""
    model = colours_models(tmp_path_factory) / "telling"
    promising_model(model, tmp_path / "promising")
    card = tmp_path / "promising/model.json"
    content = json.loads(card.read_bytes())
    content["deciding"]["drift"]["classes"]["most"] = [4, 4, 4]
    card.write_text(json.dumps(content))
    for name, expected in (
        (model, "the primary model's is not watched, as its card does not say"),
        (tmp_path / "promising", "the primary model can raise no alarm by: confidence, classes;"),
    ):
        with serving("--model", str(name)) as server:
            said = [entry["message"] for entry in server.log]
        assert sum(expected in message for message in said) == 1, said


def test_unlikeness_is_served_as_the_command_line_says_it(server, tmp_path_factory, tmp_path):
    """By a model that was trained on red alone, as it seems; null by one that does not tell it."""
    contents = [picture(name) for name in CLASSES]
    (other,) = server.predict(contents[2]).json()["results"]
    assert (other["unlikeness"], other["unlike"]) == (None, None)
    assert server.get("/v1/model").json()["models"][0]["unlike_above"] is None
    model = colours_models(tmp_path_factory) / "telling"
    with serving("--model", str(model)) as telling:
        results = telling.predict(*contents).json()["results"]
        assert telling.get("/v1/model").json()["models"][0]["unlike_above"] == 1
    assert [result["unlike"] for result in results] == [False, True, True]
    for place, content in enumerate(contents):
        (tmp_path / f"{place}.png").write_bytes(content)
    command = [sys.executable, "-m", "pawprint", "predict", str(tmp_path), "--json"]
    command += ["--model", str(model)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    printed = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["unlikeness"] for line in printed] == [r["unlikeness"] for r in results]
    assert printed[2]["unlikeness"] > 1.5


def test_the_command_line_says_the_same_numbers(server, tmp_path):
    """And both say 0.7, not 0.699999988: no more digits than tell it from other float32 numbers."""
    (tmp_path / "x.png").write_bytes(two_halves())
    command = [sys.executable, "-m", "pawprint", "predict", str(tmp_path / "x.png"), "--json"]
    command += ["--model", str(colours())]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    printed = json.loads(done.stdout)["classes"]
    (result,) = server.predict(two_halves()).json()["results"]
    assert result["predictions"] == printed
    probs = expected_probs(two_halves())[0]
    assert sorted(str(entry["probability"]) for entry in printed) == sorted(map(str, probs))
    assert any(entry["probability"] not in probs.astype(float) for entry in printed)


def test_a_bad_picture_is_an_entry_with_its_reason(server):
    files = [("files", ("a.png", picture("green"))), ("files", ("b.png", BAD))]
    answer = server.post("/v1/predict", files=files, data={"top": "1"})
    assert answer.status_code == 200
    good, bad = answer.json()["results"]
    assert good["name"] == "a.png"
    assert [p["class"] for p in good["predictions"]] == ["green"]
    assert bad == {"name": "b.png", "error": "not a picture in a known format"}
    assert answer.json()["model"]["name"] == "colours"


def test_a_heic_is_classified_as_any_picture(server):
    content = heic(Image.open(io.BytesIO(picture("green"))))
    assert served_probs(server.predict(content)) == expected_probs(content).tolist()
    assert expected_probs(content).argmax() == CLASSES.index("green")


def test_what_is_no_picture_is_named(server):
    (page,) = server.predict(b"<!DOCTYPE html><title>404</title>").json()["results"]
    assert page["error"].startswith("not a picture that can be read: an HTML page; ")


def test_no_good_picture_at_all_is_refused(server):
    answer = server.predict(BAD, b"")
    assert answer.status_code == 422
    errors = [result["error"] for result in answer.json()["results"]]
    assert errors == ["not a picture in a known format", "empty file"]
    assert answer.json()["error"] == "no picture can be used"


def test_names_and_top_in_json(server):
    body = in_json(picture("blue"), top=2)
    body["images"] += [{"name": "x", "content": "?"}]  # type: ignore[operator]
    first, second = server.post("/v1/predict", json=body).json()["results"]
    assert [p["class"] for p in first["predictions"]] == ["blue", "green"]
    assert first["name"] is None
    assert second == {"name": "x", "error": "not base64"}


def folded(text: str) -> str:
    """As in mail: 76 characters a line."""
    return "".join(f"{text[i : i + 76]}\r\n" for i in range(0, len(text), 76))


def test_base64_as_programs_write_it(server):
    """Of pictures in which both digits of each alphabet and padding occur."""
    content = next(c for n in range(300) if len(c := picture("red") + bytes(n)) % 3 == 1)
    plain = base64.b64encode(content + b"\xfb\xff\xbf" * 2).decode()
    assert "+" in plain
    assert "/" in plain
    assert plain.endswith("==")
    safe = plain.replace("+", "-").replace("/", "_")
    written = [
        plain,
        folded(plain),
        f"\n  {plain}\t",
        safe,
        safe.rstrip("="),
        folded(safe),
        f"data:image/png;base64,{plain}",
        f"data:;base64,{folded(plain)}",
        f" DATA:image/png;name=a%2C.png;charset=x;BASE64,{safe.rstrip('=')}",
    ]
    images = [{"content": text} for text in written]
    results = server.post("/v1/predict", json={"images": images}).json()["results"]
    assert [r["predictions"][0]["class"] for r in results] == ["red"] * len(written)
    png = server.post("/v1/gradcam", json={"images": images[-1:]}, params={"view": "input"})
    assert read_png(png).shape == (SIZE, SIZE, 3)


def test_what_is_no_base64_is_told(server):
    plain = base64.b64encode(picture("red")).decode()
    wrong = [
        "?",
        "data:image/png;base64",  # no comma
        f"data:image/png,{plain}",  # percent-encoded, it says
        f"data:{'x' * 2000};base64,{plain}",
        f"https://example.org/{plain}",
        f"{plain[:40]}={plain[40:]}",
        f"{plain[:8]}\u00a0{plain[8:]}",
        "é",
        "A",
    ]
    images = [{"content": text} for text in wrong]
    answer = server.post("/v1/predict", json={"images": images})
    assert answer.status_code == 422
    assert {result["error"] for result in answer.json()["results"]} == {"not base64"}


def test_a_lone_request_waits_for_no_batch():
    async def scenario() -> None:
        settings = Settings(model=str(colours()), max_wait_ms=3_600_000)
        async with in_process(Service(settings, open_models(settings))) as client:
            answer = await client.post("/v1/predict", files={"files": picture("red")})
            assert answer.status_code == 200

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_answers_are_not_held_back_for_the_clients_acknowledgement():
    """Nagle's algorithm would, for 40 ms each time."""
    delays: list[int] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted = writer.get_extra_info("socket")
        delays.append(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    async def scenario() -> None:
        with listen("127.0.0.1", 0) as listener:
            host, port = listener.getsockname()
            async with await asyncio.start_server(accept, sock=listener):
                reader, writer = await asyncio.open_connection(host, port)
                await reader.read()
                writer.close()

    asyncio.run(asyncio.wait_for(scenario(), 60))
    assert delays
    assert all(delays)


def two_halves() -> bytes:
    """Red at the left, blue at the right."""
    pixels = np.zeros((64, 96, 3), np.uint8)
    pixels[:, :48, 0] = pixels[:, 48:, 2] = 255
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def draw(server: Running, **query: object) -> httpx.Response:
    return server.post("/v1/gradcam", params=query, files={"files": ("x.png", two_halves())})


def test_a_heat_layer_lies_where_the_evidence_for_a_class_is(server):
    red = read_png(draw(server, **{"class": "red"}))
    blue = read_png(draw(server, **{"class": "blue"}))
    assert red.shape == blue.shape == (SIZE, SIZE, 4)
    assert red[:, :12, 3].min() > 240
    assert red[:, 20:, 3].max() < 60
    assert blue[:, 20:, 3].min() > 240


def test_an_overlay_and_the_input_are_those_of_the_classifier(server):
    classifier = Classifier.open(colours())
    seen = classifier.decode(two_halves())
    np.testing.assert_array_equal(read_png(draw(server, view="input")), seen)
    best = classifier.probs(seen[None]).argmax(axis=1)
    expected = blend_heatmap(seen, classifier.heatmaps(seen[None], best)[0], 0.3)
    np.testing.assert_array_equal(read_png(draw(server, view="overlay", opacity=0.3)), expected)


def test_a_heat_layer_by_hand():
    layer = heat_layer(np.array([[0.0, 0.25], [1.0, 1.0]], np.float32), 2)
    assert layer[..., 3].tolist() == [[0, 128], [255, 255]]  # the root of the evidence
    assert layer[1, 1, :3].tolist() == INFERNO[-1].tolist()


def test_gradcam_refuses_what_it_cannot_draw(server):
    answer = draw(server, **{"class": "pink"})
    assert answer.status_code == 422
    assert answer.json()["error"] == "class: expected one of red, green, blue"
    assert draw(server, view="3d").status_code == 422
    two = [("files", ("a", two_halves()))] * 2
    assert server.post("/v1/gradcam", files=two).status_code == 413
    one = server.post("/v1/gradcam", files={"files": ("a", BAD)})
    assert (one.status_code, one.json()["error"]) == (422, "not a picture in a known format")


def test_the_models_card(server):
    answer = server.get("/v1/model").json()
    (model,) = answer["models"]
    assert model["name"] == model["title"] == "colours"
    assert model["class_names"] == CLASSES
    assert model["metrics"] == METRICS
    assert model["hashes"] == {"models/colours.keras": "0" * 32}
    assert model["hash"] == server.predict(picture("red")).json()["model"]["hash"]
    assert answer["limits"] == {"max_files": 64, "max_body_bytes": 32_000_000}


def test_a_model_of_the_pipeline_has_its_title(tmp_path):
    async def ask_in_process() -> list[dict[str, Any]]:
        settings = Settings(model=str(renamed("finetuned", tmp_path)))
        async with in_process(Service(settings, open_models(settings))) as client:
            return (await client.get("/v1/model")).json()["models"]

    (model,) = asyncio.run(asyncio.wait_for(ask_in_process(), 60))
    assert (model["name"], model["title"]) == ("finetuned", "Fine-tuned backbone")


def test_request_ids_are_taken_over_if_sane(server):
    taken = server.get("/healthz", headers={"X-Request-ID": "order-66.a_B"})
    assert taken.headers["x-request-id"] == "order-66.a_B"
    for insane in ("a b", "x" * 65, '"}{"', ""):
        made = server.get("/healthz", headers={"X-Request-ID": insane}).headers["x-request-id"]
        assert re.fullmatch("[0-9a-f]{16}", made)


def test_a_request_is_one_line_of_the_log_without_names(server):
    files = [("files", (f"{i} secret.png", picture("red"))) for i in range(3)]
    server.post("/v1/predict", files=files, headers={"X-Request-ID": "logged-once"})
    server.get("/healthz", headers={"X-Request-ID": "after-it"})
    assert wait_until(lambda: server.requests()[-1]["request_id"] == "after-it", 10)
    lines = [entry for entry in server.requests() if entry["request_id"] == "logged-once"]
    assert len(lines) == 1
    assert {"path": "/v1/predict", "status": 200, "pictures": 3}.items() <= lines[0].items()
    assert 0 < lines[0]["seconds"] < 10
    assert "secret" not in json.dumps(server.log)


def test_counters(server):
    names = {
        'pawprint_requests_total{method="POST",path="/v1/predict",status="200"}': 1,
        'pawprint_predictions_total{class="blue",model="primary"}': 2,
        'pawprint_confidence_bucket{le="0.5",model="primary"}': 0,
        'pawprint_confidence_count{model="primary"}': 2,
        'pawprint_rejected_total{reason="format"}': 1,
        'pawprint_batch_pictures_sum{model="primary"}': 2,
        'pawprint_model_requests_total{model="primary",path="/v1/predict",status="200"}': 1,
    }
    before = {name: server.metric(name) for name in names}
    server.predict(picture("blue"), picture("blue"), BAD)
    grown = {name: server.metric(name) - before[name] for name in names}
    assert grown == names
    assert server.metric("pawprint_queue_pictures") == 0


def test_headers_of_every_answer(server):
    for path in ("/", "/static/page.css", "/v1/model", "/nowhere", "/openapi.json"):
        headers = server.get(path, headers={"Origin": "https://elsewhere.example"}).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers


def test_nothing_comes_from_elsewhere(server):
    for path in ("/", "/static/page.css", "/static/page.js", "/docs", "/static/docs.js"):
        assert not re.search(r"https?://", server.get(path).text)
    assert "/v1/predict" in server.get("/openapi.json").json()["paths"]


def test_a_key_is_asked_for_everywhere_but_on_the_page(tmp_path):
    key = tmp_path / "key"
    key.write_text("s3cret-key\n")
    with serving("--model", str(colours()), "--api-key-file", str(key)) as server:
        free = ("/healthz", "/readyz", "/", "/static/page.js", "/docs", "/openapi.json")
        for path in (*free, "/static/swagger/swagger-ui.css"):
            assert server.get(path).status_code == 200
        wrong: list[dict[str, str]] = [{}, {"Authorization": "Bearer s3cret-kez"}]
        wrong += [{"Authorization": "Basic s3cret-key"}, {"Authorization": "Bearer"}]
        for headers in wrong:
            for path in ("/v1/model", "/metrics", "/static/../metrics"):
                assert server.get(path, headers=headers).status_code == 401
            assert server.predict(picture("red"), headers=headers).status_code == 401
        right = {"Authorization": "Bearer s3cret-key"}
        assert server.predict(picture("red"), headers=right).status_code == 200
        assert "s3cret" not in json.dumps(server.log)


def test_only_a_server_with_a_key_says_that_it_wants_one():
    for key in ("", "opensesame"):
        with serving("--model", str(colours()), environment={"PAWPRINT_API_KEY": key}) as server:
            description = server.get("/openapi.json").json()
        schemes = description["components"].get("securitySchemes", {})
        assert [scheme["scheme"] for scheme in schemes.values()] == (["bearer"] if key else [])
        secured = {
            path
            for path, methods in description["paths"].items()
            if any("security" in operation for operation in methods.values())
        }
        wanted = {"/v1/predict", "/v1/gradcam", "/v1/model", "/metrics"}
        assert secured == (wanted if key else set())


def accepts(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


def test_sigterm_finishes_what_was_accepted():
    with serving("--model", str(colours()), "--drain-s", "3") as server:
        host, port = server.address.removeprefix("http://").split(":")
        request = httpx.Request(
            "POST", f"{server.address}/v1/predict", files={"files": picture("green")}
        )
        body = request.read()
        head = f"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        head += f"Content-Type: {request.headers['content-type']}\r\n\r\n"
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall(head.encode() + body[:50])
            server.get("/healthz")  # so the server has met the other connection, too
            server.process.send_signal(signal.SIGTERM)
            assert wait_until(lambda: server.get("/readyz").status_code == 503, 3)
            assert server.predict(picture("red")).status_code == 200  # not known to all yet
            assert wait_until(lambda: not accepts(host, int(port)), 20)
            connection.sendall(body[50:])
            answer = connection.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 200")
        assert b'"class":"green"' in answer
        assert server.process.wait(20) == 0
        assert server.log[-1]["message"] == "stopped"


def ask(service: Service, path: str, **options: Any) -> httpx.Response:
    """One request to an application that was not started."""

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(build_app(service), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request(options.pop("method", "GET"), path, **options)

    return asyncio.run(send())


@pytest.fixture
def unstarted() -> Service:
    settings = Settings(model=str(colours()))
    return Service(settings, open_models(settings))


def test_pictures_are_not_welcome_before_the_models_run(unstarted):
    assert ask(unstarted, "/healthz").status_code == 200
    for path, method in (("/readyz", "GET"), ("/v1/predict", "POST"), ("/v1/gradcam", "POST")):
        answer = ask(unstarted, path, method=method)
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"


def test_a_model_that_does_not_run_ends_the_server(unstarted, monkeypatch):
    def fail(self: Classifier, images: np.ndarray) -> np.ndarray:
        raise RuntimeError("wrong shape")

    monkeypatch.setattr(Classifier, "probs", fail)
    server = Server(
        uvicorn.Config(build_app(unstarted), lifespan="off"), unstarted, Crowd(Settings(), 1, print)
    )

    async def scenario() -> None:
        assert not await server.on_tick(0)
        await unstarted.start()
        assert not unstarted.ready
        await server.on_tick(1)

    with pytest.raises(PawprintError, match="a model does not run: wrong shape"):
        asyncio.run(scenario())


def test_a_fault_is_told_apart_by_its_request_id(unstarted, caplog):
    del unstarted.models
    answer = ask(unstarted, "/v1/model", headers={"X-Request-ID": "fault-1"})
    assert answer.status_code == 500
    assert answer.json()["request_id"] == "fault-1"
    assert "models" not in answer.text
    (record,) = (r for r in caplog.records if r.levelname == "ERROR")
    entry = json.loads(JsonFormatter().format(record))
    assert entry["request_id"] == "fault-1"
    assert "AttributeError" in entry["stack"]
