"""From files to answers: decoding, batching and counting, whatever the protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from pawprint.runner.errors import ImageError, ImageFault
from pawprint.runner.processes import available_cores
from pawprint.serving.batching import Batcher, Work
from pawprint.serving.limits import Limits
from pawprint.serving.models import Models, Served
from pawprint.serving.monitoring import Monitor
from pawprint.serving.pictures import encode_png
from pawprint.serving.settings import Settings
from pawprint.serving.uploads import Upload

Value = TypeVar("Value")


@dataclass(frozen=True)
class Seen:
    """A picture that a model has seen.

    Attributes:
        image: uint8 [size, size, 3] in 0...255.
        probs: float32 [C].
    """

    image: np.ndarray
    probs: np.ndarray


class Service:
    """The models at work; `start` before anything else, `stop` at the end.

    Attributes:
        started: whether pictures can be answered.
        ready: whether they are welcome; not so any more when the server is about to stop.
        failure: what kept it from starting.
    """

    def __init__(self, settings: Settings, models: Models) -> None:
        self.settings = settings
        self.models = models
        self.limits = Limits(settings)
        self.monitor = Monitor(lambda: self.limits.pictures)
        self.started = False
        self.ready = False
        self.failure: Exception | None = None
        self._predict = {served.role: self._counted(served) for served in models.all()}
        self._shadows: set[asyncio.Task[None]] = set()
        self._shadow_bytes = 0
        for served in models.all():
            name = served.classifier.card.name
            self.monitor.models.labels(served.role, name, served.hash).set(1)

    async def start(self) -> None:
        """Start the threads, and let each model see a picture, for the first one takes longest."""
        settings = self.settings
        self._pool = ThreadPoolExecutor(available_cores(), "decode")
        self._batcher = Batcher(settings.max_batch, settings.max_wait_ms / 1000, settings.queue)
        try:
            for served in self.models.all():
                size = served.classifier.card.image_size
                image = np.zeros((size, size, 3), np.uint8)
                await self.decode(served, Upload(None, encode_png(image)))
                await self.look(served, image, -1)
        except Exception as error:
            self.failure = error
        else:
            self.started = self.ready = True

    async def stop(self) -> None:
        """Finish what is queued and end the threads."""
        self.ready = False
        for task in self._shadows:
            task.cancel()
        await asyncio.to_thread(self._batcher.stop)
        self._pool.shutdown(cancel_futures=True)

    async def run(self, function: Callable[..., Value], *arguments: object) -> Value:
        """A function of plain computation, in another thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    async def decode(self, served: Served, upload: Upload) -> np.ndarray:
        """The picture as the model sees it, uint8 [size, size, 3].

        Raises:
            ImageError: it cannot be decoded; this is counted.
        """
        try:
            if upload.content is None:
                raise ImageError("not base64", ImageFault.BASE64)
            return await self.run(served.decode, upload.content)
        except ImageError as error:
            self.monitor.rejected.labels(error.fault).inc()
            raise

    async def classify(self, served: Served, uploads: list[Upload]) -> list[Seen | ImageError]:
        """What a model says to each picture, or why it says nothing."""
        results = await asyncio.gather(*(self._classify_one(served, upload) for upload in uploads))
        seen = [result for result in results if isinstance(result, Seen)]
        self._count(served, [one.probs for one in seen])
        if self.models.candidate and self.models.shadow:
            for upload, result in zip(uploads, results, strict=True):
                if isinstance(result, Seen):
                    self._show(self.models.candidate, upload, result)
        return results

    async def look(self, served: Served, image: np.ndarray, class_: int) -> np.ndarray:
        """The heatmap float32 [h, w] in 0...1 of a decoded picture; class -1: the most probable."""
        self._batcher.announce()
        return await self._batcher.submit(served.look, image, class_)

    async def _classify_one(self, served: Served, upload: Upload) -> Seen | ImageError:
        self._batcher.announce()
        try:
            image = await self.decode(served, upload)
        except ImageError as error:
            self._batcher.withdraw()
            return error
        except BaseException:
            self._batcher.withdraw()
            raise
        probs = await self._batcher.submit(self._predict[served.role], image)
        return Seen(image, probs)

    def _show(self, served: Served, upload: Upload, seen: Seen) -> None:
        """Let the candidate see a picture when there is time, unless too much waits for that.

        What waits outlives its request and the limits on that, so it is pixels, of which the
        batcher takes so many. Files that the candidate wants in another size wait to be decoded
        up to the size of one request.
        """
        fits = len(seen.image) == served.classifier.card.image_size
        picture = seen.image if fits else upload.content or b""
        size = 0 if isinstance(picture, np.ndarray) else len(picture)
        if self._shadow_bytes + size > self.settings.max_body_bytes:
            self.monitor.shadows.labels("dropped").inc()
            return
        self._shadow_bytes += size
        task = asyncio.create_task(self._shadow(served, picture, int(seen.probs.argmax())))
        self._shadows.add(task)
        task.add_done_callback(self._shadows.discard)

    async def _shadow(self, served: Served, picture: np.ndarray | bytes, answered: int) -> None:
        """Show a picture to the candidate, and count whether it says what was answered."""
        if isinstance(picture, bytes):
            size = len(picture)
            try:
                picture = await self.run(served.decode, picture)
            except ImageError:  # its limits may be others
                self.monitor.shadows.labels("dropped").inc()
                return
            finally:
                self._shadow_bytes -= size
        done = self._batcher.submit_background(self._predict[served.role], picture)
        if done is None:
            self.monitor.shadows.labels("dropped").inc()
            return
        probs = await done
        self.monitor.shadows.labels("same" if probs.argmax() == answered else "other").inc()
        self._count(served, [probs])

    def _count(self, served: Served, rows: list[np.ndarray]) -> None:
        if rows:
            self.monitor.count_predictions(served.role, served.class_names, np.stack(rows))

    def _counted(self, served: Served) -> Work:
        sizes = self.monitor.batch_sizes.labels(served.role)

        def predict(images: np.ndarray, classes: np.ndarray) -> np.ndarray:
            sizes.observe(len(images))
            return served.predict(images, classes)

        return predict
