"""What the server counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from pawprint.serving.drift import DriftMonitor

SECONDS = (0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.2, 2.5, 5, 10, 30)
PICTURES = (1, 2, 4, 8, 16, 32, 64, 128)
CONFIDENCES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1)


class Monitor:
    """Counters of one server.

    Attributes:
        drift: whether its pictures are still like those of validation.

    Args:
        queue_length: tells how many pictures are accepted and not yet answered.
        busy_decoders: tells how many decoders are at work, also for requests that were given up.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, queue_length: Callable[[], int], busy_decoders: Callable[[], int]) -> None:
        registry = self._registry = CollectorRegistry()
        self.requests = Counter(
            "pawprint_requests", "Requests.", ["path", "method", "status"], registry=registry
        )
        self.seconds = Histogram(
            "pawprint_request_seconds",
            "From the last header of a request to the end of its answer.",
            ["path"],
            buckets=SECONDS,
            registry=registry,
        )
        self.rejected = Counter(
            "pawprint_rejected", "Requests and pictures refused.", ["reason"], registry=registry
        )
        self.closed = Counter(
            "pawprint_connections_closed",
            "Connections that the server ended before their clients did.",
            ["reason"],
            registry=registry,
        )
        self.batch_sizes = Histogram(
            "pawprint_batch_pictures",
            "Pictures that a model was given at a time.",
            ["model"],
            buckets=PICTURES,
            registry=registry,
        )
        self.model_requests = Counter(
            "pawprint_model_requests",
            "Requests by the model that was to answer.",
            ["model", "path", "status"],
            registry=registry,
        )
        self.model_seconds = Histogram(
            "pawprint_model_request_seconds",
            "The same as pawprint_request_seconds, by the model that was to answer.",
            ["model", "path"],
            buckets=SECONDS,
            registry=registry,
        )
        self.predictions = Counter(
            "pawprint_predictions",
            "Pictures by their most probable class.",
            ["model", "class"],
            registry=registry,
        )
        self.confidences = Histogram(
            "pawprint_confidence",
            "Probability of the most probable class.",
            ["model"],
            buckets=CONFIDENCES,
            registry=registry,
        )
        self.drift = DriftMonitor(registry)
        self.shadows = Counter(
            "pawprint_shadow_pictures",
            "Pictures that the shadow model saw too: same or other class, or dropped.",
            ["outcome"],
            registry=registry,
        )
        self.models = Gauge(
            "pawprint_model_info", "Models served.", ["model", "name", "hash"], registry=registry
        )
        queue = Gauge(
            "pawprint_queue_pictures", "Pictures accepted, not yet answered.", registry=registry
        )
        queue.set_function(queue_length)
        decoders = Gauge("pawprint_decoders_busy", "Decoders at work.", registry=registry)
        decoders.set_function(busy_decoders)

    def count_predictions(
        self, role: str, class_names: Sequence[str], rows: Iterable[np.ndarray]
    ) -> None:
        """Count pictures, of each its probabilities float32 [C], under the model that saw them."""
        confidences = self.confidences.labels(role)
        for probs in rows:
            best = int(probs.argmax())
            self.predictions.labels(role, class_names[best]).inc()
            confidences.observe(float(probs[best]))

    def render(self) -> bytes:
        """All counters in Prometheus' text format."""
        return generate_latest(self._registry)
