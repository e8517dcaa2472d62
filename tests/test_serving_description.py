"""What the server answers is what /openapi.json says: each request, each status, each field."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from unittest.mock import patch

import httpx
import pytest
from jsonschema_rs import Draft202012Validator
from served import CLASSES, colours, in_process, picture
from starlette.types import ASGIApp, Receive, Scope, Send

from pawprint.serving.access import SURPLUS
from pawprint.serving.app import build_app
from pawprint.serving.models import open_models
from pawprint.serving.service import Service
from pawprint.serving.settings import Settings

# covers: R18

KEY = {"Authorization": "Bearer opensesame"}
JSON = {"Content-Type": "application/json"}
READING = ("/v1/predict", "/v1/gradcam")
KEYED = ("/v1/model", "/metrics")
BAD = b"no picture"
STRANGERS = ({"Host": "?"}, {"Host": "elsewhere.example"}, {"Origin": "https://elsewhere.example"})


async def never_ending() -> AsyncIterator[bytes]:
    yield b"{"
    await asyncio.sleep(60)


def beyond_the_limit(app: ASGIApp) -> ASGIApp:
    """The application as a connection too many meets it."""

    async def surplus(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "state": {SURPLUS: True}}, receive, send)

    return surplus


async def ask_everything() -> list[httpx.Response]:
    """One answer at least of each status of each request; /openapi.json is the first."""
    options = {"queue": 2, "max_body_mb": 0.02, "read_timeout_s": 0.1}
    settings = Settings(model=str(colours()), api_key="opensesame", **options)  # type: ignore[arg-type]
    service = Service(settings, open_models(settings))
    green = {"files": ("a.png", picture("green"))}
    async with in_process(service) as client:
        client.headers.update(KEY)
        answers = [await client.get("/openapi.json")]

        async def get(path: str) -> None:
            answers.append(await client.get(path))

        async def post(path: str, client: httpx.AsyncClient = client, **options: object) -> None:
            answers.append(await client.post(path, **options))  # type: ignore[arg-type]

        for path in READING:
            await post(path, files=green)
            await post(path, content=b"x", headers={"Content-Type": "multipart/form-data"})
            await post(path, files=green, headers={"Authorization": "Bearer other"})
            for headers in STRANGERS:
                await post(path, files=green, headers=headers)
            await post(path, content=never_ending(), headers=JSON)
            await post(path, content=bytes(20_001), headers=JSON)
            await post(path, content=b"x", headers={"Content-Type": "text/plain"})
            await post(path, content=b"{}", headers=JSON)
            await post(path, files={"files": BAD})
            with service.limits.queued(2):
                await post(path, files=green)
            with patch.object(service, "models", None):
                await post(path, files=green)
        await post("/v1/predict", json={"images": [{"content": ""}, {"content": "?", "name": "x"}]})
        await post("/v1/predict", files=[("files", picture("red")), ("files", BAD)])
        await post("/v1/predict", files=green, data={"top": "1"})
        for query in ("class=blue", "view=input", "view=overlay", "view=3d", "class=pink"):
            await post(f"/v1/gradcam?{query}", files=green)
        for path in (*KEYED, "/healthz", "/readyz"):
            await get(path)
        for path in KEYED:
            answers.extend([await client.get(path, headers=headers) for headers in STRANGERS])
        with patch.object(service, "models", None):
            await get("/v1/model")
        with patch.object(service.monitor, "render", side_effect=RuntimeError):
            await get("/metrics")
        with patch.object(service, "stopping", True):
            await get("/readyz")
        del client.headers["Authorization"]
        for path in KEYED:
            await get(path)
        transport = httpx.ASGITransport(beyond_the_limit(build_app(service)))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as late:
            for path in READING:
                await post(path, client=late)
            answers += [await late.get(path) for path in KEYED]
    return answers


@pytest.fixture(scope="module")
def answers() -> list[httpx.Response]:
    return asyncio.run(asyncio.wait_for(ask_everything(), 60))


def test_requests_are_introduced_and_in_groups(answers):
    description = answers[0].json()
    text = description["info"]["description"]
    for told in ("curl", "$KEY", "files=@", "data:image", "2 pictures", "20,000 bytes"):
        assert told in text
    groups: dict[str, list[str]] = {tag["name"]: [] for tag in description["tags"]}
    for path, operations in description["paths"].items():
        for operation in operations.values():
            (group,) = operation["tags"]
            groups[group].append(path)
    assert groups == {
        "Pictures": ["/v1/predict", "/v1/gradcam"],
        "Models": ["/v1/model"],
        "Operation": ["/metrics", "/healthz", "/readyz"],
    }


def complaints(description: dict, schema: dict, value: object) -> list[str]:
    """What a validator of JSON Schema says of a value."""
    validator = Draft202012Validator({**schema, "components": description["components"]})
    return [f"{error.instance_path}: {error.message}" for error in validator.iter_errors(value)]


def faults(description: dict, answer: httpx.Response) -> list[str]:
    """In what an answer is not as it is described."""
    request = answer.request
    operation = description["paths"][request.url.path][request.method.lower()]
    described = operation["responses"].get(str(answer.status_code))
    if described is None:
        return [f"{answer.status_code} is not described"]
    kind = answer.headers["content-type"].partition(";")[0]
    missing = [name for name in described.get("headers", ()) if name not in answer.headers]
    if kind not in described["content"]:
        return [*missing, f"{kind} is not described"]
    schema = described["content"][kind]["schema"]
    told = complaints(description, schema, answer.json()) if kind == "application/json" else []
    return [*missing, *told]


def test_each_answer_is_as_it_is_described(answers):
    description = answers[0].json()
    found = {
        f"{answer.request.method} {answer.request.url} {answer.status_code}": told
        for answer in answers[1:]
        if (told := faults(description, answer))
    }
    assert found == {}


def test_each_described_status_was_met(answers):
    described = {
        (method.upper(), path, int(status))
        for path, operations in answers[0].json()["paths"].items()
        for method, operation in operations.items()
        for status in operation["responses"]
    }
    met = {(a.request.method, a.request.url.path, a.status_code) for a in answers[1:]}
    assert met == described


def test_no_answer_may_hold_what_is_not_described(answers):
    """By itself, JSON Schema lets any field pass that it does not name."""
    schemas = answers[0].json()["components"]["schemas"]
    objects = {name: schema for name, schema in schemas.items() if "properties" in schema}
    assert {"PredictAnswer", "ServedModel", "Error", "Status"} <= set(objects)
    for name, schema in objects.items():
        assert schema["additionalProperties"] is False, name
        assert set(schema["required"]) == set(schema["properties"]), name


def test_a_field_too_many_or_too_few_is_noticed(answers):
    """The validator, on answers that were changed."""
    description = answers[0].json()
    answer = next(a.json() for a in answers if a.request.url.path == "/v1/model")
    schema = {"$ref": "#/components/schemas/ModelsAnswer"}
    assert complaints(description, schema, answer) == []
    (model,) = answer["models"]
    more, less = {**model, "colour": "red"}, {k: v for k, v in model.items() if k != "title"}
    for changed, told in ((more, "'colour' was unexpected"), (less, '"title" is a required')):
        (complaint,) = complaints(description, schema, {**answer, "models": [changed]})
        assert told in complaint


def test_results_hold_classes_or_an_error(answers):
    """In both kinds of requests, and in an answer that refuses all pictures."""
    results = [
        result
        for answer in answers
        if answer.request.url.path == "/v1/predict"
        for result in answer.json().get("results", ())
    ]
    classified = ("name", "predictions", "unlikeness", "unlike", "decided")
    assert {tuple(result) for result in results} == {classified, ("name", "error")}
    assert {result["name"] for result in results} == {"a.png", "upload", None, "x"}
    first = next(result for result in results if "predictions" in result)
    assert sorted(p["class"] for p in first["predictions"]) == sorted(CLASSES)


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nowhere", 404), ("GET", "/v1/predict", 405)]
)
def test_what_is_not_described_is_refused_in_the_same_form(method, path, status):
    async def ask() -> tuple[dict, httpx.Response]:
        settings = Settings(model=str(colours()))
        async with in_process(Service(settings, open_models(settings))) as client:
            described = (await client.get("/openapi.json")).json()
            return described, await client.request(method, path)

    description, answer = asyncio.run(asyncio.wait_for(ask(), 60))
    assert answer.status_code == status
    schema = {"$ref": "#/components/schemas/Error"}
    assert complaints(description, schema, answer.json()) == []
