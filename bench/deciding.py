"""Whether what is promised holds, in the project of a finished run: python -m bench.deciding

Promises: validation and test pictures are put together and divided anew, again and again; by one
part a threshold is chosen, and the other says whether the promised precision is found.

Drift: windows of test pictures in random order, and how many of them raise an alarm; then windows
of the same pictures darkened and blurred, and of the pictures of no class in a folder.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from pawprint.data.datasets import read_labelled_images
from pawprint.deciding.outcome import Judgements
from pawprint.deciding.promise import make_promise
from pawprint.deciding.reading import read_brightness
from pawprint.deciding.reference import make_reference
from pawprint.deciding.rule import Rule, read_rule
from pawprint.deciding.watch import Reference, Watch, measure_brightness
from pawprint.evaluation.markdown import markdown_table
from pawprint.evaluation.metrics import wilson_interval
from pawprint.inference.classifier import Classifier
from pawprint.runner.params import DecidingParams
from pawprint.runner.params_file import load_params
from stages.deciding import read_run

ACCEPTED = ("none of the classes", "pictures", "accepted, %", "interval", "decided alone")
LIMITS = (0.8, 0.9, 1.0, 1.1, 1.2, 1.5)  # unlikeness.k
KEPT = ("precision", "divisions", "kept in", "promised in", "mean share decided")
CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "as they are": lambda image: image,
    "three quarters as bright": lambda image: image.point(lambda value: 3 * value // 4),
    "half as bright": lambda image: image.point(lambda value: value // 2),
    "a quarter as bright": lambda image: image.point(lambda value: value // 4),
    "half as bright again": lambda image: image.point(lambda value: min(3 * value // 2, 255)),
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
        "share": round(float(np.mean(shares)), 4) if shares else 0.0,
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
        one.unlike_above,
    )


def count_alarms(reference: Reference, seen: Judgements, windows: int) -> dict[str, int]:
    """Alarms by signal, and windows with any, over so many windows of pictures in random order."""
    watch, rng, alarmed = Watch(reference), np.random.default_rng(0), 0
    whole = len(seen.paths) // reference.window * reference.window
    while watch.windows < windows and whole:
        for row in rng.permutation(len(seen.paths))[:whole]:
            alarmed += is_alarm(add(watch, seen, row))
            if watch.windows == windows:
                break
    return {**watch.alarms, "any": alarmed}


def compare_windows(reference: Reference, seen: Judgements) -> list[dict[str, float]]:
    """How far each window of pictures is from validation, in their order; see ``Watch.add``."""
    watch = Watch(reference)
    return [found for row in range(len(seen.paths)) if (found := add(watch, seen, row))]


def add(watch: Watch, seen: Judgements, row: int) -> dict[str, float]:
    """Let a watch take in one picture."""
    ratio = None if seen.unlikeness is None else float(seen.unlikeness[row])
    bright = 0.0 if seen.brightness is None else float(seen.brightness[row])
    return watch.add(seen.probs[row], ratio, not seen.accepted[row], bright)


def is_alarm(found: dict[str, float]) -> bool:
    """Whether a comparison raises an alarm; none is none."""
    return any(distance > 1 for distance in found.values())


def look(classifier: Classifier, images: Sequence[np.ndarray], unlike_above: float) -> Judgements:
    """What a model says of pictures uint8 [size, size, 3], of which nothing else is known."""
    outputs = [classifier.judge(image[None]) for image in images]
    names = [str(row) for row in range(len(outputs))]
    probs = np.concatenate([output[0] for output in outputs])
    told = [output[1][:, 0] for output in outputs if len(output) > 1]
    unlikeness = np.concatenate(told) if told else None
    bright = np.concatenate([measure_brightness(image[None]) for image in images])
    of = names, names, probs, probs.argmax(axis=1), unlikeness, unlike_above, bright
    return Judgements(*of)


def changed_pictures(count: int) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Test pictures of all classes in random order, changed in each way."""
    images = read_labelled_images(Path("data/processed"), "test").images
    rows = np.random.default_rng(0).permutation(len(images))[:count]
    pictures = [Image.fromarray(image) for image in images.gather(rows.tolist())]
    for name, change in CHANGES.items():
        yield name, [np.asarray(change(picture)) for picture in pictures]


