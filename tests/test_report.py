"""The report as a page: its bytes, what it says of a run, and hostile names in it."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from chromium import Watched, needs_chromium
from PIL import Image
from runs import SmallRun, doubt

from pawprint.data.decisions import Decision, Verdict, write_decisions
from pawprint.report.charts import draw_charts
from pawprint.report.pictures import PagePictures
from pawprint.report.run import read_judged
from pawprint.runner.params import Params
from pawprint.runner.params_file import load_params
from stages.report import main

# covers: B7, R6, R7, R14, B1

HOSTILE = "<script>window.hit=1</script>\"'&{{1+1}}\u202egpj"
LARGEST_PAGE = 15_000_000


def report(run: SmallRun, **changes: Any) -> str:
    """The page that stage report makes of a run; `changes` are of its section of params.yaml."""
    params = load_params(run.root / "params.yaml")
    section = params.report.model_copy(update=changes)
    return render(run.root, params.model_copy(update={"report": section}))


def render(root: Path, params: Params) -> str:
    before = os.getcwd()
    os.chdir(root)
    try:
        main(params)
    finally:
        os.chdir(before)
    return (root / "metrics/report.html").read_text(encoding="utf-8")


@pytest.fixture
def no_charts(monkeypatch):
    """They take nearly all of the time."""
    monkeypatch.setattr("stages.report.draw_charts", lambda *_: {})


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> str:
    """The page of a run of 10 test pictures, of which 3 are wrong and 2 of them shown."""
    run = SmallRun(tmp_path_factory.mktemp("run"), counts=(6, 3, 5), wrong=3).write()
    return report(run, wrong=2)


class Page(HTMLParser):
    """What a page consists of.

    Attributes:
        tags: how often each element begins.
        attributes: all names of attributes.
        images: how many pictures it has.
        text: what a reader sees, and the values of scripts.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(text)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.text += " "  # cells stand side by side without one
        self.tags[tag] += 1
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_same_run_gives_the_same_bytes(tmp_path):
    """Also in another place."""
    runs = [SmallRun(tmp_path / name) for name in "ab"]
    for run in runs:
        run.write()
    pages = [report(runs[0]), report(runs[0]), report(runs[1])]
    assert pages[0] == pages[1] == pages[2]
    cards = [(run.root / "metrics/model_card.md").read_bytes() for run in runs]
    assert cards[0] == cards[1] != b""


def test_a_page_says_what_went_in_and_what_came_out(plain):
    page = Page(plain)
    assert "finetuned, has 70.00 % of 10 test pictures right" in page.text
    assert "finetuned is wrong on 3 of 10 test pictures. Shown are 2" in page.text
    assert "cat 6 3 5 14 dog 6 3 5 14 all 12 6 10 28" in page.text
    assert "finetuned best on validation" in page.text
    assert "There is no ensemble in this run." in page.text
    assert page.tags["svg"] == 5  # training, confusion, reliability, ROC, coverage
    assert page.tags["img"] == 4  # two wrong pictures, each with its heatmap


def test_a_page_needs_nothing_else(plain):
    """No file, no address, but for links that a reader follows."""
    text = unescape(plain)
    assert re.findall(r'(?:src|xlink:href)="(?!data:image|#)[^"]*', text) == []
    assert "default-src 'none'; img-src data:" in text
    assert Page(plain).tags["style"] == 1
    assert "loading" not in Page(plain).attributes  # what loads late is missing in print
    assert set(re.findall(r'https?://[^"\s<]*', text)) <= {"http://www.w3.org/1999/xlink"}


@pytest.mark.usefixtures("no_charts")
def test_a_page_says_what_may_be_decided_alone(tmp_path):
    """Of 10 test pictures 2 are unlike; of 5 of no class 3 are accepted, and 2 of them shown."""
    run = SmallRun(tmp_path, counts=(6, 3, 5), wrong=3, others=5).write()
    for i in range(2):
        path = tmp_path / f"others/{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), "green").save(path)
    page = Page(report(run, wrong=0, others=2))
    text = page.text.replace("\u00a0", " ")
    assert "At 99.5 % precision it decides nothing alone" in text
    assert "It calls 20.00 % of the test pictures unlike its training pictures" in text
    assert "rooms 5 60.0 % 23.07 to 88.24" in text
    assert "Shown are 2 of the 3 that were taken for a class" in text
    assert text.count("rooms taken for cat, 90.0 % sure (0.80)") == 1
    assert page.tags["img"] == 2


