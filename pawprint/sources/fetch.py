"""Fetches the pictures from wherever `data.source` says, as one canonical archive."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from tqdm import tqdm

from pawprint.runner.errors import KaggleError, LayoutError, SourceError
from pawprint.runner.files import file_digest, is_disk_full
from pawprint.runner.params import DataParams
from pawprint.runner.processes import worker_pool
from pawprint.sources import kaggle, url
from pawprint.sources.archive import FetchReport, write_archive
from pawprint.sources.containers import open_container
from pawprint.sources.downloads import Download, remove_downloads, with_size
from pawprint.sources.folders import list_folder
from pawprint.sources.members import DAMAGE, spool_pictures
from pawprint.sources.quota import Quota
from pawprint.sources.sample import draw_picture


def fetch(data: DataParams, out: Path, work: Path) -> FetchReport:
    """Fetches all labelled pictures and writes them to the canonical archive `out`.

    The same pictures give the same bytes, whatever their source, order or packing. Downloads stay
    in `work`: a later call resumes an unfinished one, and uses a whole one again, as after a change
    of the limits or of this code.

    Args:
        data: the section of params.yaml; `data.source` chooses which other keys are read.
        out: path of the zip to write; replaced only by a complete one.
        work: directory of downloads and temporary files, made if needed and removed if empty.

    Returns:
        The number of pictures by split and class, and of ignored files by reason.

    Raises:
        LayoutError: the pictures are there, but their names do not tell the classes.
        KaggleError: Kaggle refused, or could not be reached.
        SourceError: the source is missing, damaged or unreadable, exceeds a limit data.max_*, or
            the disk is full.
    """
    sources = {
        "sample": _fetch_sample,
        "kaggle": _fetch_kaggle,
        "archive": _fetch_archive,
        "url": _fetch_url,
        "folder": _fetch_folder,
    }
    if unread := data.unread_sources():
        keys = ", ".join(f"data.{key}" for key in unread)
        print(f"note: {keys}: named too, and not read: data.source = {data.source}", flush=True)
    try:
        return sources[data.source](data, out, work)
    except OSError as error:
        if is_disk_full(error):
            raise SourceError(
                f"{out}: no space left to fetch the pictures ({error.strerror}): free some in "
                f"{out.parent} and {work}, then run again; {out} is as it was before"
            ) from error
        name = error.filename or out
        raise SourceError(f"{name}: cannot be used: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # what a later call can use stays there
            work.rmdir()


def _fetch_sample(data: DataParams, out: Path, work: Path) -> FetchReport:
    pictures = _draw_all(data.sample_images, data.sample_seed)
    progress = tqdm(pictures, desc="draw", unit="picture", total=data.sample_images)
    with spool_pictures(iter(progress), work) as listing:
        return write_archive(listing, out, Quota(data, "data.source = sample"))


def _draw_all(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    with worker_pool("data.source = sample") as pool:
        yield from pool.map(partial(draw_picture, seed=seed), range(count), chunksize=16)


def _fetch_folder(data: DataParams, out: Path, work: Path) -> FetchReport:
    folder = Path(data.folder)
    if not folder.is_dir():
        raise SourceError(
            f"data.folder: expected a directory, found {_kind(folder)} at {data.folder!r}: "
            "set it with -S data.folder=PATH"
        )
    quota = Quota(data, f"data.folder = {data.folder}")
    return write_archive(list_folder(folder, quota), out, quota)


def _fetch_archive(data: DataParams, out: Path, work: Path) -> FetchReport:
    if url.is_http(data.archive):
        return _download_and_repack(data.archive, data, out, work)
    path = Path(data.archive)
    if not path.is_file():
        raise SourceError(
            f"data.archive: expected the path of a zip or a tar, found {_kind(path)} at "
            f"{data.archive!r}: set it with -S data.archive=PATH"
        )
    if data.sha256 and (found := file_digest(path)) != data.sha256.lower():
        raise SourceError(
            f"data.sha256: {data.archive} was expected to have {data.sha256.lower()}, "
            f"found {found}: check the file and the sum"
        )
    return _repack(path, data, out, work, f"data.archive = {data.archive}")


def _kind(path: Path) -> str:
    if path.is_dir():
        return "a directory"
    return "a file" if path.exists() else "nothing"


def _fetch_url(data: DataParams, out: Path, work: Path) -> FetchReport:
    return _download_and_repack(data.url, data, out, work)


def _download_and_repack(address: str, data: DataParams, out: Path, work: Path) -> FetchReport:
    download = url.download(address, data, work)
    return _repack_download(download, data, out, work, url.public(address))


def _fetch_kaggle(data: DataParams, out: Path, work: Path) -> FetchReport:
    download = kaggle.download(data, work)
    try:
        return _repack_download(download, data, out, work, kaggle.address(data))
    except SourceError as error:
        if isinstance(error, LayoutError) or not isinstance(error.__cause__, DAMAGE):
            raise
        # Kaggle's client would take a damaged file of the right size for the whole one
        remove_downloads([download.path])
        raise KaggleError(f"{error} (the download is removed: run again)") from error


def _repack_download(
    download: Download, data: DataParams, out: Path, work: Path, place: str
) -> FetchReport:
    size = download.path.stat().st_size
    if size > data.max_gb * 1e9:
        raise SourceError(
            f"{place}: expected at most data.max_gb = {data.max_gb:g} GB, found "
            f"{size / 1e9:.3g} GB at {download.path}: raise data.max_gb"
        )
    if download.reason:
        print(
            f"{with_size(download.path)} is used again: {download.reason}; to fetch it anew, "
            "remove it and run `dvc repro -f download`",
            flush=True,
        )
    return _repack(download.path, data, out, work, place)


def _repack(path: Path, data: DataParams, out: Path, work: Path, place: str) -> FetchReport:
    quota = Quota(data, place, packed=path.stat().st_size)
    with open_container(path, work, quota) as listing:
        return write_archive(listing, out, quota)
