"""The server's page in a real browser: by mouse and by keyboard, in the light and in the dark."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from chromium import Watched, expect, file, needs_chromium
from classifiers import colours_models, promising_model
from corpus import encode
from PIL import Image
from served import COLOURS, Running, colours, picture, renamed, serving

# covers: R7, R10, R18, B7

pytestmark = needs_chromium

PASTE = """(element, content) => {
  const transfer = new DataTransfer();
  const bytes = Uint8Array.from(content);
  transfer.items.add(new File([bytes], "image.png", { type: "image/png" }));
  const kind = element === document.body ? DragEvent : ClipboardEvent;
  const options = { bubbles: true, cancelable: true };
  element.dispatchEvent(kind === DragEvent
    ? new DragEvent("drop", { ...options, dataTransfer: transfer })
    : new ClipboardEvent("paste", { ...options, clipboardData: transfer }));
}"""


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with serving("--model", str(colours()), "--max-body-mb", "1") as running:
        yield running


@pytest.fixture
def page(browser, server) -> Iterator[Any]:
    watched = Watched(browser, server.address)
    watched.page.goto("/")
    watched.page.locator(".card").wait_for()
    yield watched.page
    watched.close()


def heats(page: Any) -> Any:
    return page.locator(".heat:not([hidden])")


def test_chosen_pictures_get_classes_bars_and_heat(page):
    page.set_input_files(
        "#files", [file(picture("green"), "meadow.png"), file(b"no", "broken.png")]
    )
    expect(heats(page)).to_have_count(1)
    expect(page.get_by_role("status")).to_have_text("1 classified, 1 with an error")
    first, second = page.locator(".result").all()
    expect(first.locator(".verdict")).to_have_text("green")
    expect(first.locator("h2")).to_have_text("meadow.png")
    expect(first.locator(".share").first).to_have_text(re.compile(r"^9\d\.\d %$"))
    widths = [bar.bounding_box()["width"] for bar in first.locator(".fill").all()]
    assert widths[0] > 20 * max(widths[1:])
    expect(second.locator(".error")).to_have_text("not a picture in a known format")
    page.get_by_role("button", name="Clear all").click()
    expect(page.locator(".result")).to_have_count(0)


@pytest.mark.parametrize("place", ["html", "body"], ids=["pasted", "dropped"])
def test_pasted_and_dropped_pictures(page, place):
    page.locator(place).evaluate(PASTE, list(picture("blue")))
    expect(page.locator(".verdict")).to_have_text("blue")


def test_everything_by_keyboard(page):
    """Tab reaches the chooser, the model's input, the slider and the classes, in this order."""
    page.set_input_files("#files", file(picture("red")))
    expect(heats(page)).to_have_count(1)
    page.locator("header a").focus()
    focused = []
    for _ in range(5):
        page.keyboard.press("Tab")
        focused.append(page.evaluate("document.activeElement.id || document.activeElement.type"))
    assert focused == ["files", "square", "clear", "range", "radio"]
    page.locator("input[type=radio]").first.focus()
    before = page.locator(".heat").get_attribute("src")
    with page.expect_response(re.compile("class=green")):
        page.keyboard.press("ArrowDown")
    expect(page.locator(".heat")).not_to_have_attribute("src", before)
    slider = page.get_by_role("slider", name="Opacity of the heatmap on x.png")
    slider.focus()
    page.keyboard.press("Home")
    assert page.locator(".heat").evaluate("element => element.style.opacity") == "0"


def test_focus_is_seen(page):
    page.locator("#files").focus()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    style = page.locator(".drop").evaluate("element => getComputedStyle(element).outlineStyle")
    assert style == "solid"


def turned() -> bytes:
    """Red above blue, stored lying on its side, with the EXIF tag that turns it back."""
    pixels = np.zeros((60, 90, 3), np.uint8)
    pixels[:, :45, 0] = pixels[:, 45:, 2] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees to the right
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG", quality=95, exif=exif)
    return content.getvalue()


def shown(page: Any) -> np.ndarray:
    """What stands in the picture's place, without heat."""
    page.locator("input[type=range]").fill("0")
    return screenshot(page)


def screenshot(page: Any) -> np.ndarray:
    page.locator(".stage").evaluate("element => element.scrollIntoView()")
    return np.asarray(
        Image.open(io.BytesIO(page.locator(".stage").screenshot())).convert("RGB")
    ).astype(int)


