"""Finds near duplicates: one photograph twice, re-encoded, resized, cropped, mirrored, marked ...

Two steps. Short codes leave a few candidates for each picture (``pawprint.inspection.candidates``).
These are laid over each other (``pawprint.inspection.alignment``), and what then agrees in its
details is a near duplicate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pawprint.data.manifest import Picture
from pawprint.inspection.candidates import CANDIDATES, encode_all, find_candidates
from pawprint.inspection.comparisons import Similarities
from pawprint.inspection.thumbnails import Thumbnail
from pawprint.runner.params import SplitParams


class Link(NamedTuple):
    """Two different files with the same picture: their SHA-256, the lesser first."""

    first: str
    second: str
    similarity: float


def group_near_duplicates(
    pictures: Sequence[Picture],
    thumbnails: Sequence[Thumbnail],
    pixels: Path,
    params: SplitParams,
    similarities: Similarities | None = None,
) -> tuple[list[Picture], list[Link]]:
    """Give pictures that are linked, directly or through others, the same group.

    Args:
        pictures: in any order; ``group`` follows from the bytes alone.
        thumbnails: of the same pictures. One that could not be decoded, or is nearly blank, links
            its picture to no other.
        pixels: directory of the thumbnails' shards, a row for each picture.
        params: whether to look at all, and how alike near duplicates are.
        similarities: of an earlier run.

    Returns:
        The pictures in the same order, and the links, sorted. Neither depends on the order of the
        pictures, nor on their names.
    """
    if not params.near_duplicates:
        return list(pictures), []
    rows = distinct_rows(pictures, thumbnails)
    places = list(rows.values())
    links = find_links(list(rows), pixels, places, params.similarity, similarities)
    groups = _connect(sorted({picture.sha256 for picture in pictures}), links)
    return [replace(picture, group=groups[picture.sha256]) for picture in pictures], links


def distinct_rows(pictures: Sequence[Picture], thumbnails: Sequence[Thumbnail]) -> dict[str, int]:
    """The row of each different file that can be decoded, by its SHA-256, sorted."""
    looks = enumerate(zip(pictures, thumbnails, strict=True))
    rows = {picture.sha256: row for row, (picture, look) in looks if not look.reason}
    return dict(sorted(rows.items()))


def find_links(
    digests: Sequence[str],
    pixels: Path,
    rows: Sequence[int],
    least_similarity: float,
    similarities: Similarities | None = None,
) -> list[Link]:
    """Find the near duplicates among different files.

    A picture of which there are many copies may have them alone as its candidates. So pictures of
    large groups are compared once more, with other groups only, until nothing new is found.

    Args:
        digests: SHA-256 of each file, sorted.
        pixels: directory of shards, uint8 [n, 64, 64], grey.
        rows: of each file there.
        least_similarity: of the pairs to return.
        similarities: of an earlier run.

    Returns:
        The links, sorted; they join each group, but need not hold all of its pairs.
    """
    links: list[Link] = []
    similarities = similarities or Similarities()
    places = np.array(rows, np.int64)
    group = crowded = np.arange(len(places))
    while len(crowded) > 1:
        # Codes are not kept while processes compare: those of a few pictures are soon made again
        pairs = find_candidates(encode_all(pixels, places[crowded]), group[crowded])
        chosen = [digests[i] for i in crowded.tolist()]
        found = similarities.compare(chosen, pixels, places[crowded], pairs)
        new = [
            Link(chosen[i], chosen[j], round(float(score), 3))
            for i, j, score in zip(pairs.first, pairs.second, found, strict=True)
            if score >= least_similarity
        ]
        if not new:
            break
        links += new
        group = _components(digests, links)
        crowded = np.flatnonzero(np.bincount(group)[group] > CANDIDATES)
    return sorted(links)


def _connect(digests: Sequence[str], links: Sequence[Link]) -> dict[str, str]:
    """digest → group: the beginning of the least digest that it is linked to."""
    components = _components(digests, links)
    least: dict[int, str] = {}
    for digest, component in zip(digests, components, strict=True):  # sorted: the first is least
        least.setdefault(component, digest)
    return {
        digest: least[component][:16] for digest, component in zip(digests, components, strict=True)
    }


def _components(digests: Sequence[str], links: Sequence[Link]) -> np.ndarray:
    """The number of each digest's connected component."""
    number = {digest: i for i, digest in enumerate(digests)}
    first = [number[link.first] for link in links]
    second = [number[link.second] for link in links]
    graph = coo_array((np.ones(len(links)), (first, second)), shape=(len(digests), len(digests)))
    return connected_components(graph, directed=False)[1]
