"""What the server can be told: options of the command line, or PAWPRINT_* variables."""

from __future__ import annotations

import argparse
import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from pawprint.answers.orders import ANSWERED_PIXELS, PICTURE_BYTES, PICTURE_CPU_S
from pawprint.runner.errors import PawprintError
from pawprint.runner.processes import available_cores

ENVIRONMENT_PREFIX = "PAWPRINT_"
KEY_VARIABLE = "PAWPRINT_API_KEY"
MIN_KEY_LENGTH = 8
REQUESTS_MB = 512
KEY_TEXT = re.compile(r"[!-~]+")  # what every client can send in a header
ANY_HOST = "*"
LOOPBACK_HOSTS = ("localhost", "*.localhost", "127.0.0.1", "[::1]")
HOST_PATTERN = re.compile(r"(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")
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


def whole(low: int, high: int) -> Callable[[str], int]:
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


def _hosts(text: str) -> str:
    return ",".join(_host(part.strip().lower()) for part in text.split(",") if part.strip())


def _host(text: str) -> str:
    """A name, a pattern or an address as browsers write it in the header Host."""
    if text == ANY_HOST or HOST_PATTERN.fullmatch(text):
        return text
    try:
        return f"[{ipaddress.IPv6Address(text.strip('[]'))}]"
    except ValueError:
        raise argparse.ArgumentTypeError(
            "expected hosts without scheme and port, such as app.example, *.app.example, 10.0.0.5 "
            f"or [::1], or * for any; found {text!r}"
        ) from None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost"


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
    if not KEY_TEXT.fullmatch(key):
        raise PawprintError(
            f"{source}: expected a key of ASCII letters, digits and signs, for it is sent in a "
            "header; found white space, a control character or a letter beyond ASCII; choose "
            "another one"
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
    port: int = _option(8000, whole(0, 65535), "0: any free one")
    cores: int = _option(0, whole(0, 1024), "that the model may use; 0: all")
    max_batch: int = _option(8, whole(1, 1024), "pictures that the model is given at a time")
    max_wait_ms: float = _option(
        5, _real(0, 1000), "how long a batch waits for pictures that are being decoded"
    )
    queue: int = _option(256, whole(1, 100_000), "pictures accepted and not yet answered")
    max_files: int = _option(64, whole(1, 10_000), "pictures of one request")
    max_body_mb: float = _option(32, _real(0.001, 1000), "size of a request")
    max_memory_mb: float = _option(
        0,
        _real(0, 1e6),
        "for all requests at a time and their decoders, of which there are fewer if it is short; "
        "0: 512 for requests, and --max-picture-mb a decoder",
    )
    max_pixels: int = _option(
        ANSWERED_PIXELS, whole(0, 178_956_970), "of a picture; 0: as many as in the model's card"
    )
    max_request_pixels: int = _option(
        100_000_000,
        whole(1, 10**12),
        "of all pictures of a request; those of large JPEGs count an eighth",
    )
    max_picture_mb: float = _option(
        PICTURE_BYTES / 1e6, _real(50, 1e5), "that decoding a picture may take, its file included"
    )
    max_picture_s: float = _option(
        PICTURE_CPU_S, _real(0.1, 3600), "of processor time that decoding a picture may take"
    )
    max_request_s: float = _option(
        2, _real(0.1, 1e6), "of processor time that decoding all pictures of a request may take"
    )
    decoders: int = _option(0, whole(0, 1024), "processes that decode; 0: two a core")
    read_timeout_s: float = _option(
        30, _real(0.1, 3600), "until the headers, and until the body of a request has arrived"
    )
    write_timeout_s: float = _option(
        30, _real(0.1, 3600), "until 16 kB of an answer, or what is left of it, have been taken"
    )
    keep_alive_s: int = _option(
        5, whole(1, 3600), "until the next request; behind a proxy, more than the proxy waits"
    )
    timeout_s: float = _option(30, _real(0.1, 3600), "until a request is answered")
    drain_s: float = _option(
        1, _real(0, 600), "after SIGTERM, how long /readyz says 503 before no more is accepted"
    )
    max_connections: int = _option(
        512, whole(1, 100_000), "open at a time; /healthz and /readyz answer to some more"
    )
    allowed_hosts: str = _option(
        "",
        _hosts,
        "names by which the server is asked, comma separated, *.app.example for all below one; "
        "default: localhost and its addresses if --host is one of these, otherwise any (*)",
    )
    cors_origins: str = _option(
        "", _origins, "origins whose pages may use this server, comma separated; none otherwise"
    )
    keep_features: int = _option(
        0,
        whole(0, 10_000),
        "pictures of which what the model found in them is kept in memory, with their names, for "
        "GET /v1/kept and `suggest`; no picture is; 0: of none",
    )
    log: str = _option(
        "auto", _log, "json: an object a line; text: to be read; auto: text in a terminal"
    )
    log_peer: bool = _option(False, _switch, "lines of requests have the client's address")
    log_lines_per_s: int = _option(
        200, whole(1, 1_000_000), "lines of one kind; the next one says how many were left out"
    )
    api_key: str = field(default="", repr=False)

    @property
    def max_pictures(self) -> int:
        """Of one request: no more than may wait."""
        return min(self.max_files, self.queue)

    @property
    def host_names(self) -> frozenset[str]:
        """That the server answers to; ``*.`` in front stands for all below, ``*`` for any."""
        if self.allowed_hosts:
            return frozenset(self.allowed_hosts.split(","))
        return frozenset((*LOOPBACK_HOSTS, self.host) if _is_loopback(self.host) else (ANY_HOST,))

    @property
    def allowed_origins(self) -> frozenset[str]:
        return frozenset(self.cors_origins.split(",")) - {""}

    @property
    def max_body_bytes(self) -> int:
        return int(self.max_body_mb * 1_000_000)

    @property
    def wanted_decoders(self) -> int:
        return self.decoders or 2 * available_cores()

    @property
    def decoder_count(self) -> int:
        """Processes that decode: as many as the memory allows, and one at least."""
        wanted = self.wanted_decoders
        if not self.max_memory_mb:
            return wanted
        room_mb = self.max_memory_mb - self.max_body_mb
        return max(1, min(wanted, int(room_mb / self.max_picture_mb)))

    @property
    def max_memory_bytes(self) -> int:
        """For the bodies of all requests at a time."""
        left_mb = self.max_memory_mb - self.decoder_count * self.max_picture_mb
        most_mb = left_mb if self.max_memory_mb else REQUESTS_MB
        return int(max(most_mb, self.max_body_mb) * 1_000_000)


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
        PawprintError: the key cannot be used, or is missing where one must be.
    """
    names = [setting.name for setting in fields(Settings) if setting.name != "api_key"]
    key, given = options.api_key_file, environment.get(KEY_VARIABLE, "")
    if given and not key:
        key = _check_key(KEY_VARIABLE, given)
    settings = Settings(**{name: getattr(options, name) for name in names}, api_key=key)
    if settings.keep_features and not key and not _is_loopback(settings.host):
        raise PawprintError(
            "--keep-features: expected a key, since GET /v1/kept tells of the pictures of all "
            f"clients, and --host {settings.host} lets others ask; add --api-key-file, or listen "
            "on 127.0.0.1"
        )
    return settings
