"""What several test files share."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import CHROMIUM

from pawprint.networks.runtime import start_tensorflow
from pawprint.runner.params import Params
from pawprint.runner.params_file import load_params

# A shell has what it starts in the background ignore Ctrl-C, and all that this starts inherits it
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def tensorflow() -> None:
    """TensorFlow as every stage starts it; it must come before the first tensor of the session."""
    start_tensorflow(threads=2, seed=0)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A real browser without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def committed() -> Params:
    """The parameters of the repository."""
    return load_params(Path(__file__).resolve().parent.parent / "params.yaml")


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Bytes are no part of a test's name: archives hold the time, and the processes of one run must
    find the same names."""
    return argname if isinstance(val, bytes) else None
