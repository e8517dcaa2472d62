"""How alike two pictures are once one is laid over the other as well as it can be.

Each picture is a small grey square whose local mean and local contrast are levelled out, so that
light, contrast and a dark animal before a pale wall count for nothing, and each place counts alike.
An affine map that lays one over the other is found by Gauss-Newton steps, coarse to fine; the
similarity is the correlation of what then overlaps.

Source: S. Baker and I. Matthews, "Lucas-Kanade 20 Years On", IJCV 56 (2004), section 3.2 (inverse
compositional); normalized as G. Evangelidis and E. Psarakis, "Parametric Image Alignment Using
Enhanced Correlation Coefficient Maximization", PAMI 30 (2008), equation 2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

_Floats = NDArray[np.floating]

_LEVELS = (  # side in pixels, window of the levelling, steps, least correlation to go on
    (16, 7, 6, 0.45),
    (32, 9, 5, 0.45),
    (64, 13, 6, 0.45),
    (64, 7, 12, 0.0),
)
_LEAST_OVERLAP = 0.35  # share of a picture; a smaller overlap proves nothing
_INTERIOR = 0.85  # of a picture: nearer to its edge, borders and crops change what is levelled out
_OUTLIER = 0.5  # standard deviations: larger differences (a watermark) pull no more than this
_NOISE = 0.08  # of a picture's standard deviation: contrast that the levelling leaves small


def similarity(first: np.ndarray, second: np.ndarray, zoom: _Floats) -> _Floats:
    """Lay the pictures of each pair over each other, both ways, and correlate them.

    Args:
        first: uint8 [n, 64, 64], grey.
        second: the same; mirrored already where that is suspected.
        zoom: float [n]: the middle of ``first`` that looks like the whole of ``second``, as a
            share of its side; where the search starts.

    Returns:
        float32 [n] in 0...1: the better of the two ways; 0 where the pictures overlap too little
        or are hopelessly unlike.
    """
    pairs = len(first)
    images = np.concatenate([first, second]).astype(np.float32)
    images -= images.mean((1, 2), keepdims=True)
    images /= np.maximum(images.std((1, 2), keepdims=True), 1e-6)
    maps = _zooms(np.concatenate([zoom, 1 / zoom]))
    promising = np.arange(pairs)
    for side, window, steps, least in _LEVELS:
        both = np.concatenate([promising, promising + pairs])
        pictures = _level_out(_reduce(images[both], side), window)
        maps[both], score = _refine(pictures, maps[both], steps)
        best = score.reshape(2, len(promising)).max(0)
        promising, best = promising[best >= least], best[best >= least]
    result = np.zeros(pairs, np.float32)
    result[promising] = best
    return result.clip(0, 1)


def _zooms(zoom: _Floats) -> _Floats:
    """float32 [n, 2, 3]: maps that scale by a factor; coordinates are -1...1 across a picture."""
    return np.multiply.outer(zoom, np.eye(2, 3)).astype(np.float32)


def _refine(pictures: _Floats, maps: _Floats, steps: int) -> tuple[_Floats, _Floats]:
    """Improve maps at one size.

    Args:
        pictures: [2n, s, s], levelled out: the first of all pairs, then the second of all.
        maps: [2n, 2, 3]: of row k, to picture k from its partner.
        steps: how many.

    Returns:
        The maps, and the correlation of what they lay over each other, float32 [2n].
    """
    side = pictures.shape[1]
    templates = np.roll(pictures, len(pictures) // 2, axis=0)
    flat = templates.reshape(len(templates), side * side)
    jacobian = _steepest_descent(templates)  # [n, 6, side²]
    hessian = np.einsum("nip,njp->nij", jacobian, jacobian)  # no BLAS: bits free of its threads
    damping = 1e-2 / 6 * np.trace(hessian, axis1=1, axis2=2) + 1e-6
    inverse = np.linalg.inv(hessian + damping[:, None, None] * np.eye(6, dtype=np.float32))
    for _ in range(steps):
        warped, inside = _warp(pictures, maps)
        error = _standardize(warped, inside) - _standardize(flat, inside)
        error = np.clip(error, -_OUTLIER, _OUTLIER)
        step = np.einsum("nij,nj->ni", inverse, np.einsum("nip,np->ni", jacobian, error))
        maps = _compose_inverse(maps, np.clip(step, -0.2, 0.2).reshape(-1, 2, 3))
    warped, inside = _warp(pictures, maps)
    overlap = inside.mean(1)
    product = _standardize(warped, inside) * _standardize(flat, inside)
    score = product.mean(1) / np.maximum(overlap, 1e-6)
    return maps, np.where(overlap >= _LEAST_OVERLAP, score, 0).astype(np.float32)


def _reduce(pictures: _Floats, side: int) -> _Floats:
    """[n, s, s] → [n, side, side] by the means of blocks."""
    block = pictures.shape[1] // side
    if block == 1:
        return pictures
    return pictures.reshape(len(pictures), side, block, side, block).mean((2, 4))


def _level_out(pictures: _Floats, window: int) -> _Floats:
    """Subtract the local mean, divide by the local standard deviation."""
    size = (1, window, window)
    detail = pictures - uniform_filter(pictures, size, mode="nearest")
    contrast = np.sqrt(np.maximum(uniform_filter(detail * detail, size, mode="nearest"), 0))
    return detail / (contrast + _NOISE)


def _coordinates(side: int) -> tuple[_Floats, _Floats]:
    """x and y of the pixel centres of a square, float32 [side²] each, in -1...1."""
    centres = ((np.arange(side) + 0.5) / side * 2 - 1).astype(np.float32)
    y, x = np.meshgrid(centres, centres, indexing="ij")
    return x.ravel(), y.ravel()


def _steepest_descent(templates: _Floats) -> _Floats:
    """How each standardized pixel changes with the six numbers of a map: [n, 6, side²]."""
    count, side, _ = templates.shape
    x, y = _coordinates(side)
    scale = side / 2 / np.maximum(templates.std((1, 2)), 1e-6)[:, None]
    down, right = (
        g.reshape(count, side * side) * scale for g in np.gradient(templates, axis=(1, 2))
    )
    return np.stack([right * x, right * y, right, down * x, down * y, down], axis=1)


def _warp(images: _Floats, maps: _Floats) -> tuple[_Floats, NDArray[np.bool_]]:
    """Sample images [n, s, s] where maps send the pixels of a template.

    Returns:
        The values, bilinear, [n, s²], and which of them lie inside the image.
    """
    count, side, _ = images.shape
    x, y = _coordinates(side)
    places = maps @ np.stack([x, y, np.ones_like(x)])  # [n, 2, s²]
    column, row = ((places[:, axis] + 1) * np.float32(side / 2) - 0.5 for axis in (0, 1))
    inside = (np.abs(places).max(1) <= _INTERIOR) & (np.maximum(np.abs(x), np.abs(y)) <= _INTERIOR)
    left, top = (np.clip(v, 0, side - 2).astype(np.int32) for v in (column, row))
    right_share, down_share = np.clip(column - left, 0, 1), np.clip(row - top, 0, 1)
    flat = images.reshape(-1)
    corner = (np.arange(count, dtype=np.int64) * side * side)[:, None] + (top * side + left)
    upper = flat[corner] + (flat[corner + 1] - flat[corner]) * right_share
    corner += side
    lower = flat[corner] + (flat[corner + 1] - flat[corner]) * right_share
    return upper + (lower - upper) * down_share, inside


def _standardize(values: _Floats, inside: NDArray[np.bool_]) -> _Floats:
    """Mean 0 and standard deviation 1 over what is inside; 0 outside: [n, s²]."""
    count = np.maximum(inside.sum(1, keepdims=True), 1).astype(np.float32)
    mean = (values * inside).sum(1, keepdims=True) / count
    centred = (values - mean) * inside
    deviation = np.sqrt((centred * centred).sum(1, keepdims=True) / count)
    return centred / np.maximum(deviation, 1e-6)


def _compose_inverse(maps: _Floats, steps: _Floats) -> _Floats:
    """Apply the inverse of (identity + step) first, then the map: [n, 2, 3]."""
    change = np.zeros((len(maps), 3, 3), np.float32)
    change[:, :2] = steps
    return maps @ np.linalg.inv(change + np.eye(3, dtype=np.float32))
