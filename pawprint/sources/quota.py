"""Limits on what is read of a source, so that a hostile or mistaken one cannot fill the disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, NoReturn

from pawprint.runner.errors import SourceError
from pawprint.runner.params import DataParams

COPY_CHUNK_BYTES = 1 << 20
RATIO_FROM_BYTES = 10_000_000  # below, the ratio says little and a bomb does no harm


@dataclass
class Quota:
    """The keys data.max_* of params.yaml, and how much of them one source has used up.

    Sizes that a zip states are checked before anything is written, and the bytes that really
    arrive while they are: what is stated may be wrong.

    Attributes:
        limits: the section of params.yaml.
        place: what messages call the source.
        packed: size in bytes of the zip that everything comes from; 0: a folder.
    """

    limits: DataParams
    place: str
    packed: int = 0
    _files: int = 0
    _zip_bytes: int = 0
    _picture_bytes: int = 0

    @property
    def names_encoding(self) -> str:
        """Of the names in archives; empty: UTF-8, or what the archive says."""
        return self.limits.names_encoding

    def count_files(self, number: int) -> None:
        """Take note of files that were found, of whatever kind.

        Raises:
            SourceError: all together are more than data.max_files.
        """
        self._files += number
        if self._files > self.limits.max_files:
            self._refuse("max_files", "files", f"found {self._files} or more")

    def check_picture(self, name: str, size: int, packed: int, total: int) -> None:
        """Compare a picture with the limits.

        Args:
            name: its name in the source.
            size: its bytes, as stated or as far as they were read.
            packed: its bytes within its zip; 0: not packed.
            total: the bytes of all pictures up to this one.

        Raises:
            SourceError: data.max_file_mb, data.max_gb or data.max_ratio is exceeded.
        """
        if size > self.limits.max_file_mb * 1e6:
            found = f"found {name!r} with {size / 1e6:.1f} MB or more"
            self._refuse("max_file_mb", "MB a picture", found)
        self._check_volume(name, size, packed, total)

    def copy_picture(self, source: IO[bytes], target: IO[bytes], name: str, packed: int) -> None:
        """Copy a picture, counting; see `check_picture`."""
        size = 0
        while chunk := source.read(COPY_CHUNK_BYTES):
            size += len(chunk)
            self._picture_bytes += len(chunk)
            self.check_picture(name, size, packed, self._picture_bytes)
            target.write(chunk)

    def copy_zip(self, source: IO[bytes], target: IO[bytes], name: str, packed: int) -> int:
        """Copy a zip within the zip, and return its size; all such have data.max_gb of their own.

        Raises:
            SourceError: data.max_gb or data.max_ratio is exceeded.
        """
        size = 0
        while chunk := source.read(COPY_CHUNK_BYTES):
            size += len(chunk)
            self._zip_bytes += len(chunk)
            self._check_volume(name, size, packed, self._zip_bytes)
            target.write(chunk)
        return size

    def _check_volume(self, name: str, size: int, packed: int, total: int) -> None:
        if total > self.limits.max_gb * 1e9:
            found = f"found {total / 1e9:.3g} GB or more up to {name!r}"
            self._refuse("max_gb", "GB in all", found)
        self._check_ratio(repr(name), size, packed)
        # This one cannot be lied to: members that overlap share the same packed bytes
        self._check_ratio("all of it", total, self.packed)

    def _check_ratio(self, label: str, size: int, packed: int) -> None:
        if packed and size > max(RATIO_FROM_BYTES, self.limits.max_ratio * packed):
            found = f"found {label} with {size / packed:.0f} or more"
            self._refuse("max_ratio", "times the packed size", found)

    def _refuse(self, key: str, unit: str, found: str) -> NoReturn:
        raise SourceError(
            f"{self.place}: expected at most data.{key} = {getattr(self.limits, key):.15g} {unit}, "
            f"{found}: remove what does not belong there, or raise data.{key} if all of it does"
        )