@pytest.mark.usefixtures("no_charts")
def test_a_page_without_other_pictures_says_so(plain):
    assert "No pictures of none of the classes were looked at" in Page(plain).text


def test_ids_of_charts_do_not_meet(plain):
    """Each chart cuts its lines by shapes of its own, which it names."""
    ids = Counter(re.findall(r'\sid="([^"]+)"', plain))
    assert {name for name, count in ids.items() if count > 1} == set()
    assert set() < set(re.findall(r"url\(#([^)]+)\)", plain)) <= set(ids)


def test_names_are_texts_in_charts(tmp_path):
    """A class of a hostile name, which the font can write, stands in the confusion."""
    run = SmallRun(tmp_path, class_names=("<script>&\u202e", "]]><b>")).write()
    judged = read_judged(tmp_path / "metrics", tmp_path / "plots", tmp_path)
    svg = draw_charts(judged, list(run.class_names), 15, [])["confusion"]
    assert "&lt;script&gt;&amp;\\u202e" in svg
    assert "<script" not in svg
    assert "<b>" not in svg
    assert "\u202e" not in svg


@pytest.mark.usefixtures("no_charts")
def test_names_are_texts_wherever_they_stand(tmp_path):
    """As class, as path, as suggestion, in the card: no element and no attribute comes of them."""
    tame = SmallRun(tmp_path / "tame", suspects=[]).write()
    tame.write_suspects([doubt(tame.pictures[0], "dog")])
    expected = Page(report(tame))
    names = (f"a{HOSTILE}", f"b{HOSTILE}")
    run = SmallRun(tmp_path / "hostile", class_names=names, suspects=[], suffix=HOSTILE).write()
    run.write_suspects([doubt(run.pictures[0], names[1], why=f"label: {HOSTILE}")])
    text = report(run)
    page = Page(text)
    assert page.tags == expected.tags
    assert page.attributes == expected.attributes
    assert "\u202e" not in re.sub(r'<script type="application/json".*?</script>', "", text)
    assert "<script>window.hit" not in text
    assert "&lt;script&gt;window.hit=1&lt;/script&gt;" in text
    card = (run.root / "metrics/model_card.md").read_text(encoding="utf-8").split("---\n", 2)[2]
    assert "<script>" not in card
    assert "\u202e" not in card


@pytest.mark.usefixtures("no_charts")
def test_a_report_of_5000_test_pictures_stays_small(tmp_path):
    """All wrong, all suspects, with names as long as a file system takes."""
    run = SmallRun(tmp_path, counts=(500, 10, 2500), wrong=5000, suffix="x" * 200 + ".jpg").write()
    run.write_suspects([doubt(picture, "dog") for picture in run.pictures[:1000]])
    text = report(run, wrong=1000, suspects=1000)
    assert len(text.encode()) < LARGEST_PAGE
    assert "is wrong on 5,000 of 5,000 test pictures. Shown are 1000" in text


def test_pictures_end_where_the_page_is_large_enough(tmp_path):
    run = SmallRun(tmp_path, counts=(5, 1, 1)).write()
    paths = [picture.path for picture in run.of("train")]
    size = len(PagePictures(tmp_path / "data/processed").show(paths[0], 24))
    pictures = PagePictures(tmp_path / "data/processed", most_bytes=3 * size)
    shown = [pictures.show(path, 24) for path in paths]
    assert 0 < sum(map(len, shown)) <= 3 * size
    assert pictures.full
    assert pictures.show(paths[0], 24) == shown[0]  # made once, it costs nothing again


@pytest.mark.usefixtures("no_charts")
def test_no_room_is_said(tmp_path, monkeypatch):
    run = SmallRun(tmp_path, suspects=[]).write()
    run.write_suspects([doubt(run.pictures[0])])
    monkeypatch.setattr("pawprint.report.pictures.PagePictures.__init__.__defaults__", (0,))
    text = report(run)
    assert "Shown are 0, the most surely wrong first (there was no room for more)" in text
    assert "There was no room for pictures of suspects." in text


