"""Pictures of none of the classes: a folder of folders, decoded as prediction decodes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from pawprint.pictures.costs import check_file_size
from pawprint.pictures.images import decode_image
from pawprint.registry.resizing import Resize
from pawprint.runner.errors import ImageError, ParamsError
from pawprint.runner.files import file_digest
from pawprint.runner.processes import available_cores
from pawprint.sources.names import claims_picture, is_hidden
from pawprint.storage.tables import printable

LOOSE = "others"  # the kind of pictures beside the folders
_OF_GIT = ("README.md", ".gitignore")
_NAMED = 3  # unread pictures that a message names


@dataclass(frozen=True)
class Squares:
    """How a file becomes what a model sees: as its card says, see ``decode_image``."""

    size_px: int
    max_pixels: int
    max_value: int
    resize: Resize

    def decode(self, path: Path) -> np.ndarray:
        """uint8 [size, size, 3], RGB in 0...255.

        Raises:
            ImageError: the reason in a few words.
        """
        check_file_size(path.stat().st_size, self.max_pixels)
        limits = self.max_pixels, self.max_value
        return decode_image(path.read_bytes(), self.size_px, *limits, resize=self.resize)


@dataclass
class OtherPictures:
    """The pictures of one kind, decoded while they are asked for; few of them are in memory.

    Attributes:
        files: all of them.
        read: those that could be decoded so far, in the order in which they came.
        unread: the others, with the reasons.
    """

    files: list[Path]
    squares: Squares
    read: list[Path] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.files)

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """All that can be decoded, in order, uint8 [k, size, size, 3], k up to ``size``."""
        left = iter(self.files)
        with ThreadPoolExecutor(available_cores()) as pool:
            while paths := list(islice(left, size)):
                good = []
                for path, found in zip(paths, pool.map(self._try, paths), strict=True):
                    if isinstance(found, str):
                        self.unread.append(f"{path}: {found}")
                    else:
                        self.read.append(path)
                        good.append(found)
                if good:
                    yield np.stack(good)

    def _try(self, path: Path) -> np.ndarray | str:
        if not path.is_file():
            return "not an ordinary file, or a link that leads to none"
        try:
            return self.squares.decode(path)
        except ImageError as error:
            return error.reason()
        except OSError as error:
            return (error.strerror or str(error)).lower()


@dataclass(frozen=True)
class Others:
    """All pictures of none of the classes.

    Attributes:
        directory: where they are.
        kinds: by their folder; those beside the folders are of the kind ``others``.
        ignored: how many files are no pictures by their name.
        linked: links to folders, which are not followed.
        named_loose: whether there is a folder of the kind of those beside the folders, too.
    """

    directory: Path
    kinds: Mapping[str, OtherPictures]
    ignored: int
    linked: Sequence[Path]
    named_loose: bool

    def describe(self) -> Iterator[str]:
        """Lines for the user, after they were judged: how many of each kind; what could not be."""
        if self.kinds:
            kinds = ", ".join(f"{len(found.read):,} {kind}" for kind, found in self.kinds.items())
            yield printable(f"pictures of none of the classes, in {self.directory}: {kinds}")
        if self.linked:
            named = "; ".join(map(str, self.linked[:_NAMED]))
            yield printable(
                f"warning: {len(self.linked):,} links to folders are not followed, since DVC does "
                f"not watch what is there: {named}; copy the folders themselves"
            )
        if self.named_loose:
            yield printable(
                f"warning: {self.directory}: the folder {LOOSE} and the pictures beside the "
                f"folders count as one kind, {LOOSE}; rename the folder to have it apart"
            )
        if self.ignored:
            yield printable(
                f"warning: {self.directory}: {self.ignored:,} files are not read, as their names "
                "are not those of pictures"
            )
        if unread := [line for found in self.kinds.values() for line in found.unread]:
            named = "; ".join(unread[:_NAMED])
            yield printable(f"warning: {len(unread):,} pictures are left out: {named}")

    def describe_copies(self, known: Mapping[str, str]) -> Iterator[str]:
        """Lines for the user: which are pictures of the data set, and how many are there twice.

        Args:
            known: SHA-256 of the data set's files → their names.
        """
        read = [path for found in self.kinds.values() for path in found.read]
        digests = [file_digest(path) for path in read]
        pairs = zip(read, digests, strict=True)
        if own := [f"{path} is {known[digest]}" for path, digest in pairs if digest in known]:
            named = "; ".join(own[:_NAMED])
            yield printable(
                f"warning: {len(own):,} pictures of none of the classes are in the data set, too: "
                f"{named}; they count like the others; take them away from one of the two"
            )
        if again := len(digests) - len(set(digests)):
            yield printable(
                f"warning: {self.directory}: {again:,} pictures are copies of others there, and "
                "count again"
            )


def find_others(directory: Path, squares: Squares) -> Others:
    """The pictures of a folder, also in folders of folders, sorted.

    Args:
        directory: ``evaluate.others``.
        squares: how a file becomes what a model sees.

    Raises:
        ParamsError: there is no such directory.
    """
    if not directory.is_dir():
        raise ParamsError(
            "params.yaml: evaluate.others: expected a folder of pictures, which may be empty; "
            f"found none at {str(directory)!r}; make it, or set it back to data/others"
        )
    kinds: dict[str, OtherPictures] = {}
    ignored, linked, depths = 0, [], set()
    for path in sorted(directory.rglob("*")):
        inner = path.relative_to(directory).parts
        if is_hidden(inner):
            continue
        if path.is_dir():
            linked += [path] if path.is_symlink() else []
        elif inner[-1] in _OF_GIT:
            continue
        elif claims_picture(path.name):
            kind = inner[0] if len(inner) > 1 else LOOSE
            kinds.setdefault(kind, OtherPictures([], squares)).files.append(path)
            depths |= {len(inner) > 1} if kind == LOOSE else set()
        else:
            ignored += 1
    return Others(directory, kinds, ignored, linked, len(depths) == 2)
