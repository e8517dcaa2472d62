"""Downloads one file over http(s), resuming where an earlier attempt broke off, and keeps it."""

from __future__ import annotations

import hashlib
import json
import ssl
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import requests
from tqdm import tqdm
from urllib3.exceptions import ReadTimeoutError

from pawprint.runner.errors import SourceError
from pawprint.runner.files import atomic_write, file_digest
from pawprint.runner.params import DataParams
from pawprint.sources.containers import archive_fault, is_archive
from pawprint.sources.downloads import Download, remove_downloads

NETWORK_CHUNK_BYTES = 1 << 16  # a connection that breaks off loses the chunk it was in


def download(url: str, data: DataParams, directory: Path) -> Download:
    """Downloads `url` into `directory` and checks its sum; what is there already is not repeated.

    A kept file is known by its address and its sum, so those of several sums lie side by side. One
    that has the sum data.sha256 is used without a request. An interrupted download stays as
    `.part`, and the next call asks the server for the rest, unless the file there has changed; a
    server that cannot send a part is asked for all.

    Args:
        url: http or https address.
        data: sha256 is the expected SHA-256 in hexadecimal, any case. If empty, the file is
            downloaded and kept, but not returned: the error tells its sum, for the user to check
            and to set; a kept file is fetched again only if the server does not say that it is
            still the same. timeout_s is the longest silence of the server, max_gb the largest file.
        directory: made if missing.

    Raises:
        SourceError: the key data.url or data.sha256 is missing or wrong, the server refuses, is
            silent or cannot be reached, the file is too large, or the sum is another (the file is
            removed then).
        OSError: the file cannot be written.
    """
    if not is_http(url):
        raise SourceError(
            "data.url: expected the http(s) address of a zip or a tar, "
            f"found {url!r}: set it with -S data.url=ADDRESS"
        )
    directory.mkdir(parents=True, exist_ok=True)
    files = _Files(directory / f"url-{hashlib.sha256(url.encode()).hexdigest()[:16]}")
    expected = data.sha256.lower()
    if expected:
        if _keep_if_intact(files.whole(expected), expected):
            return Download(files.whole(expected), "its SHA-256 is data.sha256")
        _download_rest(url, files, data, {})
        return Download(files.keep(_checked_sum(files, expected, public(url))))
    note = files.read_note()
    kept = note.sha256 and _keep_if_intact(files.whole(note.sha256), note.sha256)
    if _download_rest(url, files, data, note.unless_same() if kept else {}):
        files.keep(file_digest(files.part))
    found = files.read_note().sha256
    _refuse_other_files(files, found, public(url))
    raise SourceError(
        f"data.sha256 is empty: expected the SHA-256 of {public(url)}; the downloaded file has "
        f"{found}: if its publisher states the same, set -S data.sha256={found}"
    )


def _refuse_other_files(files: _Files, sha256: str, address: str) -> None:
    """The sum of what is no archive is never told: nobody should trust it."""
    path = files.whole(sha256)
    if not is_archive(path):
        found = archive_fault(path) or "something else: check the address"
        remove_downloads([path, files.note])
        raise SourceError(
            f"data.url: {address}: expected a zip or a tar, found {found} (it is removed again)"
        )


@dataclass(frozen=True)
class _Note:
    """What is known of a file: what the server said as it began to send it, then its sum.

    Attributes:
        etag: the header ETag; empty if there was none.
        last_modified: likewise.
        sha256: in hexadecimal; empty as long as the file is not whole.
    """

    etag: str = ""
    last_modified: str = ""
    sha256: str = ""

    def unless_same(self) -> dict[str, str]:
        """Headers for a file that is wanted only if it has changed; empty if that is not known."""
        headers = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        return {name: value for name, value in headers.items() if value}

    def if_same(self) -> dict[str, str]:
        """Headers for the rest of a file, or all of it if it has changed since its beginning."""
        weak = not self.etag or self.etag.startswith("W/")  # may be that of other bytes
        value = self.last_modified if weak else self.etag
        return {"If-Range": value} if value else {}


@dataclass(frozen=True)
class _Files:
    """The files that are kept of one address: whole ones, and the latest one's part and note.

    Attributes:
        stem: their path, as far as they share it.
    """

    stem: Path

    @property
    def part(self) -> Path:
        return self.stem.with_suffix(".part")

    @property
    def note(self) -> Path:
        return self.stem.with_suffix(".json")

    def whole(self, sha256: str) -> Path:
        return self.stem.with_name(f"{self.stem.name}-{sha256[:16]}.zip")

    def read_note(self) -> _Note:
        try:
            values = json.loads(self.note.read_text(encoding="utf-8"))
            return _Note(**{name: str(value) for name, value in values.items()})
        except (OSError, ValueError, TypeError, AttributeError):  # missing or damaged
            return _Note()

    def write_note(self, note: _Note) -> None:
        with atomic_write(self.note, flush=False) as file:
            file.write(json.dumps(asdict(note)).encode())

    def keep(self, sha256: str) -> Path:
        """Make the part a whole file, and return its path."""
        self.part.replace(self.whole(sha256))
        self.write_note(replace(self.read_note(), sha256=sha256))
        return self.whole(sha256)


