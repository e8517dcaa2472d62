"""Tells names of the forms that pictures are in, as `images` and `masks`. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Sequence

# Folders of what is made from pictures and mirrors them: no classes, and no further pictures
DERIVED = frozenset(
    {"annotated", "annotation", "aug", "augmentation", "augmented", "bbox", "boundingbox"}
    | {"contour", "cropped", "depth", "depthmap", "gray", "grayscale", "greyscale", "groundtruth"}
    | {"gt", "heatmap", "label", "mask", "matte", "overlay", "preview", "processed", "resized"}
    | {"saliency", "segmentation", "segmented", "superpixel", "target", "thumb"}
    | {"thumbnail", "trimap"}
)
PLAIN = frozenset(  # and of the pictures themselves
    {"color", "colored", "colour", "coloured", "image", "img", "input", "jpegimage", "jpg"}
    | {"original", "photo", "pic", "picture", "png", "raw", "rgb", "source"}
)
FORMS = PLAIN | {  # words beside the above
    *("binary", "bit", "class", "coarse", "fine", "instance", "jpeg", "left", "level", "map"),
    *("new", "object", "pixel", "right", "semantic", "tif", "tiff", "train", "val", "test"),
}
_CERTAIN = frozenset(  # of the derived, what is no class
    {"annotation", "aug", "augmentation", "augmented", "bbox", "boundingbox", "depthmap"}
    | {"groundtruth", "gt", "saliency", "segmentation", "superpixel", "thumbnail", "trimap"}
)
_PICTURES = frozenset({"images", "imgs", "inputs", "jpegimages", "photos", "pictures"})
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[^\W\d_]+")


def bare(folder: str) -> str:
    """The word that a folder's name is, in singular.

    >>> bare("Ground_Truth"), bare("Masks")
    ('groundtruth', 'mask')
    """
    letters = "".join(filter(str.isalnum, folder.lower()))
    return letters.removesuffix("s")


def is_derived(folder: str) -> bool:
    """Whether a folder's name tells of what is made from pictures, and of nothing else.

    >>> [is_derived(x) for x in ("SegmentationClass", "gtFine", "mask_png", "with_mask", "images")]
    [True, True, True, False, False]
    """
    words = {word.lower().removesuffix("s") for word in _WORD.findall(folder)}
    return bare(folder) in DERIVED or (bool(words & DERIVED) and tells_form(folder))


def tells_form(folder: str) -> bool:
    """Whether a name tells in which form pictures are, and nothing else: `images`, `mask_png`."""
    words = {bare(word) for word in _WORD.findall(folder)}
    return bare(folder) in DERIVED | PLAIN or (
        bool(words & (DERIVED | PLAIN)) and words <= DERIVED | FORMS | {"clas", "pixel"}
    )


def find_derived(folder: str, others: Sequence[str]) -> bool:
    """Whether a folder is certainly of what is made from pictures, by its name beside others.

    >>> [find_derived(name, ["cat", "cow"]) for name in ("masks", "mask", "gt", "cow_masks")]
    [True, False, True, True]
    >>> find_derived("mask", ["images", "x"]), find_derived("masks", ["hats", "gloves"])
    (True, False)
    """
    plural = folder.lower().endswith("s") and bare(folder) != "thumb"
    first, *rest = [word.lower() for word in _WORD.findall(folder)] or [""]
    if is_derived(folder):
        return (
            bare(folder) in _CERTAIN
            or bool(rest and bare(folder) not in DERIVED)
            or (plural and not any(name.lower().endswith("s") for name in others))
            or not _PICTURES.isdisjoint(map(str.lower, others))
        )
    *before, last = [first, *rest]
    named = {tuple(word.lower() for word in _WORD.findall(name)) for name in others}
    return tuple(before) in named and (
        bare(last) in _CERTAIN or (last.endswith("s") and bare(last) in DERIVED)
    )


def share_names(files: Sequence[str], others: Sequence[str]) -> bool:
    """Whether half of the fewer files, or more, have the name of one of the others.

    >>> share_names(["1.jpg", "2.jpg"], ["2.png", "5.png", "6.png"]), share_names(["1.jpg"], [])
    (True, False)
    """
    stems, beside = ({name.rpartition(".")[0] for name in names} for names in (files, others))
    return bool(stems and beside) and 2 * len(stems & beside) >= min(len(stems), len(beside))
