"""Whether what is promised holds, in the project of a finished run: python -m bench.deciding

Promises: validation and test pictures are put together and divided anew, again and again; by one
part a threshold is chosen, and the other says whether the promised precision is found.

Drift: windows of test pictures in random order, and how many of them raise an alarm; then windows
of the same pictures darkened and blurred, and of the pictures of no class in a folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from pawprint.data.datasets import read_labelled_images
from pawprint.deciding.outcome import Judgements
from pawprint.deciding.promise import make_promise
from pawprint.deciding.watch import Reference, Watch
from pawprint.inference.classifier import Classifier
from pawprint.runner.params import DecidingParams

SEEN = 400  # pictures of each change: two windows, by the defaults
CHANGES = {
    "as they are": lambda image: image,
    "half as bright": lambda image: image.point(lambda value: value // 2),
    "a quarter as bright": lambda image: image.point(lambda value: value // 4),
    "blurred, 2 px": lambda image: image.filter(ImageFilter.GaussianBlur(2)),
    "blurred, 4 px": lambda image: image.filter(ImageFilter.GaussianBlur(4)),
}


def count_kept(
    val: Judgements, test: Judgements, params: DecidingParams, splits: int
) -> dict[str, float]:
    """How often the promised precision is found, over divisions of the pictures anew.

    Returns:
        kept: divisions in which it is; promised: those with a promise at all; share: mean share of
        the other pictures that is decided, of these.
    """
    both = join(val.independent(), test.independent())
    kept, shares = 0, []
    for seed in range(splits):
        order = np.random.default_rng(seed).permutation(len(both.paths))
        one, other = order[: len(val.paths)], order[len(val.paths) :]
        one = one[both.accepted[one]]
        promise = make_promise(both.sure[one], both.right[one], params.precision, params.confidence)
        threshold = 2.0 if promise.threshold is None else promise.threshold
        decided = both.accepted[other] & (both.sure[other] >= threshold)
        right = both.right[other][decided]
        kept += not len(right) or right.mean() >= params.precision
        shares += [decided.mean()] * (promise.threshold is not None)
    return {
        "kept": kept,
        "promised": len(shares),
        "share": float(np.mean(shares)) if shares else 0.0,
    }


def join(one: Judgements, other: Judgements) -> Judgements:
    """The pictures of both."""
    ratios = (one.unlikeness, other.unlikeness)
    known = [ratio for ratio in ratios if ratio is not None]
    return Judgements(
        [*one.paths, *other.paths],
        [*one.groups, *other.groups],
        np.concatenate([one.probs, other.probs]),
        np.concatenate([one.labels, other.labels]),
        np.concatenate(known) if len(known) == 2 else None,
        one.unlike_from,
    )


def count_alarms(reference: Reference, seen: Judgements, windows: int) -> dict[str, int]:
    """Alarms by signal, and windows with any, over so many windows of pictures in random order."""
    watch, rng, alarmed = Watch(reference), np.random.default_rng(0), 0
    while watch.windows < windows:
        order = rng.permutation(len(seen.paths))
        for row in order[: len(order) // reference.window * reference.window]:
            found = _add(watch, seen, row)
            alarmed += any(distance > 1 for distance in found.values())
            if watch.windows == windows:
                break
    return {**watch.alarms, "any": alarmed}


def first_alarm(reference: Reference, seen: Judgements) -> tuple[int | None, dict[str, float]]:
    """Which window of pictures in their order raises the first alarm, from 1; and the last's values"""
    watch, first, last = Watch(reference), None, {}
    for row in range(len(seen.paths)):
        found = _add(watch, seen, row)
        last = found or last
        if first is None and any(distance > 1 for distance in found.values()):
            first = watch.windows
    return first, last


def _add(watch: Watch, seen: Judgements, row: int) -> dict[str, float]:
    ratio = None if seen.unlikeness is None else float(seen.unlikeness[row])
    return watch.add(seen.probs[row], ratio, not seen.accepted[row])


def look_at_changed(
    classifier: Classifier, test: Judgements, count: int
) -> Iterator[tuple[str, Judgements]]:
    """What a model says of test pictures that were changed, evenly spaced ones."""
    images = read_labelled_images(Path("data/processed"), "test").images
    rows = np.linspace(0, len(test.paths) - 1, min(count, len(test.paths))).astype(int)
    rows = np.random.default_rng(0).permutation(rows)
    pixels = images.gather(rows)
    for name, change in CHANGES.items():
        changed = np.stack([np.asarray(change(Image.fromarray(image))) for image in pixels])
        yield name, look(classifier, changed, test.unlike_from)
