# covers: C2
"""Kaggle's own client, in a child process, against a local server that plays Kaggle."""

from __future__ import annotations

import io
import json
import os
import re
import socket
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from servers import Reply, Server, kaggle_environment, serve

CHILD = """
import io, json, sys
from contextlib import redirect_stdout
from pathlib import Path
from servers import data_params
from pawprint.runner.errors import PawprintError
from pawprint.sources import kaggle
from pawprint.sources.fetch import fetch
kaggle.RETRIES = 0
results = []
for params in json.loads(sys.argv[1]):
    said = io.StringIO()
    with redirect_stdout(said):
        try:
            data = data_params(source="kaggle", **params)
            result = ["", fetch(data, Path("out.zip"), Path("data/download")).counts]
        except PawprintError as error:
            result = [type(error).__name__, str(error)]
    results.append([*result, said.getvalue()])
print(json.dumps(results))
"""
KEY = "0123456789abcdef"
LEGACY = {"KAGGLE_USERNAME": "ann", "KAGGLE_KEY": KEY}
LEGACY_HEADER = "Basic YW5uOjAxMjM0NTY3ODlhYmNkZWY="  # ann:0123456789abcdef
COUNTS = {"": {"cat": 2, "dog": 2}}


class Result(NamedTuple):
    """Of one call of fetch, in a child process.

    Attributes:
        error: the name of the exception; empty: none.
        value: the counts of pictures, or the exception's message.
        said: what was printed.
    """

    error: str
    value: Any
    said: str


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
) -> list[Result]:
    """Fetches each case in one child with its own home, and returns the results in order."""
    child = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps([{"timeout_s": 10.0} | case for case in cases])],
        cwd=directory,
        env=kaggle_environment(directory, proxy, secrets),
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert child.returncode == 0, child.stderr
    assert KEY not in child.stdout + child.stderr
    assert child.stdout.count("\n") == 1, "the client's prints must not reach the user"
    return [Result(*result) for result in json.loads(child.stdout)]


@pytest.fixture
def server() -> Iterator[Server]:
    with kaggle_server() as server:
        yield server


@pytest.fixture
def run(server: Server, tmp_path: Path) -> Callable[..., Result]:
    def run(secrets: dict[str, str] = LEGACY, proxy: str = "", **params: object) -> Result:
        return run_child(tmp_path, [params], proxy or server.address, secrets)[0]

    return run


def assert_refused(result: Result, *fragments: str) -> None:
    error, message, _ = result
    assert error == "KaggleError", message
    assert "\n" not in message
    for fragment in fragments:
        assert fragment in message


def kept_files(tmp_path: Path) -> list[str]:
    kept = tmp_path / "data/download"
    return sorted(path.relative_to(kept).as_posix() for path in kept.rglob("*") if path.is_file())


