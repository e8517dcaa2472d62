# covers: C2
"""Kaggle's own client, in a child process, against a local server that plays Kaggle."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from servers import ROOT, Reply, Server, serve

CHILD = """
import json, sys
from pathlib import Path
from servers import data_params
from pawprint.runner.errors import PawprintError
from pawprint.sources import kaggle
from pawprint.sources.fetch import fetch
kaggle.RETRIES = 0
results = []
for params in json.loads(sys.argv[1]):
    try:
        report = fetch(data_params(source="kaggle", **params), Path("out.zip"))
        results.append(["", report.counts])
    except PawprintError as error:
        results.append([type(error).__name__, str(error)])
print(json.dumps(results))
"""
KEY = "0123456789abcdef"
LEGACY = {"KAGGLE_USERNAME": "ann", "KAGGLE_KEY": KEY}
LEGACY_HEADER = "Basic YW5uOjAxMjM0NTY3ODlhYmNkZWY="  # ann:0123456789abcdef


def dogs_vs_cats() -> bytes:
    train = zip_bytes(
        {f"train/{name}.{i}.jpg": b"x" * 500_000 for name in ("cat", "dog") for i in (0, 1)}
    )
    test = zip_bytes({"test1/1.jpg": b"y"})
    return zip_bytes({"train.zip": train, "test1.zip": test, "sampleSubmission.csv": b"id,label\n"})


def zip_bytes(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


@contextmanager
def kaggle_server() -> Iterator[Server]:
    content = dogs_vs_cats()
    damaged = bytearray(content)
    damaged[content.index(b"xxxxx")] ^= 1
    with serve(
        {
            "/dogs-vs-cats.zip": Reply(content),
            "/ann-pets.zip": Reply(content),
            "/no-rules.zip": Reply(status=403),
            "/busy.zip": Reply(status=429),
            "/silent.zip": Reply(silent_after=0),
            "/truncated.zip": Reply(content[: len(content) // 2]),
            "/damaged.zip": Reply(bytes(damaged)),
            "/broken.zip": Reply(content, cuts=[1_500_000]),
            "/endless.zip": Reply(content, length=False),
        }
    ) as server:
        yield server


def run_child(
    directory: Path, cases: list[dict[str, object]], proxy: str, secrets: dict[str, str]
) -> Any:
    """Fetches each case in one child with its own home: (exception or '', message or counts)."""
    (directory / "home").mkdir(exist_ok=True)
    clean = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("KAGGLE") and not key.lower().endswith("_proxy")
    }
    environment = {
        "HOME": str(directory / "home"),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        "KAGGLE_API_ENVIRONMENT": "LOCALHOST",
        "http_proxy": proxy,
    }
    child = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps([{"timeout_s": 10.0} | case for case in cases])],
        cwd=directory,
        env=clean | environment | secrets,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert child.returncode == 0, child.stderr
    assert KEY not in child.stdout + child.stderr
    assert child.stdout.count("\n") == 1, "the client's prints must not reach the user"
    return json.loads(child.stdout)


@pytest.fixture
def server() -> Iterator[Server]:
    with kaggle_server() as server:
        yield server


@pytest.fixture
def run(server: Server, tmp_path: Path) -> Callable[..., Any]:
    def run(secrets: dict[str, str] = LEGACY, proxy: str = "", **params: object) -> Any:
        return run_child(tmp_path, [params], proxy or server.address, secrets)[0]

    return run


def assert_refused(result: Any, *fragments: str) -> None:
    error, message = result
    assert error == "KaggleError", message
    assert "\n" not in message
    for fragment in fragments:
        assert fragment in message


def test_competition(run, server, tmp_path):
    server.credentials = LEGACY_HEADER
    assert run() == ["", {"": {"cat": 2, "dog": 2}}]
    assert zipfile.ZipFile(tmp_path / "out.zip").namelist()[0] == "cat/cat.0.jpg"
    assert not (tmp_path / "data/download").exists(), "the download is removed after success"


def test_dataset_is_used_instead_of_the_competition(run, server):
    assert run(kaggle_dataset="ann/pets") == ["", {"": {"cat": 2, "dog": 2}}]
    assert server.requests[0][1] == "/ann-pets.zip"


def test_credentials_from_a_file(run, server, tmp_path):
    server.credentials = LEGACY_HEADER
    (tmp_path / "home/.kaggle").mkdir(parents=True)
    file = tmp_path / "home/.kaggle/kaggle.json"
    file.write_text(json.dumps({"username": "ann", "key": KEY}))
    assert run(secrets={}) == ["", {"": {"cat": 2, "dog": 2}}]


def test_credentials_from_a_token(run, server):
    server.credentials = "Bearer good-token"
    assert run(secrets={"KAGGLE_API_TOKEN": "good-token"})[0] == ""


def test_unknown_token(run):
    result = run(secrets={"KAGGLE_API_TOKEN": KEY})
    assert_refused(result, "does not know the token of KAGGLE_API_TOKEN", "kaggle.com/settings/api")


def test_silence_while_the_client_checks_a_token(run):
    # The client asks at import, before anything can be set on it
    result = run(secrets={"KAGGLE_API_TOKEN": "silent-token"}, timeout_s=0.5)
    assert_refused(result, "no answer within data.timeout_s = 0.5 s")


def test_missing_credentials(run):
    result = run(secrets={})
    assert_refused(result, "expected Kaggle credentials, found none", "~/.kaggle/kaggle.json")


def test_refused_credentials(run, server):
    server.credentials = "Basic of-someone-else"
    assert_refused(run(), "answered 401", "credentials are not accepted", "KAGGLE_KEY")


REFUSALS: list[tuple[dict[str, object], list[str]]] = [
    (
        {"kaggle_competition": "no-rules"},
        ["answered 403", "accept the rules at https://www.kaggle.com/c/no-rules/rules"],
    ),
    (
        {"kaggle_competition": "dogs-vs-cat"},
        ["answered 404", "nothing named dogs-vs-cat", "data.kaggle_competition"],
    ),
    (
        {"kaggle_dataset": "bob/pets"},
        ["answered 404", "nothing named bob/pets", "data.kaggle_dataset"],
    ),
    ({"kaggle_competition": "busy"}, ["answered 429", "try again in some minutes"]),
    (
        {"kaggle_competition": "silent", "timeout_s": 0.5},
        ["no answer within data.timeout_s = 0.5 s"],
    ),
    ({"kaggle_competition": "../etc"}, ["data.kaggle_competition: expected", "'../etc'"]),
    ({"kaggle_dataset": "pets"}, ["data.kaggle_dataset: expected owner/name", "'pets'"]),
    (
        {"kaggle_dataset": "ann/pets", "max_gb": 0.001},
        ["/ann/pets: expected at most data.max_gb = 0.001 GB, Kaggle sends more"],
    ),
    (
        {"kaggle_competition": "endless", "max_gb": 0.001},
        ["/endless: expected at most data.max_gb = 0.001 GB, Kaggle sends more"],
    ),
]


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The results of all REFUSALS, from one child, because importing the client takes a second."""
    with kaggle_server() as server:
        cases = [params for params, _ in REFUSALS]
        return run_child(tmp_path_factory.mktemp("refusals"), cases, server.address, LEGACY)


@pytest.mark.parametrize("case", range(len(REFUSALS)))
def test_refusals_name_the_way_out(refusals, case):
    assert_refused(refusals[case], *REFUSALS[case][1])


def test_no_network(run):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{free.getsockname()[1]}"
    assert_refused(run(proxy=closed), "Kaggle: ", "cannot be reached", "network")


def test_too_large_a_download_is_removed(run, tmp_path):
    assert run(kaggle_competition="endless", max_gb=0.0015)[0] == "KaggleError"
    assert not list(tmp_path.rglob("*.zip*"))


@pytest.mark.parametrize("name", ["truncated", "damaged"])
def test_damaged_download_is_removed(run, tmp_path, name):
    result = run(kaggle_competition=name)
    assert_refused(result, "is damaged", "the download is removed: run again")
    assert not list(tmp_path.rglob("*.zip*"))


def test_broken_download_is_kept_and_resumed(run, server, tmp_path):
    result = run(kaggle_competition="broken")
    assert_refused(result, "the connection broke off: run again to fetch the rest")
    assert not (tmp_path / "out.zip").exists()
    assert run(kaggle_competition="broken")[0] == ""
    assert server.ranges_of("/broken.zip") == ["", "", f"bytes={1 << 20}-"]
