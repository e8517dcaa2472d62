"""``python -m pawprint suggest``: from unlabelled pictures, the next ones worth a label.

They are in a folder; or a server has seen them and kept what it found, but no picture: then there
are no thumbnails, and the table says by which request each one came.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import warnings
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from pawprint.answers.decoders import open_decoders, prepare_decoders
from pawprint.answers.orders import ANSWERED_PIXELS, DecodingLimits
from pawprint.cli.finding import find_pictures
from pawprint.cli.predict import AHEAD, BATCH_SIZE, picture_bar, whole_number
from pawprint.cli.reading import STDIN, Reader, Source
from pawprint.data.decisions import Verdict, read_decisions
from pawprint.data.manifest import read_manifest
from pawprint.inference.classifier import Classifier
from pawprint.runner.errors import PawprintError
from pawprint.runner.files import atomic_write
from pawprint.runner.params_file import load_params
from pawprint.runner.processes import available_cores
from pawprint.storage.tables import printable, write_csv
from pawprint.suggestions.choice import choose_diverse
from pawprint.suggestions.kept import KeptPicture, read_kept
from pawprint.suggestions.sheet import SUGGESTION_COLUMNS, Suggestion, render_sheet

TABLE, SHEET = "suggestions.csv", "sheet.html"
LABELLED = Path("data/split.csv")  # pictures in it have a label
PROJECT = Path("params.yaml")  # where there is one, decisions may have dropped pictures
_MODEL = "models/export"
_KEPT_COLUMNS = ("rank", "sha256", "name", "request_id", "time", "predicted", "probability")
PRINTED = 10  # suggestions; the files have them all


def main(arguments: list[str], prog: str) -> int:
    """Write the list and the sheet, and print the first of them.

    Args:
        arguments: behind the command's name.
        prog: how the command was called, for its help.

    Returns:
        The exit code: 0, or 1 if some of the pictures could not be read.

    Raises:
        PawprintError: no picture without a label was found, or the model cannot be used.
        OSError: the files cannot be written.
    """
    options = _parse(arguments, prog)
    if os.path.isfile(options.folder):
        return _suggest_kept(options)
    sources = find_pictures([options.folder])
    unlabelled, notes = leave_out_known(sources, LABELLED, _find_decisions(PROJECT))
    prepare_decoders()
    classifier = Classifier.open(Path(options.model))
    warnings.simplefilter("ignore")  # threads that hide warnings undo each other's work
    card = classifier.card
    limits = DecodingLimits.of_pixels(ANSWERED_PIXELS)
    with open_decoders(available_cores(), limits, card.image_size) as decoders:
        reader = Reader(decoders, card, ANSWERED_PIXELS)
        read, probs, features, errors = look_at(classifier, reader, unlabelled)
        if not read:
            raise PawprintError(
                f"{options.folder}: expected a picture that can be read and has no label, found "
                f"none{_because([*notes, *errors])}; name another folder"
            )
        rows = choose_diverse(features, probs, options.count, options.seed)
        suggestions = [
            Suggestion(read[i].path, card.class_names[probs[i].argmax()], float(probs[i].max()))
            for i in rows
        ]
        if len(rows) < min(options.count, len(read)):
            notes.append(
                f"{len(rows)} instead of {min(options.count, len(read))} are suggested: each of "
                "the others looks to the model like one of these"
            )
        again = reader.read_ahead([read[i] for i in rows], AHEAD)
        images = [image if isinstance(image, np.ndarray) else None for _, image in again]
    heading = (
        f"{len(suggestions)} of {len(read)} pictures without a label in {options.folder}, chosen "
        f"by model {card.name} with seed {options.seed}: those it is unsure of, unlike each other."
    )
    out = Path(options.out)
    table = [
        (rank, _writable(one.path), one.predicted, f"{one.probability:.6f}")
        for rank, one in enumerate(suggestions, 1)
    ]
    write_csv(out / TABLE, SUGGESTION_COLUMNS, table)
    with atomic_write(out / SHEET) as file:
        file.write(render_sheet(suggestions, images, heading).encode(errors="backslashreplace"))
    for note in [*notes, *errors]:
        print(f"warning: {printable(note)}", file=sys.stderr)
    for rank, one in enumerate(suggestions[:PRINTED], 1):
        print(printable(f"{rank:>3} {one.path}: {one.predicted} {100 * one.probability:.1f} %"))
    print(printable(f"{heading} The list: {out / TABLE}; thumbnails: {out / SHEET}"))
    return int(bool(errors))


def leave_out_known(
    sources: Sequence[Source], labelled: Path, decided: Path
) -> tuple[list[Source], list[str]]:
    """Pictures that have no label yet, each once.

    Args:
        sources: as found.
        labelled: the table of stage split; missing: no picture has a label.
        decided: the table of decisions, in which a person may have dropped some.

    Returns:
        The pictures that are left, and sentences on those that are not.

    Raises:
        DataError: there are decisions that cannot be read.
    """
    digests = ["" if s.error or s.path == STDIN else _digest(s.path) for s in sources]
    rows, notes = _leave_out(digests, labelled, decided, "copies of others in the folder")
    return [sources[row] for row in rows], notes


def _leave_out(
    digests: Sequence[str], labelled: Path, decided: Path, again: str
) -> tuple[list[int], list[str]]:
    """Rows of pictures without a label, each once, and sentences on the others.

    Args:
        digests: the SHA-256 of their files; empty: not known.
        labelled, decided: as of ``leave_out_known``.
        again: what a second row of one file is called.
    """
    pictures = read_manifest(labelled) if labelled.is_file() else []
    known = {p.sha256 for p in pictures}
    class_names = {name for p in pictures for name in (p.source_class, p.class_name)}
    decisions = read_decisions(class_names, decided) if pictures and decided.is_file() else {}
    dropped = {s for s, one in decisions.items() if one.decision is Verdict.DROP}
    left: list[int] = []
    seen: set[str] = set()
    counts = {"known": 0, "dropped": 0, "again": 0}
    for row, digest in enumerate(digests):
        if digest and digest in known:
            counts["known"] += 1
        elif digest and digest in dropped:
            counts["dropped"] += 1
        elif digest and digest in seen:
            counts["again"] += 1
        else:
            left.append(row)
            seen.add(digest)
    notes = []
    if counts["known"]:
        notes.append(f"{counts['known']} pictures are left out: {labelled} has them already")
    if counts["dropped"]:
        notes.append(f"{counts['dropped']} pictures are left out: {decided} drops them")
    if counts["again"]:
        notes.append(f"{counts['again']} pictures are left out: {again}")
    return left, notes


def _suggest_kept(options: argparse.Namespace) -> int:
    """The same of pictures that a server has seen; their files are for whoever has them to find."""
    kept = read_kept(Path(options.folder))
    digests = [picture.sha256 for picture in kept.pictures][::-1]  # of a copy, the newest counts
    left, notes = _leave_out(digests, LABELLED, _find_decisions(PROJECT), "sent again later")
    pictures = [kept.pictures[::-1][row] for row in left]
    if not pictures:
        raise PawprintError(
            f"{options.folder}: expected a picture that has no label, found none{_because(notes)}; "
            "ask the server again later"
        )
    if options.model != _MODEL:
        notes.append(f"--model {options.model} is not read: the file has the answers of its model")
    probs = np.stack([picture.probs for picture in pictures])
    features = np.stack([picture.features for picture in pictures])
    rows = choose_diverse(features, probs, options.count, options.seed)
    chosen = [_describe_kept(pictures[row], kept.class_names) for row in rows]
    out = Path(options.out)
    table = [(rank, *texts) for rank, texts in enumerate(chosen, 1)]
    write_csv(out / TABLE, _KEPT_COLUMNS, table)
    (out / SHEET).unlink(missing_ok=True)  # of other pictures
    for note in notes:
        print(f"warning: {printable(note)}", file=sys.stderr)
    for rank, texts in enumerate(chosen[:PRINTED], 1):
        sha256, name, request, _, predicted, probability = texts
        of = name or f"sha256 {sha256[:16]}"
        sure = f"{predicted} {100 * float(probability):.1f} %"
        print(printable(f"{rank:>3} {of} (request {request}): {sure}"))
    print(
        printable(
            f"{len(rows)} of {len(pictures)} pictures without a label that a server has seen, "
            f"chosen by what model {kept.model} found in them, with seed {options.seed}. "
            f"The list: {out / TABLE}; the pictures are where the clients have them."
        )
    )
    return 0


def _describe_kept(picture: KeptPicture, class_names: Sequence[str]) -> tuple[str, ...]:
    of = picture.sha256, _writable(picture.name), picture.request_id, picture.time
    return *of, class_names[int(picture.probs.argmax())], f"{picture.probs.max():.6f}"


def _find_decisions(params: Path) -> Path:
    """Where they are, if this is a project; a model can be used anywhere."""
    return Path(load_params(params).split.decisions) if params.is_file() else Path()


def _writable(path: str) -> str:
    """A name whose bytes are no text gets escapes, as in what is printed."""
    return path.encode(errors="backslashreplace").decode()


def _digest(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:  # told where it is read
        return ""


def look_at(
    classifier: Classifier, reader: Reader, sources: Sequence[Source]
) -> tuple[list[Source], np.ndarray, np.ndarray, list[str]]:
    """What the model says of pictures, and what it sees in them.

    Returns:
        n pictures that could be read; their probabilities, float32 [n, classes]; their features,
        float32 [n, d]; and why others could not be read.
    """
    read: list[Source] = []
    errors: list[str] = []
    found: list[tuple[np.ndarray, np.ndarray]] = []
    decoded = reader.read_ahead(sources, AHEAD)
    with picture_bar(len(sources)) as bar:
        while batch := list(islice(decoded, BATCH_SIZE)):
            good = [(source, image) for source, image in batch if isinstance(image, np.ndarray)]
            errors += [f"{s.path}: {image}" for s, image in batch if isinstance(image, str)]
            read += [source for source, _ in good]
            if good:
                found.append(classifier.features(np.stack([image for _, image in good])))
            bar.update(len(batch))
    if not found:
        return [], np.empty((0, 0)), np.empty((0, 0)), errors
    probs, features = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return read, probs, features, errors


def _because(reasons: Sequence[str]) -> str:
    return f" ({'; '.join(printable(reason) for reason in reasons[:3])})" if reasons else ""


def _parse(arguments: list[str], prog: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Choose pictures of a folder that are worth a label: those that the model is "
        "unsure of, and that are unlike each other. Pictures that the data set has are left out.",
    )
    add = parser.add_argument
    add(
        "folder",
        help="with pictures, also in folders below it; or a file of what GET /v1/kept of a server "
        "with --keep-features gave",
    )
    add("--count", type=whole_number(1), default=50, help="how many (%(default)s)")
    add("--seed", type=whole_number(0), default=0, help="of the choice (%(default)s)")
    add("--model", default=_MODEL, help="exported model or .keras file (%(default)s)")
    add("--out", default="suggestions", metavar="DIR", help="of the two files (%(default)s)")
    options = parser.parse_args(arguments)
    if not os.path.exists(options.folder):
        parser.error(
            f"FOLDER: expected a folder, or a file of a server, found {printable(options.folder)!r}"
        )
    return options
