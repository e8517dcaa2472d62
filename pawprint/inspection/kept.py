"""What stage split keeps for its next run: data/thumbnails/.

pixels/00000.npy     uint8 [n, 64, 64], grey: a picture a row
rows/                by which the next run knows them: see pawprint/versions/rows.py
looks.json           SHA-256 → header, reason, largest value, as of ``Thumbnail``
similarities.csv     first, second, similarity: of the pairs of files that were compared

No other stage reads it.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pawprint.data.manifest import Picture
from pawprint.inspection.comparisons import Pair, Similarities
from pawprint.inspection.thumbnails import OldThumbnails, Thumbnail, look_fields, make_look
from pawprint.storage.shards import ShardedArray
from pawprint.storage.tables import write_csv, write_json
from pawprint.versions.rows import ROWS, OldRows, open_rows, sum_rows, write_index, write_recipe

THUMBNAILS, LOOKS, SIMILARITIES = "pixels", "looks.json", "similarities.csv"


@dataclass(frozen=True)
class Kept:
    """The same of the last version; nothing where there is none.

    Attributes:
        thumbnails: of the pictures.
        similarities: of pairs.
    """

    thumbnails: OldThumbnails = field(default_factory=OldThumbnails)
    similarities: Mapping[Pair, float] = field(default_factory=dict)


def open_kept(place: Path, max_pixels: int, max_value: int) -> Kept:
    """Find what the last run of stage split has kept, if it was made as it would be now.

    Args:
        place: ``data/thumbnails``.
        max_pixels: of a picture that is decoded.
        max_value: white in pictures of 16 bits.
    """
    settings = {"max_pixels": max_pixels, "max_value": max_value}
    rows = open_rows(
        "split", place / ROWS, settings, {THUMBNAILS: [place / THUMBNAILS]}, floats=True
    )
    if rows.version is None:
        return Kept(OldThumbnails(rows))
    looks, pairs = (rows.version.text(place / name) for name in (LOOKS, SIMILARITIES))
    if looks is None or pairs is None:
        broken = f"warning: the last version of {place} is not whole in DVC's cache"
        return Kept(OldThumbnails(OldRows(rows.recipe, remark=broken)))
    return Kept(
        OldThumbnails(rows, {key: make_look(*look) for key, look in json.loads(looks).items()}),
        {
            (row["first"], row["second"]): float(row["similarity"])
            for row in csv.DictReader(io.StringIO(pairs))
        },
    )


def write_kept(
    out: Path,
    pictures: Sequence[Picture],
    thumbnails: Sequence[Thumbnail],
    similarities: Similarities,
    recipe: str,
) -> None:
    """Write what is described at the top of this module, beside ``pixels/``, which is there.

    Args:
        out: directory to fill.
        pictures: in the order of the thumbnails.
        thumbnails: of them.
        similarities: of pairs, as far as they were asked for.
        recipe: that of the rows in ``Kept``.
    """
    keys = [picture.sha256 for picture in pictures]
    sums = [
        crc32 for part in ShardedArray(out / THUMBNAILS).batches(1024) for crc32 in sum_rows(part)
    ]
    write_index(out / ROWS, THUMBNAILS, keys, {THUMBNAILS: sums})
    write_recipe(out / ROWS, recipe)
    looks = dict(sorted(zip(keys, map(look_fields, thumbnails), strict=True)))
    write_json(out / LOOKS, looks, indent=None)
    rows = [(*pair, f"{value:.9g}") for pair, value in sorted(similarities.used.items())]
    write_csv(out / SIMILARITIES, ("first", "second", "similarity"), rows)