def test_a_turned_picture_is_shown_as_the_model_sees_it(page):
    page.set_input_files("#files", file(turned(), "x.jpg"))
    expect(heats(page)).to_have_count(1)
    own = shown(page)
    page.locator("#square").check()
    expect(page.locator(".picture")).to_have_js_property("naturalWidth", 32)
    seen = shown(page)
    for pixels in (own, seen):
        height, width, _ = pixels.shape
        assert pixels[height // 8, width // 2].argmax() == 0  # red above
        assert pixels[-height // 8, width // 2].argmax() == 2
    assert own.shape[0] > own.shape[1]
    assert seen.shape[0] == pytest.approx(seen.shape[1], abs=2)


def test_a_picture_that_the_browser_does_not_know_is_shown_all_the_same(page):
    page.set_input_files("#files", file(picture("red", format_="TIFF"), "x.tif"))
    expect(heats(page)).to_have_count(1)
    expect(page.locator(".picture")).to_have_js_property("naturalWidth", 32)
    assert shown(page)[20, 20].argmax() == 0
    page.locator("#square").check()
    page.locator("#square").uncheck()
    expect(page.locator(".picture")).to_have_js_property("naturalWidth", 32)
    assert shown(page)[20, 20].argmax() == 0


INPUT = re.compile("view=input")


def fail(route: Any) -> None:
    route.fulfill(status=422, json={"error": "no luck"})


@pytest.mark.parametrize("format_", ["TIFF", "PNG"])
def test_a_picture_stays_where_only_the_models_input_fails(page, format_):
    page.route(INPUT, fail)
    page.locator("body").evaluate("() => document.querySelector('#square').checked = true")
    page.set_input_files("#files", file(picture("red", format_=format_), "x"))
    expect(heats(page)).to_have_count(1)
    expect(page.locator(".stage")).to_be_visible()
    page.unroute(INPUT)
    page.locator("#square").uncheck()
    page.locator("#square").check()
    expect(page.locator(".picture")).to_have_js_property("naturalWidth", 32)


def test_an_input_that_comes_too_late_is_not_shown(page):
    held: list[Any] = []
    page.route(INPUT, lambda route: held.append(route))
    page.set_input_files("#files", file(picture("red")))
    expect(heats(page)).to_have_count(1)
    with page.expect_request(INPUT):
        page.locator("#square").check()
    page.locator("#square").uncheck()
    with page.expect_response(INPUT) as answer:
        held[0].continue_()
    answer.value.finished()
    page.evaluate("() => new Promise((resolve) => setTimeout(resolve, 100))")
    expect(page.locator(".picture")).to_have_js_property("naturalWidth", 60)


def test_an_error_goes_when_its_cause_has_gone(page):
    page.set_input_files("#files", file(picture("red")))
    expect(heats(page)).to_have_count(1)
    page.route(re.compile("class=green"), fail)
    page.get_by_role("radio", name="green").press("Space")
    expect(page.locator(".error:visible")).to_have_text("no luck")
    page.get_by_role("radio", name="blue").press("Space")
    expect(page.locator(".error:visible")).to_have_count(0)
    expect(page.get_by_role("status")).to_have_text("1 classified")


COUNT_URLS = """() => {
  window.urls = new Set();
  const { createObjectURL, revokeObjectURL } = URL;
  URL.createObjectURL = (content) => {
    const url = createObjectURL.call(URL, content);
    window.urls.add(url);
    return url;
  };
  URL.revokeObjectURL = (url) => {
    window.urls.delete(url);
    revokeObjectURL.call(URL, url);
  };
}"""


def test_clearing_frees_everything_also_what_is_on_its_way(page):
    page.evaluate(COUNT_URLS)
    page.locator("body").evaluate("() => document.querySelector('#square').checked = true")
    page.set_input_files("#files", file(picture("red")))
    expect(heats(page)).to_have_count(1)
    expect(page.locator(".picture")).to_have_js_property("naturalWidth", 32)
    assert page.evaluate("window.urls.size") == 3
    page.route(re.compile("class=red"), lambda route: None)  # never answered
    with page.expect_request(re.compile("class=red")):
        page.set_input_files("#files", file(picture("red")))
    with page.expect_event("requestfailed"):
        page.get_by_role("button", name="Clear all").click()
    assert page.evaluate("window.urls.size") == 0
    expect(page.get_by_role("status")).to_have_text("")


def test_a_file_that_is_too_large_is_not_sent(page):
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.method))
    page.set_input_files("#files", file(bytes(1_000_001)))
    expect(page.locator(".error:visible")).to_have_text("larger than 1 MB")
    assert "POST" not in sent


