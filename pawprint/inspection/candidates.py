"""Finds pairs of pictures that may be near duplicates, by short codes of their low frequencies.

All pairs are compared, mirrored and zoomed too: a matrix product of all codes. That grows with the
square of the pictures, but slowly: see `python -m bench.candidates`.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pawprint.inspection.thumbnails import THUMBNAIL_PX
from pawprint.runner.processes import available_cores
from pawprint.storage.shards import ShardedArray

ZOOMS = (1.0, 0.9, 0.8)  # the middle of one picture, as a share of its side, that may be the other
CANDIDATE_SCORE = 0.4  # correlation of two codes; see `python -m bench.duplicates`
CANDIDATES = 4  # at most, for each picture: the best
_FREQUENCIES = 12
_CODE_LENGTH = 4000  # of a code as a vector: sums of its squares stay exact in float32
_LEAST_CONTRAST = 4.0  # grey levels: what varies less has nothing to be recognized by
_ROWS = 512  # pictures encoded at once; a block of codes that is compared with another one
_TILE = 64  # codes of a block that are multiplied at once, with as many others
_BLOCKS = 16  # whose scores are in memory at once
_PAIRS = 4096  # whose way of being alike is looked for at once


class Candidates(NamedTuple):
    """Pairs worth laying over each other: int64, int64, float32, bool; [n] each.

    The middle of picture ``first``, ``zoom`` of its side, looks like the whole of ``second``, one
    of them ``mirrored``; a zoom above 1 says that the middle of ``second`` looks like ``first``.
    """

    first: np.ndarray
    second: np.ndarray
    zoom: np.ndarray
    mirrored: np.ndarray


def encode_all(pixels: Path, rows: np.ndarray) -> np.ndarray:
    """The codes of some rows of a directory's shards, float32 [zooms, n, m], as of ``encode``."""
    stored = ShardedArray(pixels)
    codes = np.empty((len(ZOOMS), len(rows), np.count_nonzero(_radii()[1])), np.float32)
    for part in parts(len(rows), _ROWS):
        pictures = stored.gather(rows[part])
        levels = _equalize(pictures)
        for i, zoom in enumerate(ZOOMS):
            codes[i, part] = _transform(levels, _is_blank(pictures), zoom)
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
    best = _Best(len(group))
    alone = len(np.unique(group)) == len(group)
    waves = [_cut_into_tiles(code) for code in codes]
    blocks = parts(len(group), _ROWS)
    pairs = [(i, j) for i in range(len(blocks)) for j in range(i, len(blocks))]
    with ThreadPoolExecutor(available_cores()) as threads:
        for some in parts(len(pairs), _BLOCKS):
            products = threads.map(partial(_score, waves), pairs[some])
            for (i, j), product in zip(pairs[some], products, strict=True):
                rows, columns = blocks[i], blocks[j]
                scores = product[: rows.stop - rows.start, : columns.stop - columns.start]
                if i == j or not alone:
                    scores[group[rows, None] == group[columns]] = 0  # nor with itself
                best.add(scores, rows.start, columns.start)
                if i != j:
                    best.add(scores.T, columns.start, rows.start)
    first, second = best.pairs()
    zoom, mirrored = _find_way(codes, first, second)
    return Candidates(first, second, zoom, mirrored)


Tiles = tuple[np.ndarray, np.ndarray]  # of the even waves across, of the odd ones


def _cut_into_tiles(code: np.ndarray) -> Tiles:
    """Codes [n, m] → each [blocks, tiles, rows of a tile, waves]; what is missing is zero.

    NumPy multiplies tiles one by one. BLAS takes one thread for each, as they are small; larger
    ones it shares among threads that wait for each other, on a busy machine 15 times as long.
    """
    odd = _mirror_signs() < 0
    padded = np.zeros((-(-len(code) // _ROWS) * _ROWS, code.shape[1]), np.float32)
    padded[: len(code)] = code
    even, uneven = (padded[:, chosen].copy() for chosen in (~odd, odd))
    shape = (-1, _ROWS // _TILE, _TILE)
    return even.reshape(*shape, even.shape[1]), uneven.reshape(*shape, uneven.shape[1])


def _score(waves: list[Tiles], blocks: tuple[int, int]) -> np.ndarray:
    """The best product of each code of a block with those of another, float32 [512, 512].

    A mirrored picture has the same even waves across, and the odd ones with the other sign: so one
    product of each serves for both ways.
    """
    whole, *zoomed = waves
    pairs = [(whole, whole), *((w, whole) for w in zoomed), *((whole, w) for w in zoomed)]
    i, j = blocks
    tiles = _ROWS // _TILE
    best, score, part = (np.zeros((tiles, tiles, _TILE, _TILE), np.float32) for _ in range(3))
    for (even, odd), (other_even, other_odd) in pairs:
        np.matmul(even[i][:, None], other_even[j][None].swapaxes(2, 3), out=score)
        np.matmul(odd[i][:, None], other_odd[j][None].swapaxes(2, 3), out=part)
        score += np.abs(part, out=part)
        np.maximum(best, score, out=best)
    return best.swapaxes(1, 2).reshape(_ROWS, _ROWS)


class _Best:
    """For each of n pictures its best candidates so far; of equal ones those that come first."""

    def __init__(self, count: int) -> None:
        self._score = np.zeros((count, CANDIDATES), np.float32)
        self._other = np.full((count, CANDIDATES), -1, np.int64)

    def add(self, scores: np.ndarray, first_row: int, first_column: int) -> None:
        """Take up scores of pictures with others, [r, c], of which the first are told."""
        worst = self._score[first_row : first_row + len(scores), -1]
        least = np.maximum(worst, np.float32(CANDIDATE_SCORE * _CODE_LENGTH**2))
        row, column = np.nonzero(scores >= least[:, None])
        if not len(row):
            return
        score, row, column = scores[row, column], row + first_row, column + first_column
        touched = np.unique(row)
        place, rank = np.nonzero(self._other[touched] >= 0)
        known = touched[place]
        row = np.concatenate([known, row])
        column = np.concatenate([self._other[known, rank], column])
        score = np.concatenate([self._score[known, rank], score])
        order = np.lexsort((column, -score, row))
        row, column, score = row[order], column[order], score[order]
        rank = np.arange(len(row)) - np.searchsorted(row, row)
        kept = rank < CANDIDATES
        self._score[row[kept], rank[kept]] = score[kept]
        self._other[row[kept], rank[kept]] = column[kept]

    def pairs(self) -> np.ndarray:
        """int64 [2, n]: the lesser number first, sorted, each pair once."""
        row, rank = np.nonzero(self._other >= 0)
        found = np.stack([row, self._other[row, rank]])
        return np.unique(np.sort(found, axis=0), axis=1)


def _find_way(codes: np.ndarray, i: np.ndarray, j: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How the first of each pair is most like the second: zoom float32 [n], mirrored bool [n]."""
    whole, *zoomed = codes
    mirror = _mirror_signs()
    ways = [  # zoom, signs, both codes
        (zoom, signs, first, second)
        for signs in (np.ones_like(mirror), mirror)
        for zoom, first, second in (
            (1.0, whole, whole),
            *((zoom, code, whole) for zoom, code in zip(ZOOMS[1:], zoomed, strict=True)),
            *((1 / zoom, whole, code) for zoom, code in zip(ZOOMS[1:], zoomed, strict=True)),
        )
    ]
    chosen = np.zeros(len(i), np.int64)
    for part in parts(len(i), _PAIRS):
        scores = [np.einsum("nk,nk->n", a[i[part]] * s, b[j[part]]) for _, s, a, b in ways]
        chosen[part] = np.argmax(scores, axis=0)
    zooms = np.array([zoom for zoom, *_ in ways], np.float32)
    return zooms[chosen], np.array([s is mirror for _, s, *_ in ways])[chosen]


def parts(count: int, size: int) -> list[slice]:
    """Cut ``count`` things into slices of ``size``; the last one may be smaller.

    >>> parts(5, 2)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


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
    return _transform(_equalize(pixels), _is_blank(pixels), zoom)


def _is_blank(pixels: np.ndarray) -> np.ndarray:
    return pixels.std((1, 2)) < _LEAST_CONTRAST


def _transform(levels: np.ndarray, blank: np.ndarray, zoom: float) -> np.ndarray:
    edges = ((np.arange(THUMBNAIL_PX + 1) / THUMBNAIL_PX - 0.5) / zoom + 0.5).clip(0, 1)
    centres = (edges[:-1] + edges[1:]) / 2
    cosines = np.cos(np.pi * np.outer(np.arange(_FREQUENCIES), centres)) * np.diff(edges)
    waves = cosines.astype(np.float32)
    waves[1:] *= np.float32(np.sqrt(2))
    radius, low = _radii()
    code = (waves @ levels @ waves.T)[:, low] * np.sqrt(radius[low]).astype(np.float32)
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
