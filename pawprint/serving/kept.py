"""The last pictures' features, where the server was told to keep them: in memory, and no pixels."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime

import numpy as np

from pawprint.serving.models import ModelAnswer, Served
from pawprint.suggestions.kept import KeptPicture, KeptPictures

_TEXT_BYTES = 1000  # of a picture's names, and of Python's objects, about


class FeatureRing:
    """What a model found in the last pictures that it answered for; older ones are forgotten.

    Args:
        served: the model.
        most: how many.
    """

    def __init__(self, served: Served, most: int) -> None:
        self._served, self._most = served, most
        self._pictures: deque[KeptPicture] = deque(maxlen=most)

    def describe(self) -> str:
        """What is kept, for whoever starts the server."""
        side = self._served.classifier.card.image_size
        probs, features = self._served.classifier.features(np.zeros((1, side, side, 3), np.uint8))
        size = self._most * (probs.nbytes + features.nbytes + _TEXT_BYTES)
        return (
            f"of the last {self._most:,} pictures of the {self._served.role} model "
            f"{features.shape[1]:,} features each are kept, with their names, the SHA-256 of their "
            f"files and the ids of their requests: {size / 1e6:,.1f} MB of memory at most, and "
            "nothing on disk; GET /v1/kept gives them. No picture is kept"
        )

    def add(self, sha256: str, name: str | None, request_id: str, said: ModelAnswer) -> None:
        """Keep what was found in a picture; nothing of a model that gives no features.

        Args:
            sha256: of its file, in hexadecimal.
            name: as the client said, if it did.
            request_id: of its request.
            said: with features.
        """
        if said.features is None:
            return
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        # Copies: each row alone would keep its whole batch
        arrays = said.probs.copy(), said.features.copy()
        self._pictures.append(KeptPicture(sha256, name or "", request_id, time, *arrays))

    def list_pictures(self) -> KeptPictures:
        """All that is kept by now."""
        card = self._served.classifier.card
        return KeptPictures(card.name, list(card.class_names), list(self._pictures))
