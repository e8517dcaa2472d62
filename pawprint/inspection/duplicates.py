"""Finds near duplicates: one photograph twice, re-encoded, resized, cropped, mirrored, marked ...

Two steps. Each picture gets a short code of its low frequencies; the codes of all pairs are
compared, mirrored and zoomed too, which leaves a few candidates for each picture. These are laid
over each other (``pawprint.inspection.alignment``), and what then agrees in its details is a near
duplicate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pawprint.data.manifest import Picture
from pawprint.inspection.alignment import similarity
from pawprint.inspection.thumbnails import THUMBNAIL_PX, Thumbnail
from pawprint.runner.journal import map_shards
from pawprint.runner.params import SplitParams
from pawprint.storage.shards import ShardedArray

ZOOMS = (1.0, 0.9, 0.8)  # the middle of one picture, as a share of its side, that may be the other
CANDIDATE_SCORE = 0.4  # correlation of two codes; see `python -m bench.duplicates`
CANDIDATES = 4  # at most, for each picture: the best
_FREQUENCIES = 12
_CODE_LENGTH = 4000  # of a code as a vector: sums of its squares stay exact in float32
_LEAST_CONTRAST = 4.0  # grey levels: what varies less has nothing to be recognized by
_ROWS = 512  # pictures encoded at once
_SCORES = 2**20  # of a few pictures with all others, at once
_PAIRS = 4096  # whose way of being alike is looked for at once
_PAIRS_PER_SHARD = 256


class Link(NamedTuple):
    """Two different files with the same picture: their SHA-256, the lesser first."""

    first: str
    second: str
    similarity: float


class Candidates(NamedTuple):
    """Pairs worth laying over each other: int64, int64, float32, bool; [n] each.

    The middle of picture ``first``, ``zoom`` of its side, looks like the whole of ``second``, one
    of them ``mirrored``; a zoom above 1 says that the middle of ``second`` looks like ``first``.
    """

    first: np.ndarray
    second: np.ndarray
    zoom: np.ndarray
    mirrored: np.ndarray


def group_near_duplicates(
    pictures: Sequence[Picture], thumbnails: Sequence[Thumbnail], pixels: Path, params: SplitParams
) -> tuple[list[Picture], list[Link]]:
    """Give pictures that are linked, directly or through others, the same group.

    Args:
        pictures: in any order; ``group`` follows from the bytes alone.
        thumbnails: of the same pictures. One that could not be decoded, or is nearly blank, links
            its picture to no other.
        pixels: directory of the thumbnails' shards, a row for each picture.
        params: whether to look at all, and how alike near duplicates are.

    Returns:
        The pictures in the same order, and the links, sorted. Neither depends on the order of the
        pictures, nor on their names.
    """
    if not params.near_duplicates:
        return list(pictures), []
    rows = distinct_rows(pictures, thumbnails)
    links = find_links(list(rows), pixels, list(rows.values()), params.similarity)
    groups = _connect(sorted({picture.sha256 for picture in pictures}), links)
    return [replace(picture, group=groups[picture.sha256]) for picture in pictures], links


def distinct_rows(pictures: Sequence[Picture], thumbnails: Sequence[Thumbnail]) -> dict[str, int]:
    """The row of each different file that can be decoded, by its SHA-256, sorted."""
    looks = enumerate(zip(pictures, thumbnails, strict=True))
    rows = {picture.sha256: row for row, (picture, look) in looks if not look.reason}
    return dict(sorted(rows.items()))


def find_links(
    digests: Sequence[str], pixels: Path, rows: Sequence[int], least_similarity: float
) -> list[Link]:
    """Find the near duplicates among different files.

    A picture of which there are many copies may have them alone as its candidates. So pictures of
    large groups are compared once more, with other groups only, until nothing new is found.

    Args:
        digests: SHA-256 of each file, sorted.
        pixels: directory of shards, uint8 [n, 64, 64], grey.
        rows: of each file there.
        least_similarity: of the pairs to return.

    Returns:
        The links, sorted; they join each group, but need not hold all of its pairs.
    """
    links: list[Link] = []
    places = np.array(rows, np.int64)
    group = crowded = np.arange(len(places))
    while len(crowded) > 1:
        # Codes are not kept while processes compare: those of a few pictures are soon made again
        pairs = find_candidates(encode_all(pixels, places[crowded]), group[crowded])
        found = compare_candidates(pixels, places[crowded], pairs)
        new = [
            Link(digests[crowded[i]], digests[crowded[j]], round(float(score), 3))
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


def encode_all(pixels: Path, rows: np.ndarray) -> np.ndarray:
    """The codes of some rows of a directory's shards, float32 [zooms, n, m], as of ``encode``."""
    stored = ShardedArray(pixels)
    codes = np.empty((len(ZOOMS), len(rows), np.count_nonzero(_radii()[1])), np.float32)
    for part in _parts(len(rows), _ROWS):
        pictures = stored.gather(rows[part])
        for i, zoom in enumerate(ZOOMS):
            codes[i, part] = encode(pictures, zoom)
    return codes