def look_at_others(
    folder: Path, classifier: Classifier, unlike_above: float
) -> dict[str, tuple[list[np.ndarray], Judgements]]:
    """Kind → its pictures, and what a model says of them; the kinds are the folders of a folder."""
    found = {}
    for kind in sorted(path for path in folder.iterdir() if path.is_dir()):
        images = [classifier.decode(file.read_bytes()) for file in sorted(kind.iterdir())]
        found[kind.name] = images, look(classifier, images, unlike_above)
    return found


def count_accepted(
    others: dict[str, tuple[list[np.ndarray], Judgements]], rule: Rule, confidence: float
) -> Iterator[tuple[str, int, str, str, int]]:
    """Rows of ``ACCEPTED``: of each kind of pictures of no class, what is accepted, or decided."""
    for kind, (_, seen) in others.items():
        accepted = seen.accepted
        low, high = wilson_interval(int(accepted.sum()), len(accepted), confidence) or (0, 1)
        answers = zip(seen.sure, ~accepted, strict=True)
        decided = sum(rule.decides(float(sure), bool(unlike)) for sure, unlike in answers)
        interval = f"{100 * low:.2f} to {100 * high:.2f}"
        yield kind, len(accepted), f"{100 * accepted.mean():.2f}", interval, decided


def compare_limits(
    test: Judgements, others: dict[str, np.ndarray | None]
) -> list[tuple[float | str, ...]]:
    """Per cent of the test pictures, and of each kind of others, that are unlike at some limits."""
    kinds = [found for found in (test.unlikeness, *others.values()) if found is not None]
    return [(k, *(f"{100 * (found > k).mean():.2f}" for found in kinds)) for k in LIMITS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--splits", type=int, default=100, help="divisions (%(default)s)")
    parser.add_argument("--windows", type=int, default=1000, help="windows (%(default)s)")
    parser.add_argument("--precisions", type=float, nargs="+", default=[0.98, 0.99, 0.995])
    parser.add_argument("--others", type=Path, help="folder of folders, such as data/others")
    options = parser.parse_args()
    params = load_params(Path("params.yaml"))
    _, name, val, test = read_run(params)
    print(f"promises of {name}, with a confidence of {params.deciding.confidence}")
    rows = [
        (precision, options.splits, *count_kept(val, test, wanted, options.splits).values())
        for precision in options.precisions
        for wanted in [params.deciding.model_copy(update={"precision": precision})]
    ]
    print(markdown_table(KEPT, rows, aligned=True))
    of_val = val.independent()
    limits = params.deciding.window, params.deciding.false_alarms
    told = of_val.probs, of_val.unlikeness, ~of_val.accepted, of_val.brightness
    reference = make_reference(*told, *limits)
    test = replace(test, brightness=read_brightness(Path("data/processed"), "test"))
    alarms = count_alarms(reference, test.independent(), options.windows)
    print(f"\nalarms in {options.windows:,} windows of test pictures in random order: {alarms}")
    classifier, seen = Classifier.open(Path("models/export")), 2 * reference.window
    pictures = dict(changed_pictures(seen))
    if options.others:
        others = look_at_others(options.others, classifier, val.unlike_above)
        counted = count_accepted(others, read_rule(classifier.card), params.evaluate.confidence)
        print(f"\n{markdown_table(ACCEPTED, list(counted), aligned=True)}")
        looked = {kind: seen.unlikeness for kind, (_, seen) in others.items()}
        rejected = compare_limits(test, looked)
        print(f"\n{markdown_table(('k', 'test', *looked), rejected, aligned=True)}")
        turns = zip_longest(*(images for images, _ in others.values()))
        mixed = [image for turn in turns for image in turn if image is not None]
        pictures["none of the classes"] = mixed[:seen]
    rows = [
        (change, number, *(f"{distance:.2f}" for distance in window.values()))
        for change, images in pictures.items()
        for number, window in enumerate(
            compare_windows(reference, look(classifier, images, val.unlike_above)), 1
        )
    ]
    print("\ndistance from validation, in parts of the limit: above 1 is an alarm")
    print(markdown_table(("pictures", "window", *reference.signals), rows, aligned=True))


if __name__ == "__main__":
    main()
