"""The page of suspects: decisions by keyboard in a real browser, and what must not write them."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from zipfile import ZipFile

import httpx
import pytest
from chromium import Watched, expect, needs_chromium
from corpus import encode
from PIL import Image
from reviewing import COUNT, HEADER, Review, make_project, put, reviewing, start

# covers: B7, B11


@pytest.fixture(scope="module")
def running(tmp_path_factory) -> Iterator[Review]:
    with reviewing(tmp_path_factory.mktemp("review"), "--who", "Ada") as review:
        yield review


@pytest.fixture
def review(running) -> Review:
    """The same for all tests, with nothing decided."""
    running.decisions.write_text(f"{HEADER}\n")
    return running


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
    assert put(review, first, decision="keep").json() == {"decided": 2, "before": None}
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


@needs_chromium
def test_a_decision_holds_the_label_that_is_shown_or_chosen(browser, tmp_path):
    """To keep a picture as it came would bring an earlier label back, or leave a copy with one."""
    changed = {"relabelled": {0: "dog"}, "copied": {1: "cat/copy of 1.png"}}
    with reviewing(tmp_path, **changed) as review:
        page = browser.new_page(base_url=review.address)
        page.goto("/")
        expect(page.locator("#label")).to_have_text("dog")
        page.keyboard.press("k")
        shown = "the same file, decided with it: cat/copy of 1.png · train · cat"
        expect(page.locator("#copies")).to_have_text(shown)
        page.keyboard.press("2")
        expect(page.locator("#copies")).to_have_text("")
        assert review.rows() == sorted(f"{d},relabel,dog,," for d in review.digests[:2])
        page.close()


@needs_chromium
def test_a_key_before_the_answer_to_the_last_one_counts_for_no_other_picture(browser, review):
    page = browser.new_page(base_url=review.address)
    page.goto("/")
    place = page.locator("#place")
    expect(place).to_contain_text("1 of 8 ·")
    page.evaluate(
        """() => { const real = window.fetch; window.fetch = async (...all) => {
          await new Promise((done) => setTimeout(done, 300)); return real(...all); }; }"""
    )
    page.keyboard.press("d")
    page.keyboard.press("ArrowRight")
    expect(place).to_contain_text("2 of 8 · 1 of")
    page.keyboard.press("u")
    expect(place).to_contain_text("1 of 8 · 0 of")
    assert review.rows() == []
    page.close()


@needs_chromium
def test_a_second_tab_says_what_it_overwrites_and_its_undo_brings_that_back(browser, review):
    first = review.digests[0]
    page = browser.new_page(base_url=review.address)
    page.goto("/")
    expect(page.locator("#place")).to_contain_text("1 of 8 ·")
    review.decisions.write_text(f"{HEADER}\n{first},drop,,Bob,blurred\n")
    page.keyboard.press("k")
    expect(page.get_by_role("alert")).to_have_text(
        "cat/0.png was dropped by Bob meanwhile; yours stands now, and U takes it back."
    )
    assert review.rows() == [f"{first},keep,,Ada,"]
    page.keyboard.press("u")
    expect(page.locator("#place")).to_contain_text("1 of 8 ·")
    assert review.rows() == [f"{first},drop,,Bob,blurred"]
    page.close()


@needs_chromium
def test_of_more_classes_than_digits_any_is_chosen_from_a_list_by_key_or_pointer(browser, tmp_path):
    names = {i: f'"{chr(97 + i)}, \u202e' for i in range(7)}  # of classes: quotes, a comma, a turn
    with reviewing(tmp_path, relabelled={**names, 7: "z=1+1"}) as review:
        page = browser.new_page(base_url=review.address)
        page.goto("/")
        listed = page.get_by_label("another class")
        expect(listed.locator("option")).to_have_count(11)
        page.keyboard.press("l")
        page.keyboard.type("z")
        page.keyboard.press("Enter")
        expect(page.locator("#place")).to_contain_text("2 of 8 ·")
        listed.dispatch_event("pointerdown")
        listed.select_option("dog")
        expect(page.locator("#place")).to_contain_text("3 of 8 ·")
        first, second, *_ = review.digests
        assert review.rows() == sorted([f"{first},relabel,z=1+1,,", f"{second},keep,,,"])
        page.close()


def test_while_the_archive_is_made_anew_or_has_changed_a_picture_is_not_shown(tmp_path):
    with reviewing(tmp_path, "--who", "Ada\nLovelace") as review:
        archive = tmp_path / "data/raw/images.zip"
        archive.unlink()
        first = f"{review.address}/pictures/{review.digests[0]}/160"
        gone = httpx.get(first)
        assert (gone.status_code, gone.text) == (
            404,
            "data/raw/images.zip: No such file or directory",
        )
        with ZipFile(archive, "w") as changed:
            changed.writestr("cat/0.png", encode(Image.new("RGB", (9, 9)), "PNG"))
        assert "cat/0.png is another picture now" in httpx.get(first).text
        assert put(review, review.digests[0], decision="drop").status_code == 200
        assert review.rows() == [f"{review.digests[0]},drop,,Ada Lovelace,"]


def test_half_a_character_is_refused_and_nothing_is_written(review):
    body = b'{"decision": "drop", "why": "\\ud83d"}'
    answer = httpx.put(f"{review.address}/decisions/{review.digests[0]}", content=body)
    assert (answer.status_code, answer.text) == (
        409,
        "why: expected text, found half of a character",
    )
    assert review.rows() == []
