"""What pictures cost a server: each its share, and nobody else's answer."""

from __future__ import annotations

import base64
import io
import json
import os
import platform
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hostile import read_rss_mb
from living import descendants, wait_until
from PIL import Image
from served import Running, colours, picture, serving

from pawprint.serving.limits import Limits, Refusal
from pawprint.serving.settings import Settings


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The model of ``colours``, which takes pictures of any size."""
    directory = tmp_path_factory.mktemp("large")
    shutil.copytree(colours(), directory, dirs_exist_ok=True)
    card = directory / "model.json"
    card.write_text(json.dumps(json.loads(card.read_bytes()) | {"max_pixels": 100_000_000}))
    return str(directory)


def flat(width: int, height: int) -> bytes:
    """A red PNG: few bytes for many pixels."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), (250, 20, 20)).save(file, "PNG")
    return file.getvalue()


LARGE = flat(8000, 6000)


def reasons(server: Running, *contents: bytes) -> list[str]:
    """Of each picture why it was refused; empty if it was not."""
    results = server.predict(*contents).json()["results"]
    return [result.get("error", "") for result in results]


def test_a_good_picture_does_not_wait_for_costly_ones_of_another_request(model: str) -> None:
    with (
        serving("--model", model, "--decoders", "2") as server,
        ThreadPoolExecutor(1) as threads,
    ):
        began = time.monotonic()
        costly = threads.submit(server.predict, LARGE, LARGE)
        while server.metric("pawprint_decoders_busy") == 0:
            assert not costly.done()
        assert server.predict(picture("green")).status_code == 200
        took_s = time.monotonic() - began
        assert not costly.done(), f"the good one took {took_s:.2f} s"
        assert costly.result().status_code == 200


def test_a_picture_beyond_its_share_is_refused_by_itself(model: str) -> None:
    options = ("--max-picture-s", "0.1", "--decoders", "1", "--max-request-pixels", "1000000000")
    with serving("--model", model, *options) as server:
        good = picture("blue")
        refused = reasons(server, good, LARGE, good)
        assert refused[1] == "takes more than 0.1 s of processor time to decode"
        assert refused[0] == ""
        assert reasons(server, good, good) == ["", ""]
        assert server.metric('pawprint_rejected_total{reason="too_costly"}') >= 1


def test_the_pixels_of_a_request_are_limited(model: str) -> None:
    options = ("--max-request-pixels", "3000000", "--decoders", "1")
    with serving("--model", model, *options) as server:
        megapixel = flat(1000, 1000)
        assert reasons(server, *[megapixel] * 5) == [
            *[""] * 3,
            *["too many pixels in one request"] * 2,
        ]
        assert reasons(server, *[megapixel] * 3) == [""] * 3


def test_the_pixels_of_a_picture_are_fewer_than_a_training_takes(model: str) -> None:
    with serving("--model", model) as server:
        assert reasons(server, flat(8000, 7000), picture("red")) == [
            "8000x7000 pixels, more than the server's --max-pixels = 50000000",
            "",
        ]


def test_fewer_decoders_where_memory_is_short(model: str) -> None:
    with serving("--model", model, "--max-memory-mb", "900", "--decoders", "8") as server:
        (entry,) = [entry for entry in server.log if "decoders" in entry["message"]]
        assert entry["message"] == "2 instead of 8 decoders, as --max-memory-mb = 900 allows"
        assert server.predict(picture("red")).status_code == 200


@contextmanager
def stopped(server: Running) -> Iterator[None]:
    """The decoders of a server do nothing within the block."""
    copies = [pid for pid in descendants(server.process.pid) if _command(pid).count("forkserver")]
    decoders = [pid for pid in copies if descendants(pid) == {pid}]
    assert len(decoders) == len(copies) - 1  # all but that of which they are copies
    for pid in decoders:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in decoders:
            os.kill(pid, signal.SIGCONT)


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
@pytest.mark.parametrize("side", [60, 450, 1500], ids=["small", "600 kB", "7 MB"])
def test_a_server_whose_decoders_are_stuck_is_not_ready_and_says_so(model: str, side: int) -> None:
    """However large the pictures are that were to be handed to them."""
    options = ("--decoders", "2", "--timeout-s", "1.5")
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    content = io.BytesIO()
    Image.fromarray(noise).save(content, "BMP")
    with (
        serving("--model", model, *options) as server,
        ThreadPoolExecutor(2) as threads,
    ):
        with stopped(server):
            answers = [threads.submit(server.predict, content.getvalue()) for _ in range(2)]
            assert wait_until(lambda: server.get("/readyz").status_code == 503, 20)
            assert server.get("/healthz").status_code == 200
            assert [answer.result().status_code for answer in answers] == [503, 503]
            # their requests are over, but the decoders are not free
            assert server.metric("pawprint_decoders_busy") == 2
            assert server.get("/readyz").status_code == 503
        assert wait_until(lambda: server.get("/readyz").status_code == 200, 20)
        assert wait_until(lambda: server.metric("pawprint_decoders_busy") == 0, 20)
        assert server.predict(picture("red")).status_code == 200


def test_the_processor_time_of_a_request_is_limited(model: str) -> None:
    options = ("--max-request-s", "0.2", "--max-request-pixels", "1000000000")
    with serving("--model", model, *options) as server:
        refused = reasons(server, LARGE, *[picture("red")] * 3)
        spent = "the pictures before it took the 0.2 s of processor time of a request"
        assert refused[0] == "takes more processor time than is left for its request"
        assert refused[1:] == [spent] * 3
        assert reasons(server, *[picture("red")] * 3) == [""] * 3


def test_large_requests_leave_room_in_the_queue_to_small_ones() -> None:
    limits = Limits(Settings(queue=256))
    with limits.queued(64), limits.queued(64), limits.queued(64):
        with pytest.raises(Refusal, match="192 pictures are waiting"), limits.queued(33):
            pass
        with limits.queued(32), limits.queued(16), limits.queued(1):
            assert limits.pictures == 241
    lone = Limits(Settings(queue=2))
    with lone.queued(2), pytest.raises(Refusal, match="2 pictures are waiting"), lone.queued(1):
        pass


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="others keep what they keep")
def test_memory_of_large_bodies_goes_back(model: str) -> None:
    file = io.BytesIO()
    Image.effect_noise((700, 700), 90).convert("RGB").save(file, "BMP")
    image = {"content": base64.b64encode(file.getvalue()).decode()}
    body = json.dumps({"images": [image] * 14}).encode()
    with serving("--model", model) as server, ThreadPoolExecutor(8) as threads:

        def ask(_: int) -> int:
            headers = {"Content-Type": "application/json"}
            return server.post("/v1/predict", content=body, headers=headers).status_code

        pid, small = server.process.pid, [picture("red")] * 16
        assert {server.predict(*small).status_code for _ in range(3)} == {200}
        before_mb = read_rss_mb(pid)
        assert set(threads.map(ask, range(8))) == {200}
        assert wait_until(lambda: read_rss_mb(pid) < before_mb + 25, 10)
