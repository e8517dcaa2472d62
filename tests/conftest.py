"""What several test files share."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from chromium import CHROMIUM
from living import descendants, wait_until
from ten_classes import SHARED

from pawprint.networks.runtime import start_tensorflow
from pawprint.runner.params import Params
from pawprint.runner.params_file import load_params

# They take minutes: begun last, one of them would keep all processes but its own waiting
LONGEST = (
    *("test_pipeline.py", "test_studies.py", "test_search.py", "test_scale.py", "test_cluster.py"),
    *("test_sharing.py", "test_resume.py", "test_growth.py", "test_fuzz.py", "test_backbones.py"),
)
# Tests that import TensorFlow themselves do so as start_tensorflow does: it cannot be set later
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"
# A shell has what it starts in the background ignore Ctrl-C, and all that this starts inherits it
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def tensorflow() -> None:
    """TensorFlow as every stage starts it: before the first tensor, whichever test makes that."""
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
def ray_node() -> Iterator[str]:
    """The address of a Ray cluster of one node, which this machine has joined."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="ray") as directory:  # sockets want a short path
        command = [str(Path(sys.executable).parent / "ray"), "start", "--head", "--block"]
        command += [f"--port={port}", "--node-ip-address=127.0.0.1", "--num-cpus=2"]
        command += [f"--temp-dir={directory}", "--object-store-memory=200000000"]
        command += ["--include-dashboard=false", "--disable-usage-stats"]
        log = Path(directory, "log")
        with open(log, "wb") as file:
            node = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)
        started = wait_until(lambda: b"Ray runtime started" in log.read_bytes(), 90)
        assert started, log.read_text()
        yield f"127.0.0.1:{port}"
        for pid in descendants(node.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        node.wait()


@pytest.fixture(scope="session")
def committed() -> Params:
    """The parameters of the repository."""
    return load_params(Path(__file__).resolve().parent.parent / "params.yaml")


def pytest_configure(config: pytest.Config) -> None:
    """A directory for what the processes of one run share, as long as it lasts."""
    if not hasattr(config, "workerinput"):
        shared = tempfile.TemporaryDirectory(prefix="pawprint-tests-")
        config.add_cleanup(shared.cleanup)
        os.environ[SHARED] = shared.name


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first; all others, and the tests of a file, in their order."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Bytes are no part of a test's name: archives hold the time, and the processes of one run must
    find the same names."""
    return argname if isinstance(val, bytes) else None