def _keep_if_intact(path: Path, sha256: str) -> bool:
    """Whether a kept file is there and has its sum; one that has another is removed."""
    if not path.exists():
        return False
    found = file_digest(path)
    if found != sha256:
        path.unlink()
        print(
            f"{path}: expected the SHA-256 {sha256}, found {found}: the file is damaged, so it is "
            "removed and fetched anew",
            flush=True,
        )
    return found == sha256


def is_http(url: str) -> bool:
    """Whether this is an http(s) address, rather than a path."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def public(url: str) -> str:
    """The address without what may be secret: user, password, query and fragment."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


class TooLargeError(Exception):
    """A server sends more than data.max_gb."""


def content_length(response: requests.Response) -> int:
    """The number of bytes that a server announces; 0 if it does not."""
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else 0


def network_fault(error: requests.RequestException, timeout_s: float) -> str:
    """Says in a few words why a request failed; never quotes the address, which may hold a key."""
    causes = _causes(error)
    if isinstance(error, requests.Timeout) or any(isinstance(e, ReadTimeoutError) for e in causes):
        return f"no answer within data.timeout_s = {timeout_s:g} s; try again, or raise it"
    if isinstance(error, requests.exceptions.SSLError):
        detail = next((e.reason for e in causes if isinstance(e, ssl.SSLError)), "")
        return f"the TLS connection failed ({detail or 'no details'}): check clock and certificates"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy cannot be reached: check http_proxy and https_proxy, and the network"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off: run again to fetch the rest"
    if isinstance(error, requests.ConnectionError):
        detail = type(causes[-1]).__name__
        return f"cannot be reached ({detail}): check the address and the network"
    return f"the request failed ({type(error).__name__}): check the address"


def _causes(error: BaseException) -> list[BaseException]:
    """The error, and what it wraps, outermost first: requests and urllib3 nest as arguments."""
    causes = [error]
    while True:
        last = causes[-1]
        nested = [getattr(last, "reason", None), *last.args, last.__cause__, last.__context__]
        found = next((e for e in nested if isinstance(e, BaseException) and e not in causes), None)
        if found is None:
            return causes
        causes.append(found)


def _download_rest(url: str, files: _Files, data: DataParams, conditions: dict[str, str]) -> bool:
    """Fetches what the part lacks; False if the server says that nothing has changed.

    Args:
        url: the address.
        files: of that address.
        data: see `download`.
        conditions: headers under which the file is not wanted.
    """
    try:
        status = _request(url, files, data, conditions)
        if status == requests.codes.requested_range_not_satisfiable:
            files.part.unlink()
            status = _request(url, files, data, conditions)
    except requests.RequestException as error:
        reason = network_fault(error, data.timeout_s)
        raise SourceError(f"data.url: {public(url)}: {reason}") from error
    except TooLargeError:
        remove_downloads([files.part, files.note])
        raise SourceError(
            f"{public(url)}: expected at most data.max_gb = {data.max_gb:g} GB, the server sends "
            "more: check the address, or raise data.max_gb"
        ) from None
    return status != requests.codes.not_modified


def _request(url: str, files: _Files, data: DataParams, conditions: dict[str, str]) -> int:
    """Fetches what the part lacks, or returns the status for which there is nothing to fetch."""
    start = files.part.stat().st_size if files.part.exists() else 0
    # Without identity, a server may compress the file, and offsets would count compressed bytes
    headers = {"Accept-Encoding": "identity"} | conditions
    if start:
        headers |= {"Range": f"bytes={start}-"} | files.read_note().if_same()
    with requests.get(url, headers=headers, stream=True, timeout=data.timeout_s) as response:
        status = response.status_code
        if (start and status == requests.codes.requested_range_not_satisfiable) or (
            conditions and status == requests.codes.not_modified
        ):
            return status
        if not response.ok:
            raise SourceError(
                f"data.url: {public(url)}: expected a file, the server answered "
                f"{status} {response.reason}: check the address"
            )
        if status != requests.codes.partial_content:
            start = 0
            files.part.unlink(missing_ok=True)  # before the note, which is of the new file
            sent = response.headers
            files.write_note(_Note(sent.get("ETag", ""), sent.get("Last-Modified", "")))
        _save(response, files.part, start, data.max_gb * 1e9)
    return status


def _save(response: requests.Response, part: Path, start: int, max_bytes: float) -> None:
    length = content_length(response)
    if start + length > max_bytes:
        raise TooLargeError
    received = start
    with (
        part.open("ab" if start else "wb") as file,
        tqdm(
            total=start + length if length else None,
            initial=start,
            desc="download",
            unit="B",
            unit_scale=True,
        ) as progress,
    ):
        for chunk in response.iter_content(NETWORK_CHUNK_BYTES):
            received += len(chunk)  # the header may be missing or wrong
            if received > max_bytes:
                raise TooLargeError
            file.write(chunk)
            progress.update(len(chunk))


def _checked_sum(files: _Files, expected: str, address: str) -> str:
    found = file_digest(files.part)
    if found != expected:
        fault = archive_fault(files.part)
        remove_downloads([files.part, files.note])
        if fault:
            raise SourceError(
                f"data.sha256: {address} was expected to have {expected}, found {fault} "
                "(it is removed again)"
            )
        raise SourceError(
            f"data.sha256: {address} was expected to have {expected}, found {found}: "
            "the download is removed; check the address and the sum, then run again"
        )
    return found
