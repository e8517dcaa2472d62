"""Tells names of the forms that pictures are in, as `images` and `masks`. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

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


def find_derived(folders: Collection[str]) -> set[str]:
    """Those folders that are certainly of what is made from pictures, by their names side by side.

    >>> sorted(find_derived(["cat", "cow", "mask", "masks", "gt"]))
    ['gt', 'masks']
    >>> find_derived(["cat", "cow", "cow_masks"])
    {'cow_masks'}
    >>> find_derived(["mask", "images", "x"]), find_derived(["masks", "hats", "gloves"])
    ({'mask'}, set())
    """
    beside_pictures = not _PICTURES.isdisjoint(map(str.lower, folders))
    plurals = [name for name in folders if name.lower().endswith("s")]
    named = set(map(_subject, folders))
    found = set()
    for name in folders:
        plural = plurals == [name] and bare(name) != "thumb"
        if is_derived(name):
            several = len(_WORD.findall(name)) > 1 and bare(name) not in DERIVED
            certain = several or plural or beside_pictures or bare(name) in _CERTAIN
        else:
            *before, last = [word.lower() for word in _WORD.findall(name)] or [""]
            form = bare(last) in _CERTAIN or (last.endswith("s") and bare(last) in DERIVED)
            certain = form and tuple(before) in named
        if certain:
            found.add(name)
    return found


def _subject(folder: str) -> tuple[str, ...]:
    """The words of a name, without one for pictures behind them: those of `cat_images`."""
    words = [word.lower() for word in _WORD.findall(folder)]
    return tuple(words[:-1] if words and bare(words[-1]) in PLAIN else words)


def share_names(files: Sequence[str], others: Sequence[str]) -> bool:
    """Whether half of the fewer files, or more, have the name of one of the others.

    >>> share_names(["1.jpg", "2.jpg"], ["2.png", "5.png", "6.png"]), share_names(["1.jpg"], [])
    (True, False)
    """
    stems, beside = ({name.rpartition(".")[0] for name in names} for names in (files, others))
    return bool(stems and beside) and 2 * len(stems & beside) >= min(len(stems), len(beside))
