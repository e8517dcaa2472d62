"""Two models behind one server: which of them answers, and what is counted for each."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import hashlib
import io
import json
import multiprocessing
import os
import re
import shutil
import weakref
from collections import Counter
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from classifiers import run_python
from corpus import encode
from living import wait_until
from PIL import Image
from served import (
    CLASSES,
    COLOURS,
    SIZE,
    Gated,
    Running,
    colours,
    in_process,
    picture,
    renamed,
    serving,
)

from pawprint.answers.decoders import Decoder, Decoders, open_decoders
from pawprint.answers.orders import DecodingLimits
from pawprint.pictures.images import decode_image
from pawprint.runner.errors import ImageError
from pawprint.serving.limits import Refusal
from pawprint.serving.models import CANDIDATE, Models, open_models
from pawprint.serving.service import Seen, Service
from pawprint.serving.settings import Settings
from pawprint.serving.uploads import Upload

# covers: R18

BAD = b"no picture"


def test_a_candidate_answers_its_share_and_clients_keep_their_model():
    other = ("--candidate", str(colours("red,blue,green")), "--candidate-share", "0.4")
    with serving("--model", str(colours()), *other) as server:
        told: dict[int, tuple[str, dict[str, str]]] = {}
        for i in range(40):
            headers = {"X-Client-ID": f"client {i % 20}"}
            answer = server.predict(picture("green"), headers=headers).json()
            best = answer["results"][0]["predictions"][0]["class"]
            assert told.setdefault(i % 20, (best, answer["model"])) == (best, answer["model"])
        best = [name for name, _ in told.values()]
        assert 3 <= best.count("blue") <= 13  # 8 expected; the names are fixed
        count = server.metric('pawprint_predictions_total{class="blue",model="candidate"}')
        assert count == 2 * best.count("blue")
        assert [m["role"] for m in server.get("/v1/model").json()["models"]] == [
            "primary",
            "candidate",
        ]


def test_the_hash_is_that_of_the_bytes_in_use(tmp_path):
    model = shutil.copytree(colours(), tmp_path / "model")
    served = open_models(Settings(model=str(model))).primary
    card = (model / "model.json").read_bytes()
    assert served.hash == hashlib.sha256(card).hexdigest()[:16]
    (model / "model.json").write_bytes(card + b"\n")
    assert served.classifier.digest == hashlib.sha256(card).hexdigest()
    again = open_models(Settings(model=str(model))).primary
    assert again.hash == hashlib.sha256(card + b"\n").hexdigest()[:16]


@pytest.mark.parametrize("change", ["cut off", "written over", "gone"])
def test_a_model_whose_files_change_stays_the_one_that_was_opened(change, tmp_path):
    model = shutil.copytree(colours(), tmp_path / "model")
    files = {"files": ("x.png", picture("green"))}
    with serving("--model", str(model), "--max-batch", "1") as server:

        def answers() -> Any:
            said = server.predict(picture("green"), picture("blue")).json()
            heatmap = server.post("/v1/gradcam", files=files)
            return said["model"], said["results"], heatmap.content, heatmap.headers["x-model-hash"]

        expected = answers()
        for path in model.iterdir():
            match change:
                case "cut off":
                    os.truncate(path, 0)
                case "written over":
                    with open(path, "r+b") as file:
                        file.write(b"\xff" * path.stat().st_size)
                case "gone":
                    path.unlink()
        assert answers() == expected
        assert server.process.poll() is None
    done = run_python("-m", "pawprint", "serve", "--model", str(model), cwd=tmp_path)
    assert done.returncode == 2
    assert re.fullmatch(r"error: \S+model\.json: [^\n]+; run dvc repro\n", done.stderr.decode())


def test_shares_of_many_requests():
    models = Models("first", "second", 0.1)  # type: ignore[arg-type]
    share = np.mean([models.choose(str(i)) == "second" for i in range(10_000)])
    assert share == pytest.approx(0.1, abs=0.01)


def test_a_shadow_sees_and_says_nothing():
    other = ("--candidate", str(colours("red,blue,green")), "--shadow")
    with serving("--model", str(colours()), *other) as server:
        answer = server.predict(picture("red"), picture("green"), picture("blue"), BAD)
        best = [r["predictions"][0]["class"] for r in answer.json()["results"][:3]]
        assert best == CLASSES
        seen = "pawprint_shadow_pictures_total"
        assert wait_until(lambda: server.metric(f'{seen}{{outcome="other"}}') == 2, 30)
        assert server.metric(f'{seen}{{outcome="same"}}') == 1
        assert server.metric('pawprint_confidence_count{model="candidate"}') == 3


def look(server: Running, client: str) -> Any:
    files = {"files": ("x.png", picture("green"))}
    return server.post("/v1/gradcam", files=files, headers={"X-Client-ID": client})


def test_predictions_and_heatmaps_of_a_client_are_of_one_model_and_say_so():
    other = ("--candidate", str(colours("red,blue,green")), "--candidate-share", "0.5")
    with serving("--model", str(colours()), *other) as server:
        hashes = {
            model["role"]: model["hash"] for model in server.get("/v1/model").json()["models"]
        }
        used: Counter[str] = Counter()
        for i in range(16):
            client = {"X-Client-ID": f"client {i}"}
            hash_ = server.predict(picture("green"), headers=client).json()["model"]["hash"]
            answer = look(server, client["X-Client-ID"])
            assert answer.headers["x-model-hash"] == hash_
            assert answer.headers["x-model-name"] == "colours"
            used[hash_] += 1
        assert set(used) == set(hashes.values())
        for role, hash_ in hashes.items():
            for path in ("/v1/predict", "/v1/gradcam"):
                labels = f'model="{role}",path="{path}"'
                requests = server.metric(f'pawprint_model_requests_total{{{labels},status="200"}}')
                assert requests == used[hash_]
                assert (
                    server.metric(f"pawprint_model_request_seconds_count{{{labels}}}") == requests
                )
                assert server.metric(f"pawprint_model_request_seconds_sum{{{labels}}}") > 0
        described = server.get("/openapi.json").json()["paths"]["/v1/gradcam"]["post"]
        headers = {"X-Model-Name", "X-Model-Hash", "X-Model-Resize"}
        assert set(described["responses"]["200"]["headers"]) == headers


def test_each_of_two_models_sees_a_picture_in_its_own_way(tmp_path):
    pixels = np.tile(np.array(COLOURS["blue"], np.uint8), (20, 60, 1))
    pixels[:, 20:40] = COLOURS["red"]
    content = encode(Image.fromarray(pixels))
    cropped = renamed("cropped", tmp_path / "cropped", resize="crop")
    boxed = renamed("boxed", tmp_path / "boxed", resize="letterbox")
    with serving("--model", str(cropped), "--candidate", str(boxed), "--shadow") as server:
        (result,) = server.predict(content).json()["results"]
        assert result["predictions"][0]["class"] == "red"  # all that it sees; the other sees blue
        seen = 'pawprint_shadow_pictures_total{outcome="other"}'
        assert wait_until(lambda: server.metric(seen) == 1, 30)
        models = server.get("/v1/model").json()["models"]
        assert [model["resize"] for model in models] == ["crop", "letterbox"]
        files = {"files": ("x.png", content)}
        shown = server.post("/v1/gradcam", params={"view": "input"}, files=files)
    assert shown.headers["x-model-resize"] == "crop"
    decoded = decode_image(content, SIZE, 1_000_000, resize="crop")
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(shown.content))), decoded)


class Life:
    """What can be referred to weakly, as bytes cannot."""


class File(bytes):
    """Bytes that somebody still holds as long as their life is there."""

    def __init__(self, content: bytes) -> None:
        self.life = Life()


def shadow_of(size: int, scenario: Callable[[Service], Coroutine[Any, Any, None]]) -> None:
    """Run a scenario on a service with a shadow that wants pictures of this size and is slow."""
    settings = Settings(model=str(colours()), queue=4, max_batch=1, max_body_mb=0.02)
    primary = open_models(settings).primary
    card = dataclasses.replace(primary.classifier.card, image_size=size)
    classifier: Any = SimpleNamespace(card=card)
    candidate = Gated(CANDIDATE, classifier, "hash", primary.max_pixels)
    service = Service(settings, Models(primary, candidate, shadow=True))

    async def run() -> None:
        Gated.gate.clear()
        async with in_process(service):
            await scenario(service)

    asyncio.run(asyncio.wait_for(run(), 60))


def outcomes(service: Service) -> dict[str, float]:
    (metric,) = service.monitor.shadows.collect()
    return {s.labels["outcome"]: s.value for s in metric.samples if s.name.endswith("_total")}


async def classify(service: Service, files: list[File]) -> None:
    results = await service.classify(service.models.primary, [Upload(None, file) for file in files])
    assert all(isinstance(result, Seen) for result in results)


def test_a_refused_file_is_forgotten_at_once():
    """Not when Python looks for what keeps each other: until then they would fill the memory."""

    async def scenario(service: Service) -> None:
        file = File(b"no picture")
        life = weakref.ref(file.life)
        (refused,) = await service.classify(service.models.primary, [Upload(None, file)])
        assert isinstance(refused, ImageError)
        del refused, file
        await asyncio.sleep(0.01)
        assert life() is None

    gc.disable()
    try:
        shadow_of(SIZE, scenario)
    finally:
        gc.enable()


def test_without_a_process_to_decode_the_answer_is_503(monkeypatch):
    async def scenario(service: Service) -> None:
        upload = Upload(None, picture("red"))
        with monkeypatch.context() as failing:
            failing.setattr(Decoders, "renew", fail)
            for child in multiprocessing.active_children():
                child.kill()
                child.join()
            with pytest.raises(Refusal, match="no process can be started to decode; try again"):
                await service.classify(service.models.primary, [upload])
            assert not service.ready
        while not service.ready:
            await asyncio.sleep(0.01)
        (seen,) = await service.classify(service.models.primary, [upload])
        assert isinstance(seen, Seen)

    def fail(self: Decoders, ended: Decoder) -> Decoder:
        raise BlockingIOError

    shadow_of(SIZE, scenario)


def test_what_a_shadow_has_yet_to_see_is_bounded_and_no_files_are_kept():
    async def scenario(service: Service) -> None:
        files = [File(picture("red")) for _ in range(12)]
        kept = weakref.WeakSet(file.life for file in files)
        await classify(service, files)
        del files
        await asyncio.sleep(0)
        gc.collect()
        assert len(kept) == 0
        dropped = outcomes(service)["dropped"]
        assert dropped in (7, 8)  # four wait, and one may be in work
        Gated.gate.set()
        while sum(outcomes(service).values()) < 12:
            await asyncio.sleep(0.01)
        assert outcomes(service) == {"dropped": dropped, "same": 12 - dropped}

    shadow_of(SIZE, scenario)


def test_files_that_a_shadow_wants_in_another_size_are_few():
    async def scenario(service: Service) -> None:
        file = File(picture("green"))
        files = [file] * 12
        most = int(20_000 / len(file))
        assert 1 < most < 5
        await classify(service, files)
        assert outcomes(service) == {"dropped": 12 - most}
        Gated.gate.set()
        while sum(outcomes(service).values()) < 12:
            await asyncio.sleep(0.01)
        assert outcomes(service) == {"dropped": 12 - most, "other": most}
        await classify(service, [file])  # there is room again
        while sum(outcomes(service).values()) < 13:
            await asyncio.sleep(0.01)
        assert outcomes(service) == {"dropped": 12 - most, "other": most + 1}

    shadow_of(SIZE + 16, scenario)


@pytest.mark.parametrize(
    ("of_server", "said"),
    [
        (0, "the model's max_pixels = 1000000"),
        (500_000, "the server's --max-pixels = 500000"),
        (1_500_000, "the model's max_pixels = 1000000"),
    ],
)
def test_a_picture_of_too_many_pixels_is_told_whose_limit_it_exceeds(of_server: int, said: str):
    settings = Settings(model=str(colours()), max_pixels=of_server)
    service = Service(settings, open_models(settings))

    async def scenario() -> list[str]:
        async with in_process(service) as client:
            files = {"files": picture("red", (2000, 1000))}
            answer = await client.post("/v1/predict", files=files)
            drawn = await client.post("/v1/gradcam", files=files)
            return [answer.json()["results"][0]["error"], drawn.json()["error"]]

    expected = f"2000x1000 pixels, more than {said}"
    assert asyncio.run(scenario()) == [expected, expected]


def test_16_bit_pictures_are_decoded_by_the_card(tmp_path):
    shutil.copytree(colours(), tmp_path, dirs_exist_ok=True)
    path = tmp_path / "model.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"max_value": 4095}))
    file = io.BytesIO()
    Image.fromarray(np.full((8, 8), 4095, np.uint16)).save(file, "PNG")
    served = open_models(Settings(model=str(tmp_path))).primary
    with open_decoders(1, DecodingLimits(), 32) as decoders:
        decoded = decoders.decode(served.order(file.getvalue(), 64, 1.0)).result
    assert isinstance(decoded, np.ndarray)
    assert np.unique(decoded).tolist() == [255]
    np.testing.assert_array_equal(decoded, served.classifier.decode(file.getvalue()))
