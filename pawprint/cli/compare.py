"""``python -m pawprint compare``: experiments against each other, on the same pictures."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from pawprint.comparison.differences import Comparison, compare_revisions
from pawprint.comparison.page import render_page, shown_sides
from pawprint.comparison.records import ABSENT, find_value
from pawprint.comparison.revisions import (
    Locations,
    Revision,
    choose_revisions,
    read_revision,
)
from pawprint.comparison.thumbnails import make_thumbnails
from pawprint.comparison.trees import Project, find_project
from pawprint.comparison.words import as_values, render_text
from pawprint.registry.resizing import STRETCH, check_resize
from pawprint.runner.errors import PawprintError
from pawprint.runner.files import atomic_write

PLACES = Locations(
    predictions="metrics/evaluate/predictions.csv",
    crossval="metrics/crossval/predictions.csv",
    manifest="data/split.csv",
    archive="data/raw/images.zip",
)
CONFIDENCE = "evaluate.confidence"  # of params.yaml


def main(arguments: list[str], prog: str) -> int:
    """Print how revisions differ from the first; nothing but the page is written.

    Args:
        arguments: behind the command's name.
        prog: how the command was called, for its help.

    Returns:
        The exit code, 0: to find no difference is no mistake.

    Raises:
        PawprintError: a revision, its results, or the page's name cannot be used.
        OSError: the page cannot be written.
    """
    options = _parse(arguments, prog)
    page = _check_page(options.html)
    project = find_project()
    names = choose_revisions(project, options.revisions)
    watched = sys.stderr.isatty()
    bar = tqdm(names, "reading", leave=False, unit="revision", delay=1, disable=not watched)
    base, *others = [read_revision(project, name, PLACES) for name in bar]
    confidence = options.confidence or _confidence_of(base)
    comparisons = compare_revisions(base, others, confidence)
    if page:
        text = _page_of(project, base, comparisons, confidence)
        with atomic_write(page) as file:
            file.write(text.encode())
    if options.json:
        values = as_values(base, comparisons, confidence)
        _print(json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        _print(render_text(base, comparisons, confidence))
        if page:
            _print(f"\nThe pictures that changed sides: {page}")
    return 0


def _print(text: str) -> None:
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    print(text, flush=True)


def _parse(arguments: list[str], prog: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Compare experiments, branches or commits on the test pictures that both have: "
        "differences of each model with their intervals, McNemar's test, and which pictures "
        "changed sides. Each is compared with the first one named. A single experiment is compared "
        "with the commit that it was derived from, the workspace with HEAD, and with anything else "
        "the workspace is compared. Only results are read, from DVC's cache or a remote: nothing "
        "is checked out or run.",
        epilog=f"for example: {prog} main exp-name; {prog} workspace; "
        f"{prog} main exp-1 exp-2 --html compare.html",
    )
    add = parser.add_argument
    add(
        "revisions",
        nargs="+",
        metavar="REV",
        help="experiment, branch, tag, commit, or: workspace (the files as they are)",
    )
    add("--html", metavar="FILE", help="also write a page with the pictures that changed sides")
    add("--json", action="store_true", help="print all figures and pictures as JSON")
    add(
        "--confidence",
        type=_share,
        metavar="SHARE",
        help=f"of the intervals ({CONFIDENCE} of the first REV)",
    )
    return parser.parse_args(arguments)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise argparse.ArgumentTypeError(f"expected a number between 0 and 1, found {text!r}")
    return share


def _check_page(name: str | None) -> Path | None:
    """Where the page goes, which must not replace another kind of file."""
    if name is None:
        return None
    page = Path(name)
    if page.is_dir():
        raise PawprintError(f"--html {name}: expected the name of a file, found a directory")
    if page.suffix.lower() not in (".html", ".htm"):
        raise PawprintError(
            f"--html {name}: expected a name that ends in .html; it comes before or after the REVs"
        )
    return page


def _confidence_of(base: Revision) -> float:
    found = find_value(base.record.params, CONFIDENCE)
    if not isinstance(found, float) or not 0 < found < 1:
        raise PawprintError(
            f"{base.name}: {CONFIDENCE} in params.yaml: expected a number between 0 and 1, found "
            f"{found!r}; name one with --confidence"
        )
    return found


def _page_of(
    project: Project, base: Revision, comparisons: Sequence[Comparison], confidence: float
) -> str:
    limits = [
        find_value(base.record.params, f"preprocess.{key}") for key in ("max_pixels", "max_value")
    ]
    if not all(isinstance(limit, int) for limit in limits):
        raise PawprintError(
            f"{base.name}: preprocess.max_pixels and max_value in params.yaml: expected whole "
            f"numbers, found {limits}; leave out --html"
        )
    found = find_value(base.record.params, "preprocess.resize")
    resize = STRETCH if found is ABSENT else found  # older revisions lack it
    try:
        check_resize(resize)
    except ValueError as error:
        text = f"{base.name}: preprocess in params.yaml: {error}; leave out --html"
        raise PawprintError(text) from None
    revisions = [base, *(one.revision for one in comparisons)]
    pictures = {}
    for one in comparisons:
        for side in (side for found in one.models.values() for side in shown_sides(found)):
            for revision in (base, one.revision):
                if picture := revision.pictures.get(side.after.path):
                    pictures[picture.sha256] = picture
    archives = [project.root / PLACES.archive, *(revision.archive for revision in revisions)]
    thumbnails = make_thumbnails(pictures.values(), archives, limits[0], limits[1], resize)
    return render_page(base, comparisons, confidence, thumbnails)
