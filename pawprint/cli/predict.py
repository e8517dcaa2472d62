"""``python -m pawprint predict``: a model's answers about one's own pictures."""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from pawprint.answers.decoders import open_decoders, prepare_decoders
from pawprint.answers.orders import ANSWERED_PIXELS, DecodingLimits
from pawprint.answers.staleness import find_staleness
from pawprint.cli.answering import BATCH_SIZE, answer_batch
from pawprint.cli.answers import Answer, Columns, choose_renderer, csv_header
from pawprint.cli.finding import find_pictures
from pawprint.cli.reading import STDIN, Reader, Source
from pawprint.deciding.rule import Rule, read_rule
from pawprint.inference.classifier import Classifier, ModelCard
from pawprint.inference.overlays import blend_heatmap
from pawprint.networks.predictor import average_views
from pawprint.runner.errors import ModelError, PawprintError
from pawprint.runner.params import check_address
from pawprint.runner.processes import available_cores
from pawprint.storage.tables import printable

AHEAD = 3 * BATCH_SIZE  # pictures that are decoded while others are predicted
VIEWS = "1, as it is, or 2, with its mirror image; more made the models worse"
NAMED = 10  # classes that the summary names
MANY = 100  # pictures that get a progress bar even where nobody seems to watch


def main(arguments: list[str], prog: str) -> int:
    """Print a line for each picture, and for whoever watches one that sums them up.

    Args:
        arguments: behind the command's name.
        prog: how the command was called, for its help.

    Returns:
        The exit code: 0, or 1 if some of the pictures could not be read.

    Raises:
        PawprintError: no picture was found, or the model cannot be used.
    """
    options = _parse(arguments, prog)
    sources = find_pictures(options.paths)
    if all(source.error for source in sources):
        reasons = "; ".join(printable(f"{source.path}: {source.error}") for source in sources[:3])
        raise PawprintError(f"no pictures found ({reasons}); name pictures, folders or globs")
    prepare_decoders()
    classifier = Classifier.open(Path(options.model))
    check_views(classifier.card, options.tta)
    if stale := find_staleness(classifier.card, Path(options.model)):
        print(f"warning: {printable(stale)}", file=sys.stderr)
    overlays = None
    if options.gradcam:
        overlays = Overlays(Path(options.gradcam), options.opacity)
        overlays.directory.mkdir(parents=True, exist_ok=True)
    rule = find_rule(classifier.card, options.tta) if options.decide else None
    classes = min(options.top, len(classifier.card.class_names))
    columns = Columns(classes, classifier.card.unlike_above is not None, rule is not None)
    render = choose_renderer(options.format, columns)
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    warnings.simplefilter("ignore")  # threads that hide warnings undo each other's work
    found: Counter[str] = Counter()  # pictures by their likeliest class; "": none could be read
    unlike = 0
    try:
        if options.format == "csv":
            print(csv_header(columns))
        with picture_bar(len(sources)) as bar:
            for answers in _answer_all(classifier, sources, options, classes, overlays, rule):
                with bar.external_write_mode() if sys.stdout.isatty() else nullcontext():
                    print("\n".join(map(render, answers)), flush=True)
                bar.update(len(answers))
                found.update("" if a.error else a.ranking[0][0] for a in answers)
                unlike += sum(a.unlikeness is not None and a.unlikeness.unlike for a in answers)
    except BrokenPipeError:  # as by `| head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    else:
        if sys.stderr.isatty() and (len(sources) > 1 or overlays):
            print(printable(summarize(found, unlike, options.gradcam)), file=sys.stderr)
    return int("" in found)


def _answer_all(
    classifier: Classifier,
    sources: Sequence[Source],
    options: argparse.Namespace,
    classes: int,
    overlays: Overlays | None,
    rule: Rule | None,
) -> Iterator[list[Answer]]:
    """Answers of all pictures, in order, some at a time: from this machine, or from a cluster."""
    card = classifier.card
    most = options.max_pixels or card.max_pixels
    if options.ray:
        from pawprint.cli.sending import Asked, predict_elsewhere  # here: few need it

        asked = Asked(options.tta, classes, most, rule)
        model = Path(options.model)
        yield from predict_elsewhere(options.ray, options.mixed, model, card, sources, asked)
        return
    limits = DecodingLimits.of_pixels(most)
    with open_decoders(available_cores(), limits, card.image_size) as decoders:
        reader = Reader(decoders, card, most)
        yield from predict_pictures(
            classifier, reader, sources, options.tta, classes, overlays, rule
        )


