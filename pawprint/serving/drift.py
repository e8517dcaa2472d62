"""Whether the pictures that come in are still like those of validation, for Prometheus.

What a window is, and how it is compared: ``pawprint.deciding.watch``. No picture is kept, and a
window that is not full when the server stops is forgotten.
"""

from __future__ import annotations

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from pawprint.deciding.watch import Reference, Watch
from pawprint.serving.logs import LOGGER

_UNLIKENESS_EDGES = (0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.5, 2, 3, 5, 10)
_BRIGHTNESS_EDGES = range(16, 256, 16)


class DriftMonitor:
    """Counters of what is unlike the training pictures, and of windows that are unlike validation.

    Args:
        registry: where they are found.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.unlike = Counter(
            "pawprint_unlike",
            "Pictures unlike the training pictures.",
            ["model"],
            registry=registry,
        )
        self.unlikeness = Histogram(
            "pawprint_unlikeness",
            "How unlike the training pictures; 1: as one in a hundred of validation, by default.",
            ["model"],
            buckets=_UNLIKENESS_EDGES,
            registry=registry,
        )
        self.brightness = Histogram(
            "pawprint_brightness",
            "How bright the pictures are: the mean of their values, in 0...255.",
            ["model"],
            buckets=_BRIGHTNESS_EDGES,
            registry=registry,
        )
        self.windows = Counter(
            "pawprint_drift_windows",
            "Windows of pictures that were compared with validation.",
            ["model"],
            registry=registry,
        )
        self.alarms = Counter(
            "pawprint_drift_alarms",
            "Windows that are not as validation, by what differs.",
            ["model", "signal"],
            registry=registry,
        )
        self.distance = Gauge(
            "pawprint_drift_distance",
            "Of the last window from validation, in parts of what is allowed: above 1 is an alarm.",
            ["model", "signal"],
            registry=registry,
        )
        self.pictures = Gauge(
            "pawprint_drift_window_pictures", "Pictures of a window.", ["model"], registry=registry
        )
        self._watches: dict[str, Watch] = {}

    def follow(self, role: str, reference: Reference) -> None:
        """Compare the pictures that a model sees from now on; its counters begin at 0."""
        self._watches[role] = Watch(reference)
        self.pictures.labels(role).set(reference.window)
        self.windows.labels(role)
        for signal in reference.signals:  # an increase from nothing would be none to Prometheus
            self.alarms.labels(role, signal)

    def add(
        self,
        role: str,
        probs: np.ndarray,
        unlikeness: float | None,
        unlike: bool,
        brightness: float,
    ) -> None:
        """Take in a picture.

        Args:
            role: of the model that saw it.
            probs: float32 [C].
            unlikeness: of the picture; None where the model does not tell it.
            unlike: whether it is called so.
            brightness: of the picture, in 0...255.
        """
        self.brightness.labels(role).observe(brightness)
        if unlikeness is not None:
            self.unlikeness.labels(role).observe(unlikeness)
            self.unlike.labels(role).inc(unlike)
        if (watch := self._watches.get(role)) is None:
            return
        found = watch.add(probs, unlikeness, unlike, brightness)
        if not found:
            return
        self.windows.labels(role).inc()
        for signal, distance in found.items():
            self.distance.labels(role, signal).set(distance)
            self.alarms.labels(role, signal).inc(distance > 1)
        if odd := [signal for signal, distance in found.items() if distance > 1]:
            LOGGER.warning(
                f"drift: the last {watch.reference.window} pictures of the {role} model are not as "
                f"validation: {', '.join(odd)}"
            )