@pytest.mark.usefixtures("no_charts")
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"wrong": 0}, "None of the 8 test pictures is wrong."),
        ({"suspects": None}, "No picture has a reason to be looked at."),
        ({"suspects": []}, "No picture has a reason to be looked at."),
        ({"overlays": False}, "Stage gradcam made no heatmaps of these pictures."),
        (
            {"tta": 2},
            "Each answer is the mean of that for a picture and that for its mirror image.",
        ),
    ],
)
def test_what_is_missing_is_said(tmp_path, changes, said):
    assert said in Page(report(SmallRun(tmp_path, **changes).write())).text


@pytest.mark.usefixtures("no_charts")
def test_a_class_without_test_pictures_is_named(tmp_path):
    run = SmallRun(tmp_path, class_names=("cat", "dog", "eel")).write()
    details = tmp_path / "metrics/evaluate/details.json"
    found = json.loads(details.read_text())
    for model in found["models"].values():
        scores = model["report"]["classes"]["eel"]
        scores |= {"support": 0, "recall_interval": None, "precision_interval": None}
    details.write_text(json.dumps(found))
    text = Page(report(run)).text
    assert "Without test pictures, and so not judged: eel" in text
    assert "eel 0 n/a n/a n/a" in text
    assert "Not tested, for want of test pictures: eel." in text


@pytest.mark.usefixtures("no_charts")
def test_warnings_stand_above_all(tmp_path):
    """Leaks and shortcuts, before the first figure of a model."""
    shortcut = ("", "", "", "", "shortcut: file size alone tells dog", 0.9)
    run = SmallRun(tmp_path, suspects=[shortcut]).write()
    leaking = [
        f"{p.path},{p.class_name},{p.split},{p.sha256},{'same' if i in (0, 10) else p.group},"
        for i, p in enumerate(run.pictures)
    ]
    header = "path,class_name,split,sha256,group,source_class"
    (tmp_path / "data/split.csv").write_text("\n".join([header, *leaking]) + "\n")
    text = Page(report(run)).text
    warnings, _, rest = text.partition("What went in")
    assert "To mind: shortcut: file size alone tells dog." in warnings
    assert "To mind: 1 of 8 pictures in test is also in train or val" in warnings
    assert "Leak: 1 of 8 pictures in test" in rest


@pytest.mark.usefixtures("no_charts")
def test_quarantine_and_decisions_are_counted(tmp_path):
    run = SmallRun(tmp_path).write()
    rows = "".join(f"cat/{i}.jpg,cat,train,truncated file\n" for i in range(3))
    (tmp_path / "data/processed/quarantine.csv").write_text(f"path,class,split,reason\n{rows}")
    summary = json.loads((tmp_path / "metrics/data.json").read_text())
    summary |= {"relabelled": 2, "dropped": 1}
    (tmp_path / "metrics/data.json").write_text(json.dumps(summary))
    kept = Decision(run.pictures[0].sha256, Verdict.KEEP)
    write_decisions({kept.sha256: kept}, tmp_path / "data/decisions.csv")
    text = Page(report(run)).text
    assert "reason pictures truncated file 3" in text
    assert "relabelled 2 dropped 1 kept as they came 1" in text


@needs_chromium
def test_a_phone_scrolls_no_page_sideways(browser, tmp_path):
    """With names that have no place to break a line; and no error, dark or light."""
    names = ("m" * 120, "w" * 120)
    run = SmallRun(tmp_path, class_names=names, suspects=[]).write()
    run.write_suspects([doubt(run.pictures[0], names[1])])
    report(run)
    watched = Watched(browser, tmp_path.as_uri(), size=(390, 844))
    for scheme in ("light", "dark"):
        watched.page.emulate_media(color_scheme=scheme)
        watched.page.goto((tmp_path / "metrics/report.html").as_uri())
        assert watched.page.evaluate("document.documentElement.scrollWidth") == 390
    watched.close()
