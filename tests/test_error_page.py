# covers: R7, B6
"""The page of wrong pictures: all of it inside, names as they are, the worst first."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

from pawprint.evaluation.error_page import render_error_page
from pawprint.evaluation.predictions import Prediction

NAMES = ["größe 1.jpg", '"><script src="http://x.example/a.js"></script>.png', "a'\nb.jpg"]


def predictions() -> dict[str, dict[str, Prediction]]:
    said = [
        Prediction(name, "cat", "<dog>", 0.6 + i / 10, 0.4 - i / 10) for i, name in enumerate(NAMES)
    ]
    said.append(Prediction("right.jpg", "cat", "cat", 0.9, 0.9))
    right = [Prediction(one.path, "cat", "cat", 0.9, 0.9) for one in said]
    return {
        "baseline": {one.path: one for one in said},
        "mine & yours": {one.path: one for one in right},
    }


class Reader(HTMLParser):
    """Collects the tags with what they name, and the text of each cell."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.named: list[str] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.named += [str(value) for name, value in attrs if name in ("src", "href")]
        if tag in ("td", "th", "h2", "p"):
            self.texts.append("")

    def handle_data(self, data: str) -> None:
        if self.texts:
            self.texts[-1] += data.strip("\n")


def page() -> str:
    overlays = {name: name.encode() for name in NAMES[:2]}
    return render_error_page(predictions(), {"baseline": overlays, "mine & yours": {}}, 1)


def test_the_most_surely_wrong_come_first_with_their_overlays() -> None:
    read = Reader(page())
    pictures = [
        base64.b64decode(name.removeprefix("data:image/png;base64,")) for name in read.named
    ]
    assert pictures == [NAMES[1].encode(), NAMES[0].encode()]
    cells = read.texts[7:15]
    assert cells == [
        *(NAMES[1], "", "<dog>, 0.7000", "cat, 0.3000"),
        *(NAMES[0], "", "<dog>, 0.6000", "cat, 0.4000"),
    ]


def test_each_model_has_its_count() -> None:
    texts = Reader(page()).texts
    assert texts[1:3] == ["baseline: CNN from scratch", "3 of 4 test pictures are wrong; 2 shown."]
    assert texts[-2:] == ["mine & yours", "0 of 4 test pictures are wrong; 0 shown."]


def test_nothing_is_loaded_and_no_name_becomes_markup() -> None:
    text = page()
    read = Reader(text)
    assert "script" not in read.tags
    assert all(name.startswith("data:image/png;base64,") for name in read.named)
    assert "http:" not in re.sub(r"&quot;http://x\.example", "", text)
    assert "default-src 'none'" in text


def test_a_line_break_in_a_name_is_seen() -> None:
    shown = {"baseline": {NAMES[2]: b""}}
    assert r"<td>a&#x27;\nb.jpg</td>" in render_error_page(predictions(), shown, 1)


def test_of_means_it_is_said_that_the_heatmap_is_of_the_picture_alone() -> None:
    (text,) = (t for t in Reader(render_error_page(predictions(), {}, 2)).texts if "Test pic" in t)
    assert "probabilities, each the mean of that for the picture and that for its mirror" in text
    assert "the heatmap is of the picture alone. Shown are" in text
    assert "the model's probabilities. Shown are" in Reader(page()).texts[0]


def test_the_same_arguments_are_the_same_page() -> None:
    assert page() == page()
