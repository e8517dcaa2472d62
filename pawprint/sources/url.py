"""Downloads one file over http(s), resuming where an earlier attempt broke off."""

from __future__ import annotations

import hashlib
import ssl
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import requests
from tqdm import tqdm
from urllib3.exceptions import ReadTimeoutError

from pawprint.runner.errors import SourceError
from pawprint.runner.files import file_digest
from pawprint.runner.params import DataParams

NETWORK_CHUNK_BYTES = 1 << 16  # a connection that breaks off loses the chunk it was in


def download(url: str, data: DataParams, directory: Path) -> Path:
    """Downloads `url` into `directory` and checks its sum; what is there already is not repeated.

    The name of the file depends on the url alone. An interrupted download stays as `.part`, and
    the next call asks the server for the rest; a server that cannot send a part is asked for all.

    Args:
        url: http or https address.
        data: sha256 is the expected SHA-256 in hexadecimal, any case. If empty, the file is
            downloaded and kept, but not returned: the error tells its sum, for the user to check
            and to set. timeout_s is the longest silence of the server, max_gb the largest file.
        directory: made if missing.

    Raises:
        SourceError: the key data.url or data.sha256 is missing or wrong, the server refuses, is
            silent or cannot be reached, the file is too large, or the sum is another (the file is
            removed then).
        OSError: the file cannot be written.
    """
    if not is_http(url):
        raise SourceError(
            "data.url: expected the http(s) address of a zip, "
            f"found {url!r}: set it with -S data.url=ADDRESS"
        )
    directory.mkdir(parents=True, exist_ok=True)
    target = directory / f"url-{hashlib.sha256(url.encode()).hexdigest()[:16]}.zip"
    if not target.exists():
        part = target.with_suffix(".part")
        _download_rest(url, part, data)
        part.rename(target)
    _check_sum(target, data.sha256.lower(), public(url))
    return target


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


def _download_rest(url: str, part: Path, data: DataParams) -> None:
    try:
        while not _request(url, part, data):
            part.unlink()
    except requests.RequestException as error:
        reason = network_fault(error, data.timeout_s)
        raise SourceError(f"data.url: {public(url)}: {reason}") from error
    except TooLargeError:
        part.unlink(missing_ok=True)
        raise SourceError(
            f"{public(url)}: expected at most data.max_gb = {data.max_gb:g} GB, the server sends "
            "more: check the address, or raise data.max_gb"
        ) from None


def _request(url: str, part: Path, data: DataParams) -> bool:
    """Fetches what `part` lacks; False if the server refuses because of what `part` holds."""
    start = part.stat().st_size if part.exists() else 0
    # Without identity, a server may compress the file, and offsets would count compressed bytes
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with requests.get(url, headers=headers, stream=True, timeout=data.timeout_s) as response:
        if start and response.status_code == requests.codes.requested_range_not_satisfiable:
            return False
        if not response.ok:
            raise SourceError(
                f"data.url: {public(url)}: expected a file, the server answered "
                f"{response.status_code} {response.reason}: check the address"
            )
        partial = response.status_code == requests.codes.partial_content
        _save(response, part, start if partial else 0, data.max_gb * 1e9)
    return True


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


def _check_sum(path: Path, expected: str, address: str) -> None:
    found = file_digest(path)
    if not expected:
        raise SourceError(
            f"data.sha256 is empty: expected the SHA-256 of {address}; the downloaded file has "
            f"{found}: if its publisher states the same, set -S data.sha256={found}"
        )
    if found != expected:
        path.unlink()
        raise SourceError(
            f"data.sha256: {address} was expected to have {expected}, found {found}: "
            "the download is removed; check the address and the sum, then run again"
        )
