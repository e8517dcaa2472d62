"""Pictures of many requests share batches, and none waits without a reason."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from threading import Event
from typing import Any

import numpy as np
import pytest

from pawprint.serving.batching import Batcher

# covers: R18

LONG_S = 60


class Adder:
    """Work that adds its picture's first value and class, and remembers its batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def work(self, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
        self.batches.append(images[:, 0, 0, 0].tolist())
        return images[:, 0, 0, 0].astype(int) + classes


def image(value: int, size: int = 4) -> np.ndarray:
    return np.full((size, size, 3), value, np.uint8)


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, 10))


def test_a_lone_picture_is_not_delayed():
    async def scenario() -> None:
        adder, batcher = Adder(), Batcher(8, LONG_S, 1)
        batcher.announce()
        assert await batcher.submit(adder.work, image(3), 40) == 43
        batcher.stop()

    run(scenario())


def test_a_batch_waits_for_pictures_that_are_being_decoded():
    async def scenario() -> None:
        adder, batcher = Adder(), Batcher(8, LONG_S, 1)
        for _ in range(3):
            batcher.announce()
        first = batcher.submit(adder.work, image(1))
        await asyncio.sleep(0.05)
        assert not first.done()
        second = batcher.submit(adder.work, image(2))
        await asyncio.sleep(0.05)
        assert not first.done()
        batcher.withdraw()  # the third one cannot be decoded
        assert [await first, await second] == [0, 1]
        assert adder.batches == [[1, 2]]
        batcher.stop()

    run(scenario())


def test_a_batch_waits_no_longer_than_it_may():
    async def scenario() -> None:
        adder, batcher = Adder(), Batcher(8, 0.05, 1)
        batcher.announce()
        batcher.announce()
        assert await batcher.submit(adder.work, image(1), 1) == 2
        batcher.stop()

    run(scenario())


class Gate:
    """Work that lasts until it is opened."""

    def __init__(self) -> None:
        self.opened = Event()

    def work(self, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
        self.opened.wait(LONG_S)
        return classes


def test_batches_are_full_in_order_and_of_one_kind():
    async def scenario() -> None:
        gate, adder, other, batcher = Gate(), Adder(), Adder(), Batcher(3, 0, 1)
        kinds = [(adder, 4), (other, 4), (adder, 4), (adder, 6), (adder, 4), (adder, 4)]
        for _ in range(len(kinds) + 1):
            batcher.announce()
        batcher.submit(gate.work, image(0))
        await asyncio.sleep(0.05)
        jobs = [
            batcher.submit(kind.work, image(value, size), 10)
            for value, (kind, size) in enumerate(kinds)
        ]
        gate.opened.set()
        assert await asyncio.gather(*jobs) == [10, 11, 12, 13, 14, 15]
        assert adder.batches == [[0, 2, 4], [3], [5]]
        assert other.batches == [[1]]
        batcher.stop()

    run(scenario())


def test_what_nobody_waits_for_is_not_worked_on():
    async def scenario() -> None:
        adder, batcher = Adder(), Batcher(8, LONG_S, 1)
        for _ in range(3):
            batcher.announce()
        gone, kept = (batcher.submit(adder.work, image(value)) for value in (1, 2))
        gone.cancel()
        batcher.withdraw()
        assert await kept == 1
        assert adder.batches == [[2]]
        batcher.stop()

    run(scenario())


def test_a_failure_is_that_of_its_batch_alone():
    def fail(images: np.ndarray, classes: np.ndarray) -> np.ndarray:
        raise ValueError("no such thing")

    async def scenario() -> None:
        adder, batcher = Adder(), Batcher(8, LONG_S, 1)
        for _ in range(2):
            batcher.announce()
        bad, good = batcher.submit(fail, image(1)), batcher.submit(adder.work, image(1))
        with pytest.raises(ValueError, match="no such thing"):
            await bad
        assert await good == 0
        batcher.stop()

    run(scenario())


def test_the_background_comes_last_and_is_limited():
    async def scenario() -> None:
        gate, adder, batcher = Gate(), Adder(), Batcher(8, 0, 2)
        for _ in range(3):
            batcher.announce()
        batcher.submit(gate.work, image(0))
        await asyncio.sleep(0.05)
        *background, refused = [
            batcher.submit_background(adder.work, image(value)) for value in (7, 8, 9)
        ]
        assert refused is None
        jobs = [batcher.submit(adder.work, image(value)) for value in (1, 2)]
        gate.opened.set()
        await asyncio.gather(*jobs, *(job for job in background if job))
        assert adder.batches == [[1, 2], [7, 8]]
        batcher.stop()

    run(scenario())


def test_stopping_finishes_what_is_queued():
    async def scenario() -> None:
        adder, batcher = Adder(), Batcher(2, LONG_S, 1)
        for _ in range(6):
            batcher.announce()
        jobs = [batcher.submit(adder.work, image(value), 1) for value in range(5)]
        batcher.stop()
        assert await asyncio.gather(*jobs) == [1, 2, 3, 4, 5]

    run(scenario())