def test_the_models_card(page):
    card = page.locator(".card")
    expect(card.get_by_role("heading")).to_have_text("colours")
    expect(card.locator("p.quiet")).to_be_hidden()  # the name, which is the title here
    row = card.get_by_role("row", name=re.compile("Accuracy"))
    expect(row).to_contain_text("90.0 %")
    expect(row).to_contain_text("85.0 % to 94.0 %")
    expect(card).to_contain_text("red, green, blue")


def test_a_model_of_the_pipeline_is_shown_by_its_title_and_name(browser, tmp_path):
    with serving("--model", str(renamed("finetuned", tmp_path))) as server:
        watched = Watched(browser, server.address)
        watched.page.goto("/")
        card = watched.page.locator(".card")
        expect(card.get_by_role("heading")).to_have_text("Fine-tuned backbone")
        name = card.get_by_text("finetuned", exact=True)
        expect(name).to_be_visible()
        size = "element => parseFloat(getComputedStyle(element).fontSize)"
        assert name.evaluate(size) < card.get_by_role("heading").evaluate(size)
        expect(card).not_to_contain_text("mirror")
        watched.close()


def test_of_a_model_that_averages_the_card_says_so(browser, tmp_path):
    path = renamed("finetuned", tmp_path) / "model.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"tta": 2}))
    with serving("--model", str(tmp_path)) as server:
        watched = Watched(browser, server.address)
        watched.page.goto("/")
        expect(watched.page.locator(".card")).to_contain_text("means for a picture and its mirror")
        watched.close()


def test_a_picture_unlike_the_training_pictures_is_said_to_be_so(browser, page, tmp_path_factory):
    """By a model that was trained on red alone, as it seems; not by one that does not tell it."""
    page.set_input_files("#files", file(picture("blue"), "sky.png"))
    expect(heats(page)).to_have_count(1)
    expect(page.locator(".unlike")).to_be_hidden()
    expect(page.locator(".card")).to_contain_text("not told by this model")
    with serving("--model", str(colours_models(tmp_path_factory) / "telling")) as server:
        watched = Watched(browser, server.address)
        watched.page.goto("/")
        expect(watched.page.locator(".card")).to_contain_text("said above 1")
        both = [file(picture("red"), "rose.png"), file(picture("blue"), "sky.png")]
        watched.page.set_input_files("#files", both)
        expect(heats(watched.page)).to_have_count(2)
        rose, sky = watched.page.locator(".result").all()
        expect(rose.locator(".unlike")).to_be_hidden()
        words = re.compile(
            r"^Unlike the training pictures \(1\.\d+\): its class should not be trusted"
        )
        expect(sky.locator(".unlike")).to_have_text(words)
        expect(sky.locator(".verdict")).to_have_text("blue")
        watched.close()


def test_a_page_says_what_a_person_should_decide(browser, tmp_path_factory, tmp_path):
    """The model is sure of both, but blue is unlike the pictures that it was trained on."""
    telling = colours_models(tmp_path_factory) / "telling"
    with serving("--model", str(promising_model(telling, tmp_path / "model"))) as server:
        watched = Watched(browser, server.address)
        watched.page.goto("/")
        card = watched.page.locator(".card")
        expect(card).to_contain_text("from a probability of 90.00 % on: 99.5 % of such pictures")
        both = [file(picture("red"), "rose.png"), file(picture("blue"), "sky.png")]
        watched.page.set_input_files("#files", both)
        expect(heats(watched.page)).to_have_count(2)
        rose, sky = watched.page.locator(".result").all()
        expect(rose.locator(".decision")).to_have_text(
            "Sure enough to be decided without a person."
        )
        expect(sky.locator(".decision")).to_have_text("A person should decide.")
        watched.close()


