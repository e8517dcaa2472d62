"""A file server on the loopback interface, which can also play Kaggle behind a proxy setting."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from urllib.parse import urlsplit

from pawprint.runner.params import DataParams
from pawprint.runner.params_file import load_params

ROOT = Path(__file__).resolve().parent.parent


def data_params(**changes: str | float) -> DataParams:
    """The committed defaults of the section data, with some keys changed."""
    return load_params(ROOT / "params.yaml").data.model_copy(update=changes)


@dataclass
class Reply:
    """What the server does when a path is asked for.

    Attributes:
        content: the file.
        status: of the answer, where it is not a file.
        ranges: whether a Range request is honoured.
        length: whether its size is announced.
        cuts: sizes after which the first answers break off, one for each.
        silent_after: number of bytes of the file after which it says no more; 0: no answer at all.
        etag: of the file, by which a changed one is told; empty: not sent.
        modified: its date, likewise.
    """

    content: bytes = b""
    status: int = 200
    ranges: bool = True
    length: bool = True
    cuts: list[int] = field(default_factory=list)
    silent_after: int | None = None
    etag: str = '"1"'
    modified: str = "Sat, 01 Jan 2022 00:00:00 GMT"


@dataclass
class Server:
    address: str
    replies: dict[str, Reply]
    requests: list[tuple[str, str, str]] = field(default_factory=list)  # method, path, Range
    credentials: str = ""  # of the Authorization header that Kaggle accepts; empty: any
    closing: Event = field(default_factory=Event)

    def ranges_of(self, path: str) -> list[str]:
        """The Range headers of the GET requests for a path, in order; empty for all of it."""
        return [asked for method, of, asked in self.requests if (method, of) == ("GET", path)]


def kaggle_environment(directory: Path, proxy: str, secrets: dict[str, str]) -> dict[str, str]:
    """Variables of a process whose requests to Kaggle go to the server at the address `proxy`.

    Args:
        directory: where its home directory is made.
        proxy: of a server that plays Kaggle; one that is closed stands for no network.
        secrets: the credentials; those of the user who runs the tests are not seen.
    """
    (directory / "home").mkdir(exist_ok=True)
    clean = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("KAGGLE") and not key.lower().endswith("_proxy")
    }
    own = {
        "HOME": str(directory / "home"),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        "KAGGLE_API_ENVIRONMENT": "LOCALHOST",
        "http_proxy": proxy,
    }
    return clean | own | secrets


@contextmanager
def serve(replies: dict[str, Reply]) -> Iterator[Server]:
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server = Server(f"http://127.0.0.1:{httpd.server_address[1]}", replies)
    httpd.pawprint = server  # type: ignore[attr-defined]
    thread = Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        httpd.shutdown()
        httpd.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        reply = self._begin()
        if reply is None or reply.status >= 400:
            self.send_error(404 if reply is None else reply.status)
            return
        if self._is_known(reply):
            self.send_response(304)
            self.end_headers()
            return
        start = self._start(reply)
        if start >= len(reply.content):
            self.send_error(416)
            return
        body = reply.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", "application/zip")
        if reply.length:
            self.send_header("Content-Length", str(len(body)))
        if reply.modified:
            self.send_header("Last-Modified", reply.modified)
        if reply.etag:
            self.send_header("ETag", reply.etag)
        if reply.ranges:
            self.send_header("Accept-Ranges", "bytes")
        if start:
            size = len(reply.content)
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.end_headers()
        self.wfile.write(body[: reply.cuts.pop(0) if reply.cuts else reply.silent_after])
        if reply.silent_after:
            self._server.closing.wait()
        self.close_connection = True

    def do_POST(self) -> None:
        """Plays https://api.kaggle.com: a request for a download is answered by a redirect."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("/IntrospectToken"):
            self._server.requests.append((self.command, self.path, ""))
            if body["token"] == "silent-token":
                self._server.closing.wait()
            self._send_json(200, {"active": body["token"] == "good-token", "username": "ann"})
            return
        name = body.get("competitionName") or f"{body['ownerSlug']}-{body['datasetSlug']}"
        reply = self._begin(f"/{name}.zip")
        accepted = self._server.credentials
        if accepted and self.headers.get("Authorization") != accepted:
            self._send_json(401, {"code": 401, "message": "Unauthenticated"})
        elif reply is None or reply.status >= 400:
            status = 404 if reply is None else reply.status
            self._send_json(status, {"code": status, "message": "refused"})
        else:
            self.send_response(302)
            self.send_header("Location", f"http://storage.example/{name}.zip?signature=secret")
            self.send_header("Content-Length", "0")
            self.end_headers()

    @property
    def _server(self) -> Server:
        return self.server.pawprint  # type: ignore[attr-defined]

    def _begin(self, path: str = "") -> Reply | None:
        path = path or urlsplit(self.path).path
        self._server.requests.append((self.command, path, self.headers.get("Range", "")))
        reply = self._server.replies.get(path)
        if reply is not None and reply.silent_after == 0:
            self._server.closing.wait()
        return reply

    def _is_known(self, reply: Reply) -> bool:
        """Whether the client has this very file; the ETag goes before the date."""
        etag, date = self.headers.get("If-None-Match"), self.headers.get("If-Modified-Since")
        return etag == reply.etag if etag else bool(date) and date == reply.modified

    def _start(self, reply: Reply) -> int:
        if self.headers.get("If-Range", reply.etag) not in (reply.etag, reply.modified):
            return 0
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        return int(match[1]) if match and reply.ranges else 0

    def _send_json(self, status: int, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass
