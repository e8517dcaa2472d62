"""What the kernel ends, and what is said of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pawprint.runner.errors import PawprintError
from pawprint.runner.journal import map_shards
from pawprint.runner.limits import limited_memory
from pawprint.runner.processes import contained

ROOT = Path(__file__).parents[1]
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits what is mapped")


def work(name: str) -> str:
    with contained(name, 0.1):
        if name == "cat/endless.jpg":
            while True:
                pass
        if name == "cat/crash.jpg":
            os._exit(7)
        if name == "cat/killed.jpg":
            os.kill(os.getpid(), signal.SIGKILL)
        if name == "cat/large.jpg":
            raise MemoryError
    return name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "cat/endless.jpg",
            r"^decoding: cat/endless\.jpg took more processor time than any picture should: "
            r"remove it, or lower preprocess\.max_pixels$",
        ),
        (
            "cat/crash.jpg",
            r"^decoding: cat/crash\.jpg ended its process \(exit code 7\): remove it$",
        ),
        ("cat/killed.jpg", r"^decoding: a worker process was killed at cat/killed\.jpg, perhaps"),
        ("cat/large.jpg", r"^cat/large\.jpg took more memory than any picture should: remove it, "),
    ],
)
def test_the_picture_that_ends_a_worker_is_named(name: str, message: str) -> None:
    with pytest.raises(PawprintError, match=message):
        map_shards(work, ["cat/1.jpg", name, "cat/2.jpg"], "decoding")


@linux
def test_memory_is_limited_within_the_block_alone() -> None:
    with limited_memory(100_000_000):
        np.ones(50_000_000, np.uint8)
        with pytest.raises(MemoryError):
            np.ones(200_000_000, np.uint8)
    np.ones(200_000_000, np.uint8)


BURN = """
import time
from pawprint.runner.limits import limited_cpu
with limited_cpu(0.2):
    time.sleep(0.4)  # takes no processor time
print("slept", flush=True)
with limited_cpu(0.2):
    pass
end = time.process_time() + 0.5
while time.process_time() < end:
    pass
print("burned outside", flush=True)
with limited_cpu(0.2):
    sum(range(10**12))  # does not return to Python
"""


def test_processor_time_is_limited_within_the_block_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BURN],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    )
    assert done.stdout.decode().splitlines() == ["slept", "burned outside"]
    assert done.returncode == -signal.SIGPROF