def summarize(found: Mapping[str, int], unlike: int, overlays: str | None) -> str:
    """One line: how many pictures, of which classes, and where their overlays are.

    Args:
        found: pictures by their likeliest class; those under "" could not be read.
        unlike: how many of them are unlike the training pictures.
        overlays: the directory of the overlays; None if there are none.

    >>> summarize({"dog": 1, "cat": 2, "": 1}, 0, "maps")
    '4 pictures: 2 cat, 1 dog, 1 not read; overlays: maps'
    >>> summarize({"dog": 1, "cat": 2}, 1, None)
    '3 pictures: 2 cat, 1 dog; 1 of them unlike the training pictures'
    """
    named = {name: count for name, count in found.items() if name}
    ranked = sorted(named, key=lambda name: (-named[name], name))
    parts = [f"{named[name]:,} {name}" for name in ranked[:NAMED]]
    if rest := ranked[NAMED:]:
        parts.append(f"{sum(named[name] for name in rest):,} of {len(rest)} other classes")
    if unread := found.get("", 0):
        parts.append(f"{unread:,} not read")
    total = sum(found.values())
    where = f"; overlays: {overlays}" if overlays else ""
    other = f"; {unlike:,} of them unlike the training pictures" if unlike else ""
    return f"{total:,} picture{'s' * (total != 1)}: {', '.join(parts)}{other}{where}"


def _parse(arguments: list[str], prog: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Print one line for each picture: its path and its likeliest classes. "
        "A picture that cannot be read gets a line with the reason, and the exit code is 1.",
    )
    add = parser.add_argument
    add("paths", nargs="+", metavar="PATH", help="picture, folder, glob, or - (standard input)")
    add("--model", default="models/export", help="exported model or .keras file (%(default)s)")
    add("--top", type=whole_number(1), default=5, metavar="K", help="classes to name (%(default)s)")
    add("--gradcam", metavar="DIR", help="write a PNG for each picture: where its class is seen")
    add("--opacity", type=_share, default=0.4, help="of the heatmaps of --gradcam (%(default)s)")
    add("--decide", action="store_true", help="say of each picture: decided, or ask a person")
    add("--tta", type=_views, default=1, metavar="N", help=f"views of a picture: {VIEWS} (1)")
    add(
        "--max-pixels",
        type=whole_number(0),
        default=ANSWERED_PIXELS,
        metavar="N",
        help="of a picture, from which the time and memory follow that it may take to decode "
        "(%(default)s); 0: as many as in the model's card",
    )
    add(
        "--ray",
        type=_address,
        metavar="ADDRESS",
        help="have the machines of a Ray cluster do it: "
        "auto, or HOST:PORT; this one must have joined it",
    )
    add(
        "--mixed",
        action="store_true",
        help="with --ray: also machines of other types, whose last bits may differ",
    )
    formats = parser.add_mutually_exclusive_group()
    formats.add_argument("--json", dest="format", action="store_const", const="json")
    formats.add_argument("--csv", dest="format", action="store_const", const="csv")
    parser.set_defaults(format="text")
    options = parser.parse_args(arguments)
    if options.ray and options.gradcam:
        parser.error("--gradcam draws on this machine: leave --ray or --gradcam away")
    if options.mixed and not options.ray:
        parser.error("--mixed is of --ray, which is not given")
    return options


def _address(text: str) -> str:
    try:
        return check_address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _views(text: str) -> int:
    if text not in ("1", "2"):
        raise argparse.ArgumentTypeError(f"expected {VIEWS}; found {text!r}")
    return int(text)