def find_candidates(codes: np.ndarray, group: np.ndarray) -> Candidates:
    """Compare the codes of all pairs of pictures of different groups.

    Codes are whole numbers whose products sum exactly, so that the result depends neither on the
    processor nor on the number of its threads.

    Args:
        codes: from ``encode_all``, [zooms, n, m].
        group: int [n]: of each picture.

    Returns:
        At most ``CANDIDATES`` n pairs, first < second, each of them once.
    """
    whole, *zoomed = codes
    mirror = _mirror_signs()
    plain = np.ones_like(mirror)
    ways = [  # of the first picture's code to be the second's: zoom, signs, both codes
        (zoom, mirror if mirrored else plain, first, second)
        for mirrored in (False, True)
        for zoom, first, second in (
            (1.0, whole, whole),
            *((zoom, code, whole) for zoom, code in zip(ZOOMS[1:], zoomed, strict=True)),
            *((1 / zoom, whole, code) for zoom, code in zip(ZOOMS[1:], zoomed, strict=True)),
        )
    ]
    places = []
    for part in _parts(len(group), max(1, _SCORES // len(group))):
        best = np.zeros((len(group[part]), len(group)), np.float32)
        for _, signs, first, second in ways:
            np.maximum(best, (first[part] * signs) @ second.T, out=best)
        best[group[part, None] == group] = 0  # nor with itself
        places.append(_best_of_rows(best) + np.array([[part.start], [0]]))
    i, j = np.unique(np.sort(np.concatenate(places, axis=1), axis=0), axis=1)
    chosen = np.zeros(len(i), np.int64)
    for part in _parts(len(i), _PAIRS):
        scores = [np.einsum("nk,nk->n", a[i[part]] * s, b[j[part]]) for _, s, a, b in ways]
        chosen[part] = np.argmax(scores, axis=0)
    zooms = np.array([zoom for zoom, *_ in ways], np.float32)
    return Candidates(i, j, zooms[chosen], np.array([s is mirror for _, s, *_ in ways])[chosen])


def encode(pixels: np.ndarray, zoom: float) -> np.ndarray:
    """The low frequencies of the middle of each picture, weighted by the root of the frequency.

    Grey levels are equalized first.

    Source: C. Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010),
    section 3.2.1 (the cosine transform; here not cut down to bits).

    Args:
        pixels: uint8 [n, 64, 64], grey.
        zoom: share of the side that is looked at.

    Returns:
        float32 [n, m], whole numbers, each row of about the same length; zeros for a picture that
        is nearly blank.
    """
    edges = ((np.arange(THUMBNAIL_PX + 1) / THUMBNAIL_PX - 0.5) / zoom + 0.5).clip(0, 1)
    centres = (edges[:-1] + edges[1:]) / 2
    cosines = np.cos(np.pi * np.outer(np.arange(_FREQUENCIES), centres)) * np.diff(edges)
    waves = cosines.astype(np.float32)
    waves[1:] *= np.float32(np.sqrt(2))
    radius, low = _radii()
    code = (waves @ _equalize(pixels) @ waves.T)[:, low] * np.sqrt(radius[low]).astype(np.float32)
    blank = pixels.std((1, 2)) < _LEAST_CONTRAST
    length = np.maximum(np.linalg.norm(code, axis=1), 1e-6)
    code *= np.where(blank, 0, _CODE_LENGTH / length)[:, None].astype(np.float32)
    return np.rint(code)


def _equalize(pixels: np.ndarray) -> np.ndarray:
    """Replace each grey level by its rank, 0...1: a white label cannot outweigh a dark picture."""
    result = np.empty(pixels.shape, np.float32)
    for picture, equalized in zip(pixels, result, strict=True):
        counts = np.bincount(picture.ravel(), minlength=256)
        ranks = (np.cumsum(counts) - counts / 2) / picture.size
        equalized[:] = ranks[picture]
    return result


def _radii() -> tuple[np.ndarray, np.ndarray]:
    """How high each frequency is, [12, 12], and which of them a code has (not the mean)."""
    frequencies = np.arange(_FREQUENCIES)
    radius = np.hypot(*np.meshgrid(frequencies, frequencies, indexing="ij"))
    return radius, (radius > 0) & (radius < _FREQUENCIES)


def _mirror_signs() -> np.ndarray:
    """What turns a code into that of the mirrored picture: the odd waves across change sign."""
    signs = np.tile(np.where(np.arange(_FREQUENCIES) % 2, -1, 1), (_FREQUENCIES, 1))
    return signs[_radii()[1]].astype(np.float32)


def _best_of_rows(scores: np.ndarray) -> np.ndarray:
    """Places of the scores that are high enough, at most ``CANDIDATES`` a row: int64 [2, n]."""
    row, column = np.nonzero(scores >= CANDIDATE_SCORE * _CODE_LENGTH**2)
    order = np.lexsort((column, -scores[row, column], row))
    row, column = row[order], column[order]
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    return np.stack([row, column])[:, rank < CANDIDATES]


@dataclass(frozen=True)
class PairShard:
    pixels: Path
    first: np.ndarray
    second: np.ndarray
    zoom: np.ndarray
    mirrored: np.ndarray


def compare_candidates(pixels: Path, rows: np.ndarray, pairs: Candidates) -> np.ndarray:
    """Lay the pictures of each pair over each other, in a pool of processes.

    Args:
        pixels: directory of shards, uint8 [n, 64, 64], grey.
        rows: of the pictures there, int64 [k].
        pairs: of them.

    Returns:
        float32, one for each pair, 0...1: how alike its pictures are.
    """
    shards = [
        PairShard(
            pixels,
            rows[pairs.first[part]],
            rows[pairs.second[part]],
            pairs.zoom[part],
            pairs.mirrored[part],
        )
        for part in _parts(len(pairs.first), _PAIRS_PER_SHARD)
    ]
    results = map_shards(_compare_shard, shards, "comparing")
    return np.concatenate([np.zeros(0, np.float32), *results])


def _parts(count: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, count, size)]


def _compare_shard(shard: PairShard) -> np.ndarray:
    pixels = _open_once(shard.pixels)
    second = pixels.gather(shard.second)
    second[shard.mirrored] = second[shard.mirrored, :, ::-1]
    return similarity(pixels.gather(shard.first), second, shard.zoom)


@lru_cache(maxsize=1)
def _open_once(pixels: Path) -> ShardedArray:
    return ShardedArray(pixels)
