"""Runs models in one thread, on the pictures of many requests at a time."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Condition, Thread
from typing import Any

import numpy as np

Work = Callable[[np.ndarray, np.ndarray], Sequence[Any] | np.ndarray]
"""uint8 [n, size, size, 3] in 0...255 and int [n] (classes; -1 where none is asked for) → n
results. Equal work shares a batch."""


@dataclass
class Job:
    """One picture for one kind of work."""

    work: Work
    image: np.ndarray
    class_: int
    done: asyncio.Future[Any]


class Batcher:
    """A thread that works on pictures in batches.

    A picture that comes while the thread is idle starts at once, unless others are being decoded:
    then the batch waits for these, up to `max_wait_s`. While a batch runs, the next one gathers.

    Args:
        max_batch: pictures at a time.
        max_wait_s: for pictures that were announced.
        max_background: background jobs that may wait.
    """

    def __init__(self, max_batch: int, max_wait_s: float, max_background: int) -> None:
        self._max_batch = max_batch
        self._max_wait_s = max_wait_s
        self._max_background = max_background
        self._changed = Condition()
        self._jobs: deque[Job] = deque()
        self._background: deque[Job] = deque()
        self._announced = 0
        self._stopping = False
        self._loop = asyncio.get_running_loop()
        self._thread = Thread(target=self._run, name="batcher", daemon=True)
        self._thread.start()

    def announce(self) -> None:
        """Say that a picture will be submitted, or withdrawn, soon."""
        with self._changed:
            self._announced += 1

    def withdraw(self) -> None:
        """Take back an announcement."""
        with self._changed:
            self._announced -= 1
            self._changed.notify()

    def submit(self, work: Work, image: np.ndarray, class_: int = -1) -> asyncio.Future[Any]:
        """Queue a picture that was announced.

        Args:
            work: what to do with it.
            image: uint8 [size, size, 3] in 0...255.
            class_: passed on to `work`.

        Returns:
            The picture's own of the results; cancelling it saves the work if it has not begun.
        """
        job = Job(work, image, class_, self._loop.create_future())
        with self._changed:
            self._announced -= 1
            self._jobs.append(job)
            self._changed.notify()
        return job.done

    def submit_background(self, work: Work, image: np.ndarray) -> asyncio.Future[Any] | None:
        """Queue a picture that may wait until nothing else is queued; None: too many wait."""
        with self._changed:
            if len(self._background) >= self._max_background:
                return None
            job = Job(work, image, -1, self._loop.create_future())
            self._background.append(job)
            self._changed.notify()
        return job.done

    def stop(self) -> None:
        """Finish what is queued, except in the background, and end the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._next_batch():
            results: Sequence[Any] | np.ndarray | Exception
            try:
                images = np.stack([job.image for job in batch])
                results = batch[0].work(images, np.array([job.class_ for job in batch]))
            except Exception as error:
                results = error
            self._loop.call_soon_threadsafe(_settle, batch, results)

    def _next_batch(self) -> list[Job]:
        """The pictures to work on next, waiting for them; none: the end."""
        with self._changed:
            while True:
                while not (self._jobs or self._background or self._stopping):
                    self._changed.wait()
                if not self._jobs and self._stopping:
                    return []
                if self._jobs:
                    self._wait_for_more()
                queue = self._jobs or self._background
                batch = self._take(queue)
                if batch:
                    return batch

    def _wait_for_more(self) -> None:
        deadline = time.monotonic() + self._max_wait_s
        while self._announced and len(self._jobs) < self._max_batch and not self._stopping:
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not self._changed.wait(left_s):
                return

    def _take(self, queue: deque[Job]) -> list[Job]:
        """The first jobs of the same work, in order; those that nobody waits for are dropped."""
        batch: list[Job] = []
        others: list[Job] = []
        while queue and len(batch) < self._max_batch:
            job = queue.popleft()
            if job.done.done():
                continue
            if not batch or (job.work, job.image.shape) == (batch[0].work, batch[0].image.shape):
                batch.append(job)
            else:
                others.append(job)
        queue.extendleft(reversed(others))
        return batch


def _settle(batch: list[Job], results: Sequence[Any] | np.ndarray | Exception) -> None:
    for i, job in enumerate(batch):
        if job.done.done():
            continue
        if isinstance(results, Exception):
            job.done.set_exception(results)
        else:
            job.done.set_result(results[i])
