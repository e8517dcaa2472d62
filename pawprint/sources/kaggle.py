"""Downloads a competition's or a data set's zip with Kaggle's own client.

The client is imported only here and only when needed: importing it reads credentials, and may
already send a request.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from pawprint.runner.errors import KaggleError
from pawprint.runner.params import DataParams
from pawprint.sources.downloads import PARTIAL, SLUG, Download, kaggle_file, remove_downloads
from pawprint.sources.url import TooLargeError, content_length, network_fault

RETRIES = 2  # within one run, after a connection that broke off
FIXED = "Kaggle is not asked, since a competition or a version of a data set does not change"
HOW_TO_SIGN_IN = (
    "create a token at https://www.kaggle.com/settings/api, then set KAGGLE_API_TOKEN, or "
    "KAGGLE_USERNAME and KAGGLE_KEY, or save it as ~/.kaggle/access_token"
)


def download(data: DataParams, directory: Path) -> Download:
    """Downloads `data.kaggle_dataset`, or `data.kaggle_competition` if that is empty.

    A kept zip of a competition, or of one version of a data set, is used without a request, and so
    without an account: these do not change. For a data set without a version, Kaggle is asked for
    the date and the size of the newest one; if it cannot be reached, the kept one is used. The
    client keeps a download that broke off and resumes it at the next call, if the file at Kaggle is
    still the same.

    Args:
        data: names, the longest silence of the server in seconds, and the largest download.
        directory: where the zip is kept, in a folder of the name; made if missing.

    Returns:
        The zip. Neither its sums nor its being a zip are checked.

    Raises:
        KaggleError: wrong names, no or refused credentials, rules that are not accepted, nothing
            of that name, no network, a silent server, a download that broke off or is too large.
        OSError: the file cannot be written.
    """
    name = _checked_name(data)
    file = kaggle_file(directory, name)
    if _is_whole(file) and (not data.kaggle_dataset or name.count("/") == 2):
        return Download(file, FIXED)
    try:
        fetched = _ask_client(data, name, file)
    except KaggleError as error:
        if _is_whole(file) and _is_network_fault(error.__cause__):
            return Download(file, "Kaggle cannot be reached, so there may be a newer version")
        raise
    _check_presence(file, name)
    return Download(file, "" if fetched else "Kaggle has no newer version")


def _is_whole(file: Path) -> bool:
    return file.is_file() and not _partial(file).exists()


def _partial(file: Path) -> Path:
    """What the client notes beside a file as long as that is not whole."""
    return file.with_name(file.name + PARTIAL)


def _is_network_fault(error: BaseException | None) -> bool:
    if isinstance(error, requests.HTTPError):  # Kaggle was reached, and refused
        return False
    return isinstance(error, requests.RequestException)


def _ask_client(data: DataParams, name: str, file: Path) -> bool:
    """Has `file` brought up to date; False if it was already."""
    target = str(file.parent)
    with _refusals(data, name), _limits(data), redirect_stdout(io.StringIO()):
        api = _signed_in_client()
        try:
            if data.kaggle_dataset:
                api.dataset_download_files(name, path=target, quiet=False)
            else:
                api.competition_download_files(name, path=target, quiet=False)
        except TooLargeError:
            if api.fetched or not _is_whole(file):
                remove_downloads([file, _partial(file)])
            raise KaggleError(
                f"{address(data)}: expected at most data.max_gb = {data.max_gb:g} GB, Kaggle "
                "sends more: raise data.max_gb if the disk has room"
            ) from None
    return bool(api.fetched)


def address(data: DataParams) -> str:
    """The web page of the competition or the data set."""
    if data.kaggle_dataset:
        return f"https://www.kaggle.com/datasets/{data.kaggle_dataset}"
    return f"https://www.kaggle.com/c/{data.kaggle_competition}"


def _checked_name(data: DataParams) -> str:
    if data.kaggle_dataset:
        if not re.fullmatch(rf"{SLUG}/{SLUG}(/\d+)?", data.kaggle_dataset):
            raise KaggleError(
                "data.kaggle_dataset: expected owner/name or owner/name/version as in its "
                f"address, found {data.kaggle_dataset!r}"
            )
        return data.kaggle_dataset
    if not re.fullmatch(SLUG, data.kaggle_competition):
        raise KaggleError(
            "data.kaggle_competition: expected a name as in https://www.kaggle.com/c/<name>, "
            f"found {data.kaggle_competition!r}"
        )
    return data.kaggle_competition


def _signed_in_client() -> Any:
    from kaggle.api.kaggle_api_extended import KaggleApi

    class Client(KaggleApi):
        fetched = False

        def download_needed(
            self, response: requests.Response, outfile: str, quiet: bool = True
        ) -> bool:
            if super().download_needed(response, outfile, quiet):
                return True
            # The client is content with a larger file that is not older
            return Path(outfile).stat().st_size != content_length(response)

        def download_file(self, *args: Any, **kwargs: Any) -> None:
            self.fetched = True
            super().download_file(*args, **kwargs, max_retries=RETRIES)

    api = Client()
    try:
        api.authenticate()
    except SystemExit as error:
        from kagglesdk import get_access_token_from_env

        _, origin = get_access_token_from_env()
        if origin:
            raise KaggleError(
                f"Kaggle does not know the token of {origin} (any more): {HOW_TO_SIGN_IN}"
            ) from error
        raise KaggleError(f"expected Kaggle credentials, found none: {HOW_TO_SIGN_IN}") from error
    return api


@contextmanager
def _limits(data: DataParams) -> Iterator[None]:
    """Gives up on a server that is silent, or sends too much: the client itself sets no limits.

    It sends some requests already when it is imported.
    What is replaced here is none of its public side: see tests/test_private_sides.py.
    """
    send = HTTPAdapter.send

    def send_within_limits(self: HTTPAdapter, *args: Any, **kwargs: Any) -> requests.Response:
        response = send(self, *args, **kwargs | {"timeout": data.timeout_s})
        _bound(response, data.max_gb * 1e9)
        return response

    HTTPAdapter.send = send_within_limits  # type: ignore[method-assign]
    try:
        yield
    finally:
        HTTPAdapter.send = send  # type: ignore[method-assign]


def _bound(response: requests.Response, max_bytes: float) -> None:
    if content_length(response) > max_bytes:
        raise TooLargeError
    read = response.iter_content

    def read_within_limit(*args: Any, **kwargs: Any) -> Iterator[bytes]:
        received = 0
        for chunk in read(*args, **kwargs):
            received += len(chunk)  # the header may be missing or wrong
            if received > max_bytes:
                raise TooLargeError
            yield chunk

    response.iter_content = read_within_limit  # type: ignore[method-assign]


@contextmanager
def _refusals(data: DataParams, name: str) -> Iterator[None]:
    """Turns what the client raises into a KaggleError that names the way out, and no secret."""
    try:
        yield
    except requests.HTTPError as error:
        raise KaggleError(_refusal(error, data, name)) from error
    except requests.RequestException as error:
        raise KaggleError(f"Kaggle: {network_fault(error, data.timeout_s)}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise KaggleError(
            f"Kaggle sent an answer for {name} that its client does not understand "
            f"({type(error).__name__}): run again; if it persists, fetch {address(data)} by hand "
            "and use -S data.source=archive -S data.archive=PATH"
        ) from error


def _refusal(error: requests.HTTPError, data: DataParams, name: str) -> str:
    key = "data.kaggle_dataset" if data.kaggle_dataset else "data.kaggle_competition"
    page = address(data)
    status = error.response.status_code if error.response is not None else 0
    consent = f"open {page}" if data.kaggle_dataset else f"accept the rules at {page}/rules"
    ways_out = {
        401: f"the credentials are not accepted: {HOW_TO_SIGN_IN}",
        403: f"this account may not download {name}: {consent} while signed in",
        404: f"there is nothing named {name}: check {key} against the address of its page",
        429: "too many requests: try again in some minutes",
    }
    way_out = ways_out.get(status, f"try again later, or look at {page}")
    return f"Kaggle answered {status}: {way_out}"


def _check_presence(file: Path, name: str) -> None:
    if not file.is_file():
        names = ", ".join(sorted(path.name for path in file.parent.glob("*"))) or "nothing"
        raise KaggleError(
            f"{name}: expected {file.name} in {file.parent}, found {names}: remove {file.parent}"
        )
