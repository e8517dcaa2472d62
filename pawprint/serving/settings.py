"""What the server can be told: options of the command line, or PAWPRINT_* variables."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from pawprint.runner.errors import PawprintError

ENVIRONMENT_PREFIX = "PAWPRINT_"
KEY_VARIABLE = "PAWPRINT_API_KEY"
MIN_KEY_LENGTH = 8
ORIGIN = re.compile(
    r"(?P<origin>(?P<scheme>[a-z][a-z0-9+.-]*)://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\]))(?::(?P<port>\d{1,5}))?"
)


def _number(kind: type[int] | type[float], low: float, high: float) -> Callable[[str], Any]:
    def convert(text: str) -> int | float:
        try:
            value = kind(text)
        except ValueError:
            value = kind(-1)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(
                f"expected {'a whole number' if kind is int else 'a number'} "
                f"from {low} to {high}, found {text!r}"
            )
        return value

    return convert


def _whole(low: int, high: int) -> Callable[[str], int]:
    return _number(int, low, high)


def _real(low: float, high: float) -> Callable[[str], float]:
    return _number(float, low, high)


def _switch(text: str) -> bool:
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("", "0", "false", "no", "off"):
        return False
    raise argparse.ArgumentTypeError(f"expected true or false, found {text!r}")


def _log(text: str) -> str:
    if text not in ("auto", "json", "text"):
        raise argparse.ArgumentTypeError(f"expected auto, json or text, found {text!r}")
    return text


def _origins(text: str) -> str:
    return ",".join(_origin(part.strip()) for part in text.split(",") if part.strip())


def _origin(text: str) -> str:
    """An origin as browsers write it, which leave out the usual port."""
    if text == "*":
        raise argparse.ArgumentTypeError(
            "* would let every page that somebody visits use this server through their browser; "
            "list the origins, such as https://example.org,http://localhost:3000"
        )
    found = ORIGIN.fullmatch(text.lower())
    if not found:
        raise argparse.ArgumentTypeError(
            "expected origins, scheme://host or scheme://host:port in ASCII without a path, such "
            f"as https://example.org; found {text!r}"
        )
    usual = found["port"] == {"http": "80", "https": "443"}.get(found["scheme"])
    return found["origin"] if usual or not found["port"] else found[0]


def _key_file(text: str) -> str:
    if not text:
        return ""
    try:
        return _check_key(text, Path(text).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise argparse.ArgumentTypeError(f"{text}: cannot be read ({error})") from None
    except PawprintError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _check_key(source: str, text: str) -> str:
    key = text.strip()
    if len(key) < MIN_KEY_LENGTH:
        raise PawprintError(
            f"{source}: expected a key of {MIN_KEY_LENGTH} characters or more, found {len(key)}; "
            "choose a longer one"
        )
    return key


def _option(default: Any, convert: Callable[[str], Any], text: str) -> Any:
    return field(default=default, metadata={"convert": convert, "help": text})


@dataclass(frozen=True)
class Settings:
    """Everything that the server can be told; each field is an option of the same name."""

    model: str = _option("models/export", str, "exported model (a directory), or a .keras file")
    candidate: str = _option("", str, "a second model, to be compared with the first")
    candidate_share: float = _option(
        0.1, _real(0, 1), "share of the requests that the second model answers"
    )
    shadow: bool = _option(
        False, _switch, "the second model sees every picture and answers none of them"
    )
    host: str = _option("127.0.0.1", str, "address to listen on; 0.0.0.0: every interface")
    port: int = _option(8000, _whole(0, 65535), "0: any free one")
    cores: int = _option(0, _whole(0, 1024), "that the model may use; 0: all")
    max_batch: int = _option(8, _whole(1, 1024), "pictures that the model is given at a time")
    max_wait_ms: float = _option(
        5, _real(0, 1000), "how long a batch waits for pictures that are being decoded"
    )
    queue: int = _option(256, _whole(1, 100_000), "pictures accepted and not yet answered")
    max_files: int = _option(64, _whole(1, 10_000), "pictures of one request")
    max_body_mb: float = _option(32, _real(0.001, 1000), "size of a request")
    max_memory_mb: float = _option(512, _real(0.001, 1e6), "size of all requests at a time")
    max_pixels: int = _option(
        0, _whole(0, 178_956_970), "of a picture; 0: as many as in the model's card"
    )
    read_timeout_s: float = _option(
        30, _real(0.1, 3600), "until the headers, and until the body of a request has arrived"
    )
    write_timeout_s: float = _option(
        30, _real(0.1, 3600), "until 16 kB of an answer, or what is left of it, have been taken"
    )
    keep_alive_s: int = _option(
        5, _whole(1, 3600), "until the next request; behind a proxy, more than the proxy waits"
    )
    timeout_s: float = _option(30, _real(0.1, 3600), "until a request is answered")
    drain_s: float = _option(
        1, _real(0, 600), "after SIGTERM, how long /readyz says 503 before no more is accepted"
    )
    max_connections: int = _option(
        512, _whole(1, 100_000), "open at a time; /healthz and /readyz answer to some more"
    )
    cors_origins: str = _option(
        "", _origins, "origins whose pages may use this server, comma separated; none otherwise"
    )
    log: str = _option(
        "auto", _log, "json: an object a line; text: to be read; auto: text in a terminal"
    )
    log_peer: bool = _option(False, _switch, "lines of requests have the client's address")
    log_lines_per_s: int = _option(
        200, _whole(1, 1_000_000), "lines of one kind; the next one says how many were left out"
    )
    api_key: str = field(default="", repr=False)

    @property
    def max_pictures(self) -> int:
        """Of one request: no more than may wait."""
        return min(self.max_files, self.queue)

    @property
    def allowed_origins(self) -> frozenset[str]:
        return frozenset(self.cors_origins.split(",")) - {""}

    @property
    def max_body_bytes(self) -> int:
        return int(self.max_body_mb * 1_000_000)

    @property
    def max_memory_bytes(self) -> int:
        return int(max(self.max_memory_mb, self.max_body_mb) * 1_000_000)


def add_options(parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
    """Give a parser an option for each setting.

    Args:
        parser: of the subcommand.
        environment: where the defaults come from: PAWPRINT_PORT for ``--port``, and so on.
    """
    for setting in fields(Settings):
        if "convert" not in setting.metadata:
            continue
        convert, text = setting.metadata["convert"], setting.metadata["help"]
        preset = environment.get(ENVIRONMENT_PREFIX + setting.name.upper(), str(setting.default))
        shown = f"{text} (default: {setting.default})" if setting.default != "" else text
        name = "--" + setting.name.replace("_", "-")
        bare: dict[str, Any] = {"nargs": "?", "const": True} if convert is _switch else {}
        parser.add_argument(
            name, type=convert, default=preset, help=shown.replace("%", "%%"), **bare
        )
    parser.add_argument(
        "--api-key-file",
        type=_key_file,
        default=environment.get(ENVIRONMENT_PREFIX + "API_KEY_FILE", ""),
        metavar="FILE",
        help=f"holds the key that clients must send; or the key itself in {KEY_VARIABLE}",
    )


def read_settings(options: argparse.Namespace, environment: Mapping[str, str]) -> Settings:
    """Settings from what a parser with ``add_options`` has read.

    Raises:
        PawprintError: the key is too short.
    """
    names = [setting.name for setting in fields(Settings) if setting.name != "api_key"]
    key, given = options.api_key_file, environment.get(KEY_VARIABLE, "")
    if given and not key:
        key = _check_key(KEY_VARIABLE, given)
    return Settings(**{name: getattr(options, name) for name in names}, api_key=key)
