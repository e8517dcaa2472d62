"""A tiny model that tells colours, and real servers of it on the loopback interface."""

from __future__ import annotations

import atexit
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from queue import Queue
from resource import RLIMIT_NOFILE, setrlimit
from threading import Event, Thread
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
from PIL import Image

from pawprint.serving.app import build_app
from pawprint.serving.models import ModelAnswer, Served
from pawprint.serving.service import Service

ROOT = Path(__file__).resolve().parent.parent
SIZE = 32
CLASSES = ["red", "green", "blue"]
METRICS = {"accuracy": 0.9, "accuracy_low": 0.85, "accuracy_high": 0.94, "f1": 0.89}
COLOURS = {"red": (250, 20, 20), "green": (20, 250, 20), "blue": (20, 20, 250)}


def build(directory: Path, order: str = "red,green,blue", name: str = "colours") -> None:
    """Write an exported model that names a picture's colour; `order` says which it calls which."""
    os.environ["KERAS_BACKEND"] = "openvino"
    import keras

    from pawprint.inference.classifier import ModelCard, save_classifier
    from pawprint.networks.architectures import LOGITS, add_pooling, add_probs

    pixels = keras.Input((SIZE, SIZE, 3), name="pixels")
    scale = keras.layers.Conv2D(3, 1, name="scale")
    tiles = keras.layers.Conv2D(3, 4, strides=4, use_bias=False, name="tiles")
    backbone = add_pooling(keras.Model(pixels, tiles(scale(pixels))), "avg")
    logits = keras.layers.Dense(3, name=LOGITS)
    model = add_probs(keras.Model(backbone.input, logits(backbone.output)))
    # A bias that OpenVINO takes where it lies; other weights it copies
    scale.set_weights([np.eye(3).reshape(1, 1, 3, 3), np.array([0, 2, 0])])
    tiles.set_weights([np.tile(np.eye(3) / 16 / 255, (4, 4, 1, 1))])
    columns = [CLASSES.index(colour) for colour in order.split(",")]
    logits.set_weights([6 * np.eye(3)[columns].T, np.zeros(3)])
    card = ModelCard(
        name,
        CLASSES,
        SIZE,
        1_000_000,
        {},
        {"models/colours.keras": "0" * 32},
        METRICS,
        {"keras": "3"},
    )
    save_classifier(model, card, directory)


@cache
def colours(order: str = "red,green,blue") -> Path:
    """The directory of such a model, made once a session."""
    directory = Path(tempfile.mkdtemp(prefix="pawprint-served-"))
    atexit.register(shutil.rmtree, directory)
    # Keras has one backend in a process, and this one may have TensorFlow
    path = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    code = f"from served import *; build(Path({str(directory)!r}), {order!r})"
    subprocess.run([sys.executable, "-c", code], env=path, check=True, timeout=600)
    return directory


def renamed(name: str, directory: Path, **changes: Any) -> Path:
    """The model of ``colours`` in this directory, with another name, and what else is given."""
    shutil.copytree(colours(), directory, dirs_exist_ok=True)
    path = directory / "model.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"name": name, **changes}))
    return directory


def picture(colour: str, size: tuple[int, int] = (60, 40), format_: str = "PNG") -> bytes:
    """A picture of one colour, with some noise that no class minds."""
    noise = np.random.default_rng(0).integers(-15, 6, (size[1], size[0], 3))
    pixels = np.clip(np.array(COLOURS[colour]) + noise, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format_)
    return file.getvalue()


class Gated(Served):
    """A model, of whatever size, that says nothing until its gate is opened, and then red."""

    gate = Event()

    def predict(self, images: np.ndarray, classes: np.ndarray) -> list[ModelAnswer]:
        self.gate.wait(60)
        return [ModelAnswer(np.eye(3, dtype=np.float32)[0], None, 0.0)] * len(images)

    def look(self, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
        return np.zeros((len(images), 1, 1), np.float32)


@asynccontextmanager
async def in_process(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a started service without a network in between."""
    await service.start()
    try:
        transport = httpx.ASGITransport(build_app(service))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield client
    finally:
        Gated.gate.set()
        await service.stop()


@dataclass
class Running:
    """A server in a process of its own.

    Attributes:
        address: ``http://127.0.0.1:PORT``.
        process: to be told to stop.
        log: its lines so far, each a JSON object.
        client: keeps its connections.
    """

    address: str
    process: subprocess.Popen[str]
    log: list[dict[str, Any]]
    client: httpx.Client

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.client.get(path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.client.post(path, **options)

    def predict(self, *contents: bytes, **options: Any) -> httpx.Response:
        files = [("files", (f"{i}.png", content)) for i, content in enumerate(contents)]
        return self.post("/v1/predict", files=files, **options)

    def metric(self, name: str) -> float:
        """The value of a line of /metrics, such as ``x_total{reason="y"}``; 0 if it is missing."""
        lines = self.get("/metrics").text.splitlines()
        values = [line.rpartition(" ")[2] for line in lines if line.rpartition(" ")[0] == name]
        return float(values[0]) if values else 0.0

    def requests(self) -> list[dict[str, Any]]:
        return [entry for entry in self.log if entry["message"] == "request"]


@contextmanager
def serving(
    *arguments: str, environment: dict[str, str] | None = None, open_files: int = 0
) -> Iterator[Running]:
    """Start `python -m pawprint serve` on a free port; it is ready when the block begins.

    Args:
        arguments: of the command.
        environment: more variables.
        open_files: how many it may have, if not 0.
    """
    clean = {name: v for name, v in os.environ.items() if not name.startswith("PAWPRINT_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "pawprint", "serve", "--port", "0", "--drain-s", "0", *arguments],
        cwd=ROOT,
        env={**clean, **(environment or {})},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=partial(setrlimit, RLIMIT_NOFILE, (open_files,) * 2) if open_files else None,
    )
    log: list[dict[str, Any]] = []
    ports: Queue[int] = Queue()
    reader = Thread(target=_read_log, args=(process, log, ports), daemon=True)
    reader.start()
    try:
        port = ports.get(timeout=60)
        assert port, f"the server ended: {log}"
        address = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=address, timeout=60, trust_env=False) as client:
            server = Running(address, process, log, client)
            _await_ready(server)
            yield server
    finally:
        process.terminate()
        try:
            process.wait(30)
        finally:
            process.kill()
            process.wait()
            reader.join()
            assert process.stderr is not None
            process.stderr.close()


def _read_log(process: subprocess.Popen[str], log: list[dict[str, Any]], ports: Queue[int]) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        try:
            entry = json.loads(line)
        except ValueError:
            entry = {"message": "not JSON", "line": line}
        log.append(entry)
        if entry["message"] == "listening":
            ports.put(entry["port"])
    ports.put(0)


def _await_ready(server: Running) -> None:
    deadline = time.monotonic() + 30
    while server.get("/readyz").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextmanager
def connected(server: Running) -> Iterator[socket.socket]:
    place = urlsplit(server.address)
    address = (str(place.hostname), int(place.port or 0))
    with socket.create_connection(address, timeout=20) as connection:
        yield connection


def answer_of(connection: socket.socket) -> tuple[int, str]:
    """Status and text of what comes before the server closes the connection."""
    content = b""
    try:
        while part := connection.recv(65536):
            content += part
    except ConnectionResetError:
        pass  # we had not yet sent everything
    return int(content.split(b" ", 2)[1]) if content else 0, content.decode()


def get_alone(server: Running, path: str) -> tuple[int, str]:
    """Status and text of an answer, by a connection of its own."""
    with connected(server) as connection:
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        connection.sendall(request.encode())
        return answer_of(connection)