def whole_number(low: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        if not text.isdecimal() or int(text) < low:
            raise argparse.ArgumentTypeError(f"expected a whole number from {low}, found {text!r}")
        return int(text)

    return convert


def _share(text: str) -> float:
    if not re.fullmatch(r"0|1|0?\.\d+|[01]\.0*", text):
        raise argparse.ArgumentTypeError(f"expected a number in 0...1, found {text!r}")
    return float(text)


def picture_bar(total: int) -> tqdm:
    """A bar for whoever watches, once a second has passed; in a log a line every ten seconds."""
    watched = sys.stderr.isatty()
    return tqdm(
        total=total,
        unit="picture",
        delay=1,
        mininterval=0.1 if watched else 10,
        disable=not (watched or total >= MANY),
    )


def check_views(card: ModelCard, views: int) -> None:
    """See that a model can be shown mirror images, and is not shown them twice.

    Args:
        card: of the model.
        views: of a picture, see ``average_views``.

    Raises:
        ModelError: the model averages by itself; or it was trained without mirror images, so they
            may be of another class.
    """
    if views == 1:
        return
    if card.tta == 2:
        raise ModelError(
            f"model {card.name}: exported with evaluate.tta: 2, so its answers are means of a "
            "picture and its mirror image already; leave --tta away"
        )
    if not card.augment.get("flip", True):
        raise ModelError(
            f"model {card.name}: trained with augment.flip: false, expected true for "
            "--tta 2, which mirrors the pictures; leave --tta away"
        )


def find_rule(card: ModelCard, views: int) -> Rule:
    """The rule by which a model decides alone; where it never does, a warning is printed.

    Args:
        card: of the model.
        views: of a picture, see ``average_views``.

    Raises:
        ModelError: it does not say what it may decide; or it is shown more views than it was then.
    """
    rule = read_rule(card)
    if views != 1:
        raise ModelError(
            f"model {card.name}: what it may decide alone was measured without --tta {views}; "
            "leave --tta or --decide away, or set evaluate.tta and run dvc repro"
        )
    if rule.threshold is None:
        print(
            f"warning: model {printable(card.name)} cannot promise that {100 * rule.precision:g} % "
            "of what it decides is right: every picture is for a person; metrics/deciding.json of "
            "its project says what that would take",
            file=sys.stderr,
        )
    return rule


@dataclass(frozen=True)
class Overlays:
    """Writes pictures under their heatmaps.

    Attributes:
        directory: must exist.
        opacity: see ``pawprint.inference.overlays.blend_heatmap``.
    """

    directory: Path
    opacity: float

    def write(self, source: Source, image: np.ndarray, heatmap: np.ndarray) -> str:
        """Write one PNG, and return its path."""
        path = self.directory / overlay_name(source.path)
        Image.fromarray(blend_heatmap(image, heatmap, self.opacity)).save(path)
        return str(path)


def overlay_name(path: str) -> str:
    """The name of a picture's overlay: its own, readable, and what tells it from its namesakes.

    >>> overlay_name("a/cat 1.jpg"), overlay_name("b/cat 1.jpg")
    ('cat_1-6fa2642838a6.png', 'cat_1-f32d90496aea.png')
    """
    stem = "stdin" if path == STDIN else re.sub(r"[^\w.-]", "_", Path(path).stem)
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:12]
    return f"{stem.strip('.-')[:50]}-{digest}.png"  # below 255 bytes in any script


def predict_pictures(
    classifier: Classifier,
    reader: Reader,
    sources: Sequence[Source],
    views: int,
    top: int,
    overlays: Overlays | None = None,
    rule: Rule | None = None,
) -> Iterator[list[Answer]]:
    """Answers of all pictures, in order, some at a time; only a few pictures are in memory.

    Args:
        classifier: the model.
        reader: of its pictures.
        sources: what to read.
        views: of each picture, see ``average_views`` and ``check_views``.
        top: classes to name.
        overlays: where to write heatmaps of the likeliest classes.
        rule: by which the model decides alone; None: it is not asked.
    """
    predictor = average_views(classifier.judge, views)
    decoded = reader.read_ahead(sources, AHEAD)

    def draw(chosen: Sequence[Source], images: np.ndarray, probs: np.ndarray) -> list[str]:
        heatmaps = classifier.heatmaps(images, probs.argmax(axis=1))
        triples = zip(chosen, images, heatmaps, strict=True)
        return [overlays.write(*triple) for triple in triples] if overlays else []

    while batch := list(islice(decoded, BATCH_SIZE)):
        chosen = draw if overlays else None
        yield answer_batch(batch, classifier.card, predictor, top, chosen, rule)
