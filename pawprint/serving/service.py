"""From files to answers: decoding, batching and counting, whatever the protocol."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from pawprint.runner.errors import ImageError
from pawprint.runner.processes import available_cores
from pawprint.serving.batching import Batcher, Work
from pawprint.serving.decoding import Allowance, DecodingRoom
from pawprint.serving.kept import FeatureRing
from pawprint.serving.limits import Limits
from pawprint.serving.logs import LOGGER
from pawprint.serving.models import ModelAnswer, Models, Served
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
        said: what the model says of it.
    """

    image: np.ndarray
    said: ModelAnswer


class Service:
    """The models at work; `start` before anything else, `stop` at the end.

    Attributes:
        started: whether pictures can be answered.
        stopping: whether no more are welcome, since the server is about to stop.
        failure: what kept it from starting.
        ring: what is kept of the last pictures; None: nothing, as usual.
    """

    def __init__(self, settings: Settings, models: Models) -> None:
        self.settings = settings
        self.models = models
        self.limits = Limits(settings)
        self.monitor = Monitor(lambda: self.limits.pictures, lambda: self.busy_decoders)
        self.started = False
        self.stopping = False
        self.failure: Exception | None = None
        kept = settings.keep_features
        self.ring = FeatureRing(models.primary, kept) if kept else None
        self._room: DecodingRoom | None = None
        self._predict = {served.role: self._counted(served) for served in models.all()}
        self._shadows: set[asyncio.Task[None]] = set()
        self._shadow_bytes = 0
        for served in models.all():
            name = served.classifier.card.name
            self.monitor.models.labels(served.role, name, served.hash).set(1)
            if served.reference:
                self.monitor.drift.follow(served.role, served.reference)

    @property
    def ready(self) -> bool:
        """Whether pictures are welcome."""
        stuck = self._room is not None and self._room.stuck
        return self.started and not self.stopping and not stuck

    @property
    def busy_decoders(self) -> int:
        return self._room.busy if self._room else 0

    async def start(self) -> None:
        """Start threads and decoders; let each model see a picture: the first one takes longest."""
        settings = self.settings
        self._pool = ThreadPoolExecutor(available_cores(), "work")
        self._batcher = Batcher(settings.max_batch, settings.max_wait_ms / 1000, settings.queue)
        if settings.decoder_count < settings.wanted_decoders:
            LOGGER.warning(
                f"{settings.decoder_count} instead of {settings.wanted_decoders} decoders, as "
                f"--max-memory-mb = {settings.max_memory_mb:g} allows"
            )
        try:
            largest = max(served.classifier.card.image_size for served in self.models.all())
            self._room = await asyncio.to_thread(DecodingRoom, settings, largest)
            for served in self.models.all():
                size = served.classifier.card.image_size
                image = np.zeros((size, size, 3), np.uint8)
                await self.decode(served, Upload(None, encode_png(image)), self.open_allowance())
                await self.look(served, image, -1)
        except Exception as error:
            self.failure = error
        else:
            self.started = True

    async def stop(self) -> None:
        """Finish what is queued and end threads and decoders."""
        self.stopping = True
        for task in self._shadows:
            task.cancel()
        await asyncio.to_thread(self._batcher.stop)
        if self._room:
            await asyncio.to_thread(self._room.close)
        self._pool.shutdown(cancel_futures=True)

    def open_allowance(self) -> Allowance:
        """What a request may have decoded."""
        assert self._room is not None  # requests are refused until it is there
        return self._room.open_allowance()

    async def run(self, function: Callable[..., Value], *arguments: object) -> Value:
        """A function of plain computation, in another thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    async def decode(self, served: Served, upload: Upload, allowance: Allowance) -> np.ndarray:
        """The picture as the model sees it, uint8 [size, size, 3].

        Args:
            served: the model.
            upload: the picture.
            allowance: of the request.

        Raises:
            ImageError: it cannot be decoded; this is counted.
        """
        assert self._room is not None
        try:
            return await self._room.decode(served, upload, allowance)
        except ImageError as error:
            self.monitor.rejected.labels(error.fault).inc()
            raise

    async def classify(
        self, served: Served, uploads: list[Upload], request_id: str = ""
    ) -> list[Seen | ImageError]:
        """What a model says to each picture of a request, or why it says nothing."""
        allowance = self.open_allowance()
        results = await asyncio.gather(
            *(self._classify_one(served, upload, allowance) for upload in uploads)
        )
        seen = [result for result in results if isinstance(result, Seen)]
        self._count(served, [one.said for one in seen])
        if self.ring and served is self.models.primary:
            for upload, result in zip(uploads, results, strict=True):
                if isinstance(result, Seen):
                    await self._keep(self.ring, upload, request_id, result.said)
        if self.models.candidate and self.models.shadow:
            for upload, result in zip(uploads, results, strict=True):
                if isinstance(result, Seen):
                    self._show(self.models.candidate, upload, result)
        return results

    async def look(self, served: Served, image: np.ndarray, class_: int) -> np.ndarray:
        """The heatmap float32 [h, w] in 0...1 of a decoded picture; class -1: the most probable."""
        self._batcher.announce()
        return await self._batcher.submit(served.look, image, class_)

    async def _classify_one(
        self, served: Served, upload: Upload, allowance: Allowance
    ) -> Seen | ImageError:
        self._batcher.announce()
        try:
            image = await self.decode(served, upload, allowance)
        except ImageError as error:
            self._batcher.withdraw()
            return error
        except BaseException:
            self._batcher.withdraw()
            raise
        said = await self._batcher.submit(self._predict[served.role], image)
        return Seen(image, said)

    def _show(self, served: Served, upload: Upload, seen: Seen) -> None:
        """Let the candidate see a picture when there is time, unless too much waits for that.

        What waits outlives its request and the limits on that, so it is pixels, of which the
        batcher takes so many. Files that the candidate sees otherwise wait to be decoded, up to the
        size of one request.
        """
        picture = seen.image if served.sees_as(self.models.primary) else upload.content or b""
        size = 0 if isinstance(picture, np.ndarray) else len(picture)
        if self._shadow_bytes + size > self.settings.max_body_bytes:
            self.monitor.shadows.labels("dropped").inc()
            return
        self._shadow_bytes += size
        task = asyncio.create_task(self._shadow(served, picture, int(seen.said.probs.argmax())))
        self._shadows.add(task)
        task.add_done_callback(self._shadows.discard)

    async def _shadow(self, served: Served, picture: np.ndarray | bytes, answered: int) -> None:
        """Show a picture to the candidate, and count whether it says what was answered."""
        if isinstance(picture, bytes):
            size = len(picture)
            try:
                assert self._room is not None
                allowance = self.open_allowance()
                picture = await self._room.decode(served, Upload(None, picture), allowance)
            except ImageError:  # its limits may be others
                self.monitor.shadows.labels("dropped").inc()
                return
            finally:
                self._shadow_bytes -= size
        done = self._batcher.submit_background(self._predict[served.role], picture)
        if done is None:
            self.monitor.shadows.labels("dropped").inc()
            return
        said: ModelAnswer = await done
        same = said.probs.argmax() == answered
        self.monitor.shadows.labels("same" if same else "other").inc()
        self._count(served, [said])

    async def _keep(
        self, ring: FeatureRing, upload: Upload, request_id: str, said: ModelAnswer
    ) -> None:
        digest = await self.run(hashlib.sha256, upload.content)
        ring.add(digest.hexdigest(), upload.name, request_id, said)

    def _count(self, served: Served, said: list[ModelAnswer]) -> None:
        for one in said:
            told = one.unlikeness
            ratio = told.ratio if told else None
            seen = one.probs, ratio, bool(told and told.unlike), one.brightness
            self.monitor.drift.add(served.role, *seen)
        rows = [one.probs for one in said]
        self.monitor.count_predictions(served.role, served.classifier.card.class_names, rows)

    def _counted(self, served: Served) -> Work:
        sizes = self.monitor.batch_sizes.labels(served.role)

        def predict(images: np.ndarray, classes: np.ndarray) -> list[ModelAnswer]:
            sizes.observe(len(images))
            return served.predict(images, classes)

        return predict
