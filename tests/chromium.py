"""What the tests of pages in a real browser share, besides the fixture of the browser itself."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs a browser of the name chromium")


class Watched:
    """A page of a browser, with all that it asks for and says.

    Args:
        browser: the fixture.
        address: of the server whose page it is.
        size: its width and height in pixels.
    """

    def __init__(self, browser: Any, address: str, size: tuple[int, int] = (1000, 800)) -> None:
        viewport = {"width": size[0], "height": size[1]}
        self.page = browser.new_page(viewport=viewport, base_url=address)
        self._address = address
        self._asked: list[str] = []
        self._errors: list[str] = []
        self.page.on("request", lambda request: self._asked.append(request.url))
        self.page.on("pageerror", lambda error: self._errors.append(str(error)))
        self.page.on("console", lambda message: self._errors.append(message.text))

    def close(self, *, expected: str = "422") -> None:
        """The page asked no other host for anything, nor met an error but those with this text."""
        self.page.close()
        assert all(url.startswith((self._address, "blob:", "data:")) for url in self._asked)
        assert [text for text in self._errors if expected not in text] == []


def expect(*arguments: Any) -> Any:
    from playwright.sync_api import expect as expect_

    return expect_(*arguments)


def file(content: bytes, name: str = "x.png") -> Any:
    return {"name": name, "mimeType": "image/png", "buffer": content}
