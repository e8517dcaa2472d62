"""Suspects decided on the page of the report, in a real browser, without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from chromium import Watched, needs_chromium
from runs import SmallRun, doubt
from test_report import report

from pawprint.data.decisions import Decision, Verdict, write_decisions
from pawprint.data.manifest import Picture

# covers: B7, B11

pytestmark = needs_chromium
NAMES = ("a, b", 'c "d"')  # which a table in CSV has to quote


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> SmallRun:
    """Five suspects, two of them decided before; and a decision on a picture that is gone."""
    root = tmp_path_factory.mktemp("run")
    run = SmallRun(root, class_names=NAMES, suspects=[]).write()
    chosen = run.pictures[:5]
    run.write_suspects([doubt(picture, NAMES[1]) for picture in chosen])
    earlier = [
        Decision(chosen[3].sha256, Verdict.DROP, "", "ann", "blurred, dark"),
        Decision(chosen[4].sha256, Verdict.KEEP),
        Decision("f" * 64, Verdict.RELABEL, NAMES[0]),
    ]
    write_decisions({one.sha256: one for one in earlier}, root / "data/decisions.csv")
    report(run)
    return run


@pytest.fixture
def watched(browser, run):
    watched = Watched(browser, run.root.as_uri())
    watched.page.goto((run.root / "metrics/report.html").as_uri())
    yield watched
    watched.close()


def press(watched: Watched, *keys: str) -> None:
    for key in keys:
        watched.page.keyboard.press(key)


def start(watched: Watched) -> None:
    """As by the Tab key, on the first suspect that is open."""
    watched.page.locator(".suspect[aria-current]").focus()


def save(watched: Watched) -> bytes:
    with watched.page.expect_download() as download:
        press(watched, "s")
    assert download.value.suggested_filename == "decisions.csv"
    return Path(download.value.path()).read_bytes()


def expected(run: SmallRun, *decisions: tuple[Picture, str, str, str, str]) -> bytes:
    """What stands in data/decisions.csv when these are decided besides what it holds."""
    made = [Decision(p.sha256, Verdict(v), label, who, why) for p, v, label, who, why in decisions]
    rows = {one.sha256: one for one in made}
    rows |= {
        one.sha256: one
        for one in (
            Decision(run.pictures[4].sha256, Verdict.KEEP),
            Decision("f" * 64, Verdict.RELABEL, NAMES[0]),
        )
    }
    path = run.root / "expected.csv"
    write_decisions(rows, path)
    return path.read_bytes()


def test_what_is_decided_by_keys_is_saved_as_the_file(run, watched):
    """Sorted, quoted as ever, with the rows that were there; a later decision replaces one."""
    watched.page.locator("#who").fill('Bo "B"')
    start(watched)
    press(watched, "2", "k", "r", "w")
    watched.page.keyboard.type("a  stray, cat")
    press(watched, "Enter", "1")
    first, second, third, fourth, _ = run.pictures[:5]
    # The fourth was to be dropped; its own label by key 1 is to keep it as it came
    assert save(watched) == expected(
        run,
        (first, "relabel", NAMES[1], 'Bo "B"', ""),
        (second, "keep", "", 'Bo "B"', ""),
        (third, "relabel", NAMES[1], 'Bo "B"', ""),
        (fourth, "keep", "", 'Bo "B"', "a stray, cat"),
    )


def test_undo_and_leaving_open_take_decisions_back(run, watched):
    start(watched)
    press(watched, "d", "d", "u", "ArrowRight", "ArrowRight", "ArrowRight")
    first, *_ = run.pictures
    # The fourth, dropped earlier, was left open: its row goes
    assert save(watched) == expected(run, (first, "drop", "", "", ""))
    assert "2 of 5 decided" in watched.page.locator("#status").inner_text()


def test_keys_count_only_on_a_suspect(watched):
    """A key pressed elsewhere on the page, or in a field, decides nothing."""
    press(watched, "d", "k")
    watched.page.locator("#who").focus()
    press(watched, "d")
    assert "2 of 5 decided" in watched.page.locator("#status").inner_text()
    assert watched.page.locator("#who").input_value() == "d"


def test_a_page_tells_what_is_not_saved(watched):
    start(watched)
    press(watched, "d")
    assert "1 not saved yet" in watched.page.locator("#status").inner_text()
    asked: list[str] = []

    def leave(dialog: Any) -> None:
        asked.append(dialog.type)
        dialog.accept()

    watched.page.on("dialog", leave)
    watched.page.reload()
    assert asked == ["beforeunload"]


def test_a_finger_decides_by_buttons(run, watched):
    watched.page.locator(".suspect").nth(1).click()
    watched.page.get_by_role("button", name="drop").click()
    with watched.page.expect_download() as download:
        watched.page.get_by_role("button", name="save decisions.csv").click()
    rows = Path(download.value.path()).read_text().splitlines()
    assert f"{run.pictures[1].sha256},drop,,," in rows
    assert len(rows) == 5  # the header, three that were there, and this one