def closed_address() -> str:
    """An address at which nobody listens, as without a network."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def test_competition(run, server, tmp_path):
    server.credentials = LEGACY_HEADER
    assert run() == Result("", COUNTS, said="")
    assert zipfile.ZipFile(tmp_path / "out.zip").namelist()[0] == "cat/cat.0.jpg"
    assert kept_files(tmp_path) == ["kaggle-dogs-vs-cats/dogs-vs-cats.zip"]


def test_dataset_is_used_instead_of_the_competition(run, server):
    assert run(kaggle_dataset="ann/pets").value == COUNTS
    assert server.requests[0][1] == "/ann-pets.zip"


def test_credentials_from_a_file(run, server, tmp_path):
    server.credentials = LEGACY_HEADER
    (tmp_path / "home/.kaggle").mkdir(parents=True)
    file = tmp_path / "home/.kaggle/kaggle.json"
    file.write_text(json.dumps({"username": "ann", "key": KEY}))
    assert run(secrets={}).value == COUNTS


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
    assert_refused(result, "expected Kaggle credentials, found none", "~/.kaggle/access_token")


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
def refusals(tmp_path_factory: pytest.TempPathFactory) -> list[Result]:
    """The results of all REFUSALS, from one child, because importing the client takes a second."""
    with kaggle_server() as server:
        cases = [params for params, _ in REFUSALS]
        return run_child(tmp_path_factory.mktemp("refusals"), cases, server.address, LEGACY)


@pytest.mark.parametrize("case", range(len(REFUSALS)))
def test_refusals_name_the_way_out(refusals, case):
    assert_refused(refusals[case], *REFUSALS[case][1])


def test_no_network(run):
    assert_refused(run(proxy=closed_address()), "Kaggle: ", "cannot be reached", "network")


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


# Kept downloads

NEWER = "Sun, 02 Jan 2022 00:00:00 GMT"
OLDER = "Fri, 31 Dec 2021 00:00:00 GMT"


def other_version(kind: str, modified: str) -> Reply:
    """The data set after a change: one more cat, or one dog only."""
    numbers = {"larger": {"cat": 3, "dog": 2}, "smaller": {"cat": 2, "dog": 1}}[kind]
    pictures = {f"{name}.{i}.jpg": b"x" * 500_000 for name in numbers for i in range(numbers[name])}
    return Reply(zip_bytes(pictures), etag='"2"', modified=modified)


@pytest.mark.parametrize("name", [{}, {"kaggle_dataset": "ann/pets/3"}])
def test_what_does_not_change_is_used_again_without_network_and_account(
    run, server, name, tmp_path
):
    first = run(**name)
    server.requests.clear()
    archive = (tmp_path / "out.zip").read_bytes()
    (tmp_path / "out.zip").unlink()  # as DVC does
    again = run(**name, secrets={}, proxy=closed_address(), max_files=20)
    assert again[:2] == first[:2] == ("", COUNTS)
    assert server.requests == []
    assert (tmp_path / "out.zip").read_bytes() == archive
    assert again.said.count("\n") == 1
    assert re.match(
        r"data/download/kaggle-\S+/(dogs-vs-cats|pets)\.zip \(2,\d{3},\d{3} bytes\) is used again: "
        r"Kaggle is not asked, .*; to fetch it anew, remove it and run `dvc repro -f download`",
        again.said,
    )


def test_dataset_without_a_version_is_used_again_if_there_is_no_newer_one(run, server, tmp_path):
    run(kaggle_dataset="ann/pets")
    kept = tmp_path / "data/download/kaggle-ann.pets/pets.zip"
    before = kept.stat()
    again = run(kaggle_dataset="ann/pets", max_files=20)
    assert again[:2] == ("", COUNTS)
    assert "is used again: Kaggle has no newer version; " in again.said
    assert [method for method, _, _ in server.requests] == ["POST", "GET"] * 2
    assert (kept.stat().st_ino, kept.stat().st_ctime_ns) == (before.st_ino, before.st_ctime_ns)


@pytest.mark.parametrize(
    ("kind", "modified", "counts"),
    [
        ("larger", NEWER, {"cat": 3, "dog": 2}),
        ("smaller", NEWER, {"cat": 2, "dog": 1}),
        ("smaller", OLDER, {"cat": 2, "dog": 1}),  # the newest version was taken back
    ],
)
def test_dataset_that_changed_is_fetched_again(run, server, kind, modified, counts):
    run(kaggle_dataset="ann/pets")
    server.replies["/ann-pets.zip"] = other_version(kind, modified)
    assert run(kaggle_dataset="ann/pets") == Result("", {"": counts}, said="")


def test_dataset_is_used_without_network_with_a_warning(run):
    run(kaggle_dataset="ann/pets")
    again = run(kaggle_dataset="ann/pets", proxy=closed_address())
    assert again[:2] == ("", COUNTS)
    assert "is used again: Kaggle cannot be reached, so there may be a newer version" in again.said


def test_dataset_that_kaggle_refuses_is_not_used(run, server):
    run(kaggle_dataset="ann/pets")
    server.replies["/ann-pets.zip"] = Reply(status=403)
    assert_refused(run(kaggle_dataset="ann/pets"), "answered 403")


def test_names_that_look_alike_are_kept_side_by_side(server, tmp_path):
    names: list[dict[str, object]] = [
        {"kaggle_dataset": "ann/pets"},
        {"kaggle_dataset": "ann/pets/3"},
        {"kaggle_competition": "ann-pets"},
    ]
    results = run_child(tmp_path, names, server.address, LEGACY)
    assert results == [Result("", COUNTS, said="")] * 3
    assert kept_files(tmp_path) == [
        "kaggle-ann-pets/ann-pets.zip",
        "kaggle-ann.pets.3/pets.zip",
        "kaggle-ann.pets/pets.zip",
    ]


@pytest.mark.parametrize("damage", ["cut short", "one byte"])
def test_kept_download_that_was_damaged_is_removed_and_fetched_next_time(run, tmp_path, damage):
    run()
    (kept,) = (tmp_path / "data/download").rglob("*.zip")
    if damage == "cut short":
        os.truncate(kept, kept.stat().st_size // 2)
    else:
        content = bytearray(kept.read_bytes())
        content[content.index(b"xxxxx")] ^= 1
        kept.write_bytes(content)
    assert_refused(run(), "is damaged", "the download is removed: run again")
    assert kept_files(tmp_path) == []
    assert run() == Result("", COUNTS, said="")


def test_part_is_not_taken_for_a_kept_download(run):
    assert_refused(run(kaggle_competition="broken"), "the connection broke off")
    assert_refused(run(kaggle_competition="broken", proxy=closed_address()), "cannot be reached")


def test_lower_limit_refuses_a_kept_download_and_leaves_it(server, tmp_path):
    names: list[dict[str, object]] = [{}, {"kaggle_dataset": "ann/pets"}]
    cases = names + [name | {"max_gb": 0.001} for name in names]
    for refused in run_child(tmp_path, cases, server.address, LEGACY)[2:]:
        assert "expected at most data.max_gb = 0.001 GB" in refused.value
    assert len(kept_files(tmp_path)) == 2
