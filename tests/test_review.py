"""The page of suspects: decisions by keyboard in a real browser, and what must not write them."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from zipfile import ZipFile

import httpx
import numpy as np
import pytest
from chromium import Watched, expect, needs_chromium
from corpus import encode
from PIL import Image

from pawprint.data.manifest import Picture, write_manifest
from pawprint.storage.tables import write_csv

# covers: B7, B11

ROOT = Path(__file__).resolve().parent.parent
HEADER = "sha256,decision,label,who,why"
COUNT = 8


@dataclass(frozen=True)
class Review:
    """A review in a process of its own.

    Attributes:
        address: of its page.
        decisions: the file that it writes.
        digests: SHA-256 of the suspects, in order.
    """

    address: str
    process: subprocess.Popen[str]
    decisions: Path
    digests: list[str]

    def rows(self) -> list[str]:
        lines = self.decisions.read_text(encoding="utf-8").splitlines()
        assert lines[0] == HEADER
        return lines[1:]


def make_project(directory: Path) -> list[str]:
    """Pictures, their division, and suspects with what a person sees of them; the digests."""
    for place in ("data/raw", "metrics/suspects"):
        (directory / place).mkdir(parents=True)
    shutil.copy(ROOT / "params.yaml", directory)
    (directory / "data/decisions.csv").write_text(f"{HEADER}\n")
    rng, pictures = np.random.default_rng(0), []
    with ZipFile(directory / "data/raw/images.zip", "w") as archive:
        for i in range(COUNT):
            content = encode(Image.fromarray(rng.integers(0, 255, (20, 30, 3), np.uint8)), "PNG")
            path, digest = (
                f"{'dog' if i % 2 else 'cat'}/{i}.png",
                hashlib.sha256(content).hexdigest(),
            )
            archive.writestr(path, content)
            pictures.append(Picture(path, path[:3], "train", digest, digest[:16]))
    write_manifest(directory / "data/split.csv", pictures)
    suspects = [
        (i, p.path, p.split, p.class_name, "dog" if i % 2 else "cat", "label", 0.9)
        for i, p in enumerate(pictures, 1)
    ]
    shortcut = (COUNT + 1, "", "", "", "", "shortcut: the file's format tells the class", 0.97)
    header = ("rank", "path", "split", "label", "suggested", "why", "score")
    write_csv(directory / "metrics/suspects.csv", header, [*suspects, shortcut])
    near = [(p.path, pictures[0].path, 0.5) for p in pictures[1:]]
    write_csv(
        directory / "metrics/suspects/neighbours.csv", ("path", "neighbour", "similarity"), near
    )
    said = [(p.path, name, share) for p in pictures for name, share in (("cat", 0.2), ("dog", 0.8))]
    write_csv(
        directory / "metrics/suspects/probabilities.csv", ("path", "class", "probability"), said
    )
    return [picture.sha256 for picture in pictures]


@contextmanager
def reviewing(directory: Path, *options: str) -> Iterator[Review]:
    digests = make_project(directory)
    process = start(directory, *options)
    try:
        yield Review(read_address(process), process, directory / "data/decisions.csv", digests)
    finally:
        process.kill()
        with suppress(ValueError):  # a test has read it to its end
            process.communicate()


def start(directory: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pawprint", "review", "--port", "0", *options]
    path = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=directory, env=path, text=True, stdout=pipe, stderr=pipe)


def read_address(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    while line := process.stdout.readline():
        if found := re.search(r"http://[\d.:]+", line):
            return found[0]
    raise AssertionError(process.communicate())


@pytest.fixture(scope="module")
def running(tmp_path_factory) -> Iterator[Review]:
    with reviewing(tmp_path_factory.mktemp("review"), "--who", "Ada") as review:
        yield review


@pytest.fixture
def review(running) -> Review:
    """The same for all tests, with nothing decided."""
    running.decisions.write_text(f"{HEADER}\n")
    return running


def put(review: Review, sha256: str, headers: dict[str, str] | None = None, **values: str) -> Any:
    return httpx.put(f"{review.address}/decisions/{sha256}", json=values, headers=headers)


@needs_chromium
def test_keys_decide_and_undo_and_each_decision_is_in_the_file(browser, review):
    watched = Watched(browser, review.address)
    page, keys = watched.page, watched.page.keyboard
    page.goto("/")
    label, place = page.locator("#label"), page.locator("#place")
    expect(label).to_have_text("cat")
    expect(page.locator("#remarks")).to_contain_text("the file's format tells the class")
    expect(page.locator("#probabilities tr").first).to_have_text("dog80.0 %")
    # keep, relabel by number, relabel as suggested, drop, leave open
    for number, key in enumerate(["k", "1", "r", "d", " "], 2):
        keys.press(key)
        expect(place).to_have_text(re.compile(f"^{number} of {COUNT} · "))
    first, second, third, fourth, *_ = review.digests
    assert review.rows() == sorted(
        [
            f"{first},keep,,Ada,",
            f"{second},relabel,cat,Ada,",
            f"{third},relabel,dog,Ada,",
            f"{fourth},drop,,Ada,",
        ]
    )
    keys.press("u")
    expect(place).to_have_text(re.compile(f"^4 of {COUNT} · 3 of"))
    expect(label).to_have_text("dog")
    expect(page.locator("#decision")).to_have_text("")
    keys.press("w")
    keys.type("no animal")
    keys.press("Enter")
    keys.press("d")
    expect(place).to_have_text(re.compile(f"^5 of {COUNT} · 4 of"))
    assert f"{fourth},drop,,Ada,no animal" in review.rows()
    assert page.locator("#picture").evaluate("image => image.naturalWidth") == 720
    watched.close()


@needs_chromium
def test_a_killed_review_has_lost_no_decision_that_the_page_took(browser, tmp_path):
    with reviewing(tmp_path) as review:
        page = browser.new_page(base_url=review.address)
        page.goto("/")
        for number in range(2, COUNT):
            expect(page.locator("#place")).to_have_text(re.compile(f"^{number - 1} of"))
            page.keyboard.press("d")
            expect(page.locator("#place")).to_have_text(re.compile(f"^{number} of"))
        review.process.send_signal(signal.SIGKILL)
        review.process.wait()
        assert review.rows() == sorted(f"{d},drop,,," for d in review.digests[: COUNT - 2])
        page.keyboard.press("d")
        expect(page.get_by_role("alert")).to_contain_text("this decision is not written")
        expect(page.locator("#place")).to_have_text(re.compile(f"^{COUNT - 1} of"))
        page.close()


@needs_chromium
def test_a_page_of_another_origin_can_neither_read_nor_write(browser, review):
    class Hostile(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>other</title>")

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hostile)
    Thread(target=server.serve_forever, daemon=True).start()
    page = browser.new_page()
    page.goto(f"http://127.0.0.1:{server.server_port}/")
    attack = """async ([url, method, mode]) => {
      const body = method === "GET" ? undefined : '{"decision": "drop"}';
      try { return (await fetch(url, {method, mode, body})).status; } catch { return "blocked"; }
    }"""
    target = f"{review.address}/decisions/{review.digests[0]}"
    for method, mode in (("PUT", "cors"), ("POST", "no-cors"), ("POST", "cors")):
        assert page.evaluate(attack, [target, method, mode]) in ("blocked", 0)
    table = f"{review.address}/suspects.json"
    assert page.evaluate(attack, [table, "GET", "cors"]) == "blocked"
    seen = """url => new Promise(done => { const image = new Image();
      image.onload = () => done("seen"); image.onerror = () => done("blocked");
      image.src = url; })"""
    picture = f"{review.address}/pictures/{review.digests[0]}/160"
    assert page.evaluate(seen, picture) == "blocked"
    assert review.rows() == []
    page.close()
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "evil.example"}, 421),  # a name of another, that leads here
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
def test_only_its_own_page_writes(review, headers, status):
    answer = put(review, review.digests[0], headers, decision="drop", label="", why="")
    assert answer.status_code == status
    assert len(review.rows()) == (1 if status == 200 else 0)


def test_decisions_that_make_no_sense_are_refused_and_nothing_is_written(review):
    first = review.digests[0]
    refusals = [
        put(review, first, decision="burn"),
        put(review, first, decision="relabel", label="wolf"),
        put(review, first, decision="drop", label="dog"),
        put(review, first, decision="drop", colour="red"),
        put(review, first, decision="drop", why="x" * 5000),
        put(review, "0" * 64, decision="drop"),
        httpx.put(f"{review.address}/decisions/{first}", content=b"[" * 3000),
    ]
    assert [answer.status_code for answer in refusals] == [409, 409, 409, 400, 413, 404, 400]
    assert review.rows() == []


def test_what_others_write_meanwhile_stays_and_what_they_break_is_told(review):
    first, second, third, *_ = review.digests
    review.decisions.write_text(f"{HEADER}\n{second},drop,,Bob,by hand\n")
    assert put(review, first, decision="keep").json() == {"decided": 2}
    assert sorted([f"{first},keep,,Ada,", f"{second},drop,,Bob,by hand"]) == review.rows()
    broken = f"{HEADER}\n<<<<<<< HEAD\n"
    review.decisions.write_text(broken)
    answer = put(review, third, decision="keep")
    assert answer.status_code == 409
    assert "line 2: expected a decision, found git's mark of a merge" in answer.text
    assert review.decisions.read_text() == broken


def test_a_second_review_is_refused_and_ctrl_c_ends_the_first(tmp_path):
    with reviewing(tmp_path) as review:
        other = start(tmp_path)
        out, err = other.communicate(timeout=60)
        assert other.returncode == 2
        assert err.startswith("error: .resume/review: another review of this project is open")
        put(review, review.digests[0], decision="drop")
        review.process.send_signal(signal.SIGINT)
        out, err = review.process.communicate(timeout=60)
        assert (review.process.returncode, err) == (0, "")
    assert "1 decisions in data/decisions.csv; `dvc repro` takes them over" in out


def test_missing_suspects_are_one_line(tmp_path):
    make_project(tmp_path)
    (tmp_path / "metrics/suspects.csv").unlink()
    process = start(tmp_path)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err.count("\n") == 1
    assert "metrics/suspects.csv: expected the result of a stage, found none; run `dvc" in err