@pytest.mark.parametrize(
    ("resize", "told", "heated"),
    [
        ("letterbox", "pixels, with bars at two sides", [True, True, True]),
        ("crop", "pixels, the central square", [False, True, False]),
    ],
)
def test_heat_lies_where_the_model_looked(browser, tmp_path, resize, told, heated):
    """The upper half of a picture twice as wide as high speaks for green, as far as it is seen."""
    pixels = np.tile(np.array(COLOURS["green"], np.uint8), (40, 80, 1))
    pixels[20:] = (100, 20, 20)
    with serving("--model", str(renamed("other", tmp_path, resize=resize))) as server:
        watched = Watched(browser, server.address)
        watched.page.goto("/")
        expect(watched.page.locator("dd", has_text=re.compile(f"^32.*{told}$"))).to_be_visible()
        watched.page.set_input_files("#files", file(encode(Image.fromarray(pixels))))
        expect(heats(watched.page)).to_have_count(1)
        watched.page.locator("input[type=range]").fill("100")
        seen = screenshot(watched.page)
        height, width, _ = seen.shape
        assert width / height == pytest.approx(2, abs=0.05)
        columns = [width // 8, width // 2, -width // 8]
        # the last colour of inferno has 164 parts blue, and the picture 20
        assert (seen[height // 8, columns, 2] > 120).tolist() == heated
        assert seen[-height // 8, columns, 2].max() < 60
        watched.page.locator("#square").check()
        expect(watched.page.locator(".picture")).to_have_js_property("naturalWidth", 32)
        height, width, _ = screenshot(watched.page).shape
        assert width / height == pytest.approx(1, abs=0.05)
        watched.close()


def test_a_phones_width(page):
    page.set_viewport_size({"width": 360, "height": 700})
    page.set_input_files("#files", file(picture("red"), "a_name_" * 20 + ".png"))
    expect(heats(page)).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    box = page.locator(".stage").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 360


CONTRASTS = """() => {
  const parse = (colour) => colour.match(/\\d+/g).map(Number).slice(0, 3);
  const ground = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor;
      if (!/, 0\\)$/.test(colour)) return parse(colour);
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll("h1, h2, p, a, th, td, dt, dd, span, label, button")]
    .filter((e) => e.checkVisibility() && [...e.childNodes].some(
      (node) => node.nodeType === Node.TEXT_NODE && node.data.trim()))
    .map((e) => [e.textContent.trim(), parse(getComputedStyle(e).color), ground(e)]);
}"""


def contrast(first: list[int], second: list[int]) -> float:
    """Source: WCAG 2.2, definitions of relative luminance and contrast ratio."""
    lights = []
    for colour in (first, second):
        share = np.array(colour) / 255
        linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
        lights.append(float(linear @ [0.2126, 0.7152, 0.0722]))
    return (max(lights) + 0.05) / (min(lights) + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_contrast_as_level_aa_asks(page, scheme):
    # at once: colours on their way from one scheme to the other are none of either
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.set_input_files("#files", [file(picture("red")), file(b"no")])
    expect(heats(page)).to_have_count(1)
    expect(page.get_by_role("status")).to_contain_text("with an error")
    found = page.evaluate(CONTRASTS)
    assert len(found) > 20
    ground = np.mean([text[2] for text in found])
    assert (ground > 128) == (scheme == "light")
    assert {text[0]: c for text in found if (c := contrast(text[1], text[2])) < 4.5} == {}


def test_a_key_is_asked_for_only_where_it_is_needed(browser, page):
    expect(page.locator("#key-form")).to_be_hidden()
    environment = {"PAWPRINT_API_KEY": "opensesame"}
    with serving("--model", str(colours()), environment=environment) as server:
        keyed = browser.new_page(base_url=server.address)
        keyed.goto("/")
        keyed.set_input_files("#files", file(picture("green")))
        expect(keyed.get_by_role("status")).to_have_text("1 to go")
        field = keyed.get_by_label("API key of this server")
        field.fill("wrong-one")
        keyed.keyboard.press("Enter")
        expect(keyed.get_by_role("alert")).to_have_text("The server does not accept this key.")
        field.fill("opensesame")
        keyed.keyboard.press("Enter")
        expect(field).to_be_hidden()
        expect(keyed.locator(".verdict")).to_have_text("green")
        expect(heats(keyed)).to_have_count(1)
        keyed.set_input_files("#files", file(picture("red")))
        expect(keyed.locator(".verdict")).to_have_text(["red", "green"])
        keyed.close()


def seen_by(page: Any) -> tuple[set[str], set[str]]:
    """Open the page, let it classify five pictures → clients and models of these ten requests."""
    answers: list[Any] = []
    page.on("response", lambda answer: answers.append(answer))
    page.goto("/")
    page.set_input_files("#files", [file(picture("green"))] * 5)
    expect(heats(page)).to_have_count(5)
    asked = [answer for answer in answers if answer.request.method == "POST"]
    assert len(asked) == 10
    models = {a.headers.get("x-model-hash") or a.json()["model"]["hash"] for a in asked}
    page.close()
    return {answer.request.headers["x-client-id"] for answer in asked}, models


def test_a_page_shows_one_of_two_models(browser):
    other = ("--candidate", str(colours("red,blue,green")), "--candidate-share", "0.5")
    with serving("--model", str(colours()), *other) as server:
        clients, models = zip(
            *(seen_by(browser.new_page(base_url=server.address)) for _ in range(2)), strict=True
        )
    assert [len(some) for some in models] == [1, 1]
    assert len(set.union(*clients)) == 2
