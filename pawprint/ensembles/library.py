"""The models that may join in: those of this run, and files of other experiments.

A file of an experiment was trained on a division of its own. Where pictures of this run's
validation or test split were among those that it learned from, it knows them, and every figure here
would be too good. A model file does not say which pictures it has seen, but the experiment's
``data/split.csv`` does: beside ``NAME.keras`` it is looked for as ``NAME.csv``.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pawprint.data.manifest import Picture, read_manifest
from pawprint.networks.model_files import REMEDY
from pawprint.runner.errors import DataError, ModelError, ParamsError
from pawprint.runner.files import file_digest
from pawprint.storage.tables import printable

_SUFFIX, _LIST_SUFFIX = ".keras", ".csv"
_REMEDY = "fetch it again with `dvc get`, or another one, or remove it"
_OF_GIT = ("README.md", ".gitignore")


@dataclass(frozen=True)
class LibraryModel:
    """A model that may join in.

    Attributes:
        name: of a model of this run, or the path of a file below ``ensemble.files``.
        path: of its ``.keras`` file.
        remark: what to know if it does join in; empty if there is nothing.
        remedy: what to do where it cannot be used.
    """

    name: str
    path: Path
    remark: str = ""
    remedy: str = REMEDY


def find_candidates(
    own: Mapping[str, Path], directory: Path, pictures: Sequence[Picture]
) -> tuple[list[LibraryModel], list[str]]:
    """The models that may join in, in a fixed order, those of this run first.

    Args:
        own: the models of this run, by name.
        directory: where files of others lie, also in folders.
        pictures: of this run, each with its split.

    Returns:
        The models, and a line for each file that is left out.

    Raises:
        ParamsError: there is no such directory.
        ModelError: a file has learned from pictures that are validation or test pictures here.
        DataError: what lies beside a file is not a list of pictures.
    """
    if not directory.is_dir():
        raise ParamsError(
            f"params.yaml: ensemble.files: expected a folder of .keras files, which may be empty; "
            f"found none at {str(directory)!r}; make it, or set it back to data/members"
        )
    found = {name: LibraryModel(name, path) for name, path in own.items()}
    digests = {file_digest(path): name for name, path in own.items()}
    files, left_out = _list_files(directory)
    for path in files:
        name = path.relative_to(directory).as_posix()
        remark = _look_at_pictures(path, pictures)  # of a copy, too: its list may tell more
        same = digests.setdefault(file_digest(path), name)
        if same == name:
            found[name] = LibraryModel(name, path, remark, _REMEDY)
            continue
        left_out.append(f"{path}: left out, as it is the same model as {same}")
        if not remark:
            found[same] = replace(found[same], remark="")
    return list(found.values()), sorted(left_out)


def _list_files(directory: Path) -> tuple[list[Path], list[str]]:
    """The ``.keras`` files of a folder, and a line for each file that is not read."""
    files, left_out = [], []
    everything = sorted(path for path in directory.rglob("*") if not path.is_dir())
    for path in everything:
        if path.suffix == _SUFFIX:
            if path.is_file():
                files.append(path)
            else:
                left_out.append(f"{path}: not read, as it is a link to nothing, or no file")
        elif path.suffix == _LIST_SUFFIX and path.with_suffix(_SUFFIX) in everything:
            continue
        elif path.name not in _OF_GIT:
            left_out.append(f"{path}: not read, as it is no .keras file, nor the list of one")
    return files, left_out


def _look_at_pictures(path: Path, pictures: Sequence[Picture]) -> str:
    """What to know of a file whose pictures are not listed; empty where its list fits."""
    beside = path.with_suffix(_LIST_SUFFIX)
    if not beside.is_file():
        file, wanted = printable(str(path)), printable(beside.name)
        return (
            f"Nothing tells which pictures {file} learned from. If pictures of val or test were "
            "among them, as where split.* or the data differ, its figures and those of the "
            f"ensemble are too good. Put the data/split.csv of its experiment there as {wanted}, "
            "and this is checked."
        )
    try:
        seen = read_manifest(beside)
    except (TypeError, ValueError, csv.Error):
        seen = []
    if not {"train", "val"} & {picture.split for picture in seen}:
        raise DataError(
            f"{beside}: expected the data/split.csv of the experiment that made {path.name}, found "
            "no such table; fetch it with `dvc get`, or remove it"
        )
    known = {
        "val": _known(seen, ("train",), pictures, "val"),
        "test": _known(seen, ("train", "val"), pictures, "test"),
    }
    if any(known.values()):
        raise ModelError(
            f"{path}: it learned from {known['val']:,} of the validation pictures and "
            f"{known['test']:,} of the test pictures of this run, as {beside.name} beside it "
            "tells: all figures would be too good; train it on this division, or remove it"
        )
    return ""


def _known(
    seen: Sequence[Picture], seen_in: Sequence[str], pictures: Sequence[Picture], split: str
) -> int:
    """How many pictures of a split, or near duplicates of them, another run had in its splits."""
    theirs = [picture for picture in seen if picture.split in seen_in]
    hashes, groups = {p.sha256 for p in theirs}, {p.group for p in theirs}
    return sum(
        picture.sha256 in hashes or picture.group in groups
        for picture in pictures
        if picture.split == split
    )
