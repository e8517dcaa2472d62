"""Bodies of requests: read in linear time, refused at the first thing too many."""

from __future__ import annotations

import base64
import json
import re
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from served import Running, colours, picture, serving

from pawprint.serving.limits import Refusal
from pawprint.serving.uploads import Upload, read_form, read_json

# covers: R18

JSON = "application/json"
FORM = "multipart/form-data; boundary=b"
FILE = b'Content-Disposition: form-data; name="files"; filename="x.png"\r\n'
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=255)
same = settings(max_examples=100, derandomize=True, database=None, deadline=None)


@same
@given(
    st.lists(st.tuples(st.none() | NAMES, st.binary(max_size=99)), min_size=1, max_size=5),
    st.booleans(),
    st.sampled_from([None, 0, 9]),
)
def test_json_is_read_as_it_was_written(files, as_ascii, indent):
    """Whatever is in the names: quotation marks, brackets, backslashes, line ends."""
    images = [
        {"content": base64.b64encode(content).decode()} | ({"name": name} if name else {})
        for name, content in files
    ]
    body = json.dumps({"top": 7, "images": images}, indent=indent, ensure_ascii=as_ascii).encode()
    uploads = read_json(body, len(files))
    assert uploads.files == [Upload(name or None, content) for name, content in files]
    assert uploads.top == 7


@same
@given(
    st.lists(st.tuples(NAMES.filter(str.strip), st.binary(max_size=99)), min_size=1, max_size=5),
    st.text("abcXYZ0123456789'()+_,-./:=?", min_size=1, max_size=70),
)
def test_a_form_is_read_as_it_was_written(files, boundary):
    fields = [("files", (name, content)) for name, content in files]
    kind = f'multipart/form-data; boundary="{boundary}"'
    request = httpx.Request(
        "POST", "http://localhost", files=fields, data={"top": "7"}, headers={"Content-Type": kind}
    )
    body = request.read()
    uploads = read_form(kind, body, len(files))
    assert [upload.content for upload in uploads.files] == [content for _, content in files]
    assert uploads.top == 7
    preface = b"preface\r\n" + body + b"\r\nepilogue\r\n--" + boundary.encode()
    assert read_form(kind, preface, len(files)) == uploads


def part(head: bytes = FILE, content: bytes = b"x", boundary: bytes = b"b") -> bytes:
    return b"--%b\r\n%b\r\n%b\r\n" % (boundary, head, content)


FIELD = b'Content-Disposition: form-data; name="%b"\r\n'


def test_what_forms_may_have():
    body = part(content=b"\r\n--\r\n--a\r\n-b") + part(FILE.lower(), b"") + b"--b--"
    assert [u.content for u in read_form(FORM, body, 2).files] == [b"\r\n--\r\n--a\r\n-b", b""]
    for more in (b"Content-Transfer-Encoding: binary\r\n", b"Content-Type: multipart/mixed\r\n"):
        (upload,) = read_form(FORM, part(FILE + more) + b"--b--\r\n", 1).files
        assert upload == Upload("x.png", b"x")
    padded = part().replace(b"--b", b"--b \t") + b"--b--"
    assert len(read_form(FORM, padded, 1).files) == 1
    names = {
        b'filename="C:\\\\x.png"': "x.png",
        b'filename="a\\"b"': 'a"b',
        b'filename="a;b"': "a;b",
        "filename=\xe4".encode(): "\xe4",
        b"filename=\xe4": "\xe4",
        b"filename=x; filename*=UTF-8''y": "x",
        b'filename=""': None,
    }
    for text, name in names.items():
        head = b"Content-Disposition: form-data; name=files; %b\r\n" % text
        assert [u.name for u in read_form(FORM, part(head) + b"--b--", 1).files] == [name]


BAD_FORMS = {
    "": "400 expected the boundary of Content-Type at the beginning",
    "\r\n" * 999: "400 expected the boundary of Content-Type at the beginning",
    "--b": "400 expected the end of the line behind each boundary",
    "--b--": "422 expected files, with their filename, in the form's field 'files'",
    "--bx\r\n": "400 expected the end of the line behind each boundary",
    f"--b{' ' * 999}\r\n": "400 expected the end of the line behind each boundary",
    "--b\r\n--b--": "400 expected at most 8192 bytes of headers and an empty line",
    (part() + b"--bb").decode(): "400 expected the end of the line behind each boundary",
    part().decode(): "400 expected a boundary at the end of the form, found none: it was cut",
    (part(b"") + b"--b--").decode(): "400 expected Content-Disposition with a name",
    (part(b"x" * 9000) + b"--b--").decode(): "400 expected at most 8192 bytes of headers",
    (part(FILE + b"a:\r\n" * 9) + b"--b--").decode(): "400 expected at most 8 headers",
    (part(FILE + FIELD % b"top") + b"--b--").decode(): "400 expected each header once in a part",
    (
        part(FILE + b"Content-Transfer-Encoding: base64\r\n") + b"--b--"
    ).decode(): "400 Content-Transfer-Encoding: expected binary, or none",
    (part() * 4 + b"--b--").decode(): "413 expected at most 3 pictures",
    (
        part(FILE.replace(b"x.png", b"x" * 256)) + b"--b--"
    ).decode(): "422 filename: expected at most 255 characters",
    (part(FIELD % b"a") * 9 + b"--b--").decode(): "413 expected at most 8 fields of 10000 bytes",
    (
        part(FIELD % b"a", b"x" * 10_001) + b"--b--"
    ).decode(): "413 expected at most 8 fields of 10000 bytes",
    (part(FIELD % b"files") + b"--b--").decode(): "422 expected files, with their filename",
    (
        part(b"Content-Disposition: form-data; name=files; filename*=UTF-8''x\r\n") + b"--b--"
    ).decode(): "422 expected files, with their filename",
    (part() + part(FIELD % b"top", b"5") * 2 + b"--b--").decode(): "422 top: expected .*, once",
}


@pytest.mark.parametrize("body", BAD_FORMS, ids=lambda body: BAD_FORMS[body][:50])
def test_bad_forms(body):
    status, _, text = BAD_FORMS[body].partition(" ")
    with pytest.raises(Refusal, match=text) as refused:
        read_form(FORM, body.encode(), 3)
    assert refused.value.status_code == int(status)


@pytest.mark.parametrize("boundary", ["", '""', "b" * 257])
def test_boundaries_have_a_length(boundary):
    with pytest.raises(Refusal, match="boundary: expected 1 to 256 bytes in Content-Type"):
        read_form(f"multipart/form-data; boundary={boundary}", b"--\r\n", 1)


def picture_json(more: str = "", content: str = "eA==") -> str:
    return f'{{"images": [{{"content": "{content}"{more}}}]}}'


BAD_JSON = {
    '{"images": [0, 0, 0, 0]}': "413 expected at most 3 pictures",
    '{"images": [' + "0," * 10**6 + "0]}": "413 expected at most 3 pictures",
    json.dumps({"images": [{"content": ""}] * 4}): "413 expected at most 3 pictures",
    json.dumps({str(i): 0 for i in range(300_000)}): "422 expected no more than 3 pictures need",
    picture_json("".join(f', "{i}": 0' for i in range(999))): "422 expected no more than 3 pict",
    "0 " * 10**6: "422 expected no more than 3 pictures need",
    '"" ' * 10**6: "422 expected no more than 3 pictures need",
    "[" * 10**6: "422 expected at most 3 levels of brackets",
    '{"a":' * 10**6: "422 expected at most 3 levels of brackets",
    picture_json(', "name": ["x"]'): "422 expected at most 3 levels of brackets",
    "]" * 10**6: "422 Invalid JSON",
    ":" * 10**6: "422 expected no more than 3 pictures need",
    picture_json(', "content": ""'): "422 expected each key once, found one twice",
    '{"images": [], "images": []}': "422 expected each key once, found one twice",
    '{"images": [], "im\\u0061ges": []}': "422 expected known keys, found one that is long",
    f'{{"{"k" * 1000}": 0}}': "422 expected known keys, found one that is long",
    '{"more\\n": 0}': "422 expected known keys",
    '{"more": 0}': "422 images: Field required",
    '{"images": [], "top": %s}' % ("9" * 10**6): "422 expected numbers of at most 64 digits",
    '{"images": [], "top": %s}' % ("9" * 64): "422 images: List should have at least 1 item",
    '{"images": [{"content": ""}], "top": %s}' % ("9" * 64): "422 top: Input should be less",
    '{"images": [{"content": ""}], "top": 1e999}': "422 top: Input should be a valid integer",
    '{"images": [{"content": ""}], "top": NaN}': "422 top: Input should be a valid integer",
    '{"images": [{"content": ""}], "top": -0}': "422 top: Input should be greater",
    picture_json(content="\\ud800"): "422 Invalid JSON: ",
    picture_json(', "name": "\\udfff"'): "422 Invalid JSON: ",
    picture_json(f', "name": "{"n" * 256}"'): "422 images.0.name: String should have at most 255",
    picture_json(content="\\" * 10 + '"'): "422 Invalid JSON: ",
    '{"images": [{"content": "\\': "422 Invalid JSON: EOF",
    "\ufeff" + picture_json(): "422 expected JSON in UTF-8, without a byte order mark",
}


@pytest.mark.parametrize("body", BAD_JSON, ids=lambda body: body[:30])
def test_bad_json(body):
    status, _, text = BAD_JSON[body].partition(" ")
    with pytest.raises(Refusal, match=re.escape(text)) as refused:
        read_json(body.encode(), 3)
    assert refused.value.status_code == int(status)
    assert "\n" not in refused.value.detail
    assert len(refused.value.detail) < 200


@pytest.mark.parametrize("charset", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
def test_json_is_in_utf_8(charset):
    with pytest.raises(Refusal, match="expected JSON in UTF-8"):
        read_json(picture_json().encode(charset), 1)
    with pytest.raises(Refusal, match="Invalid JSON"):
        read_json(b'{"images": [{"content": "\xff"}]}', 1)


# ---- what reading costs, of a whole server

SIZE = 32_000_000  # as large as a body may be by default


def large(head: bytes, repeated: bytes, tail: bytes) -> bytes:
    return head + repeated * ((SIZE - len(head) - len(tail)) // len(repeated)) + tail


def in_json(repeated: bytes, head: bytes = b"") -> bytes:
    return large(b'{"images": [{"content": "' + head, repeated, b'"}]}')


LARGE = {
    "zeros": (JSON, large(b'{"images": [', b"0,", b"0]}"), 413),
    "keys": (JSON, large(b"{", b'"k":0,', b'"k":0}'), 422),
    "levels": (JSON, large(b"", b"[", b""), 422),
    "digits": (JSON, large(b'{"images": [{"content": ""}], "top": ', b"1", b"}"), 422),
    "spaces": (JSON, large(b'{"images": [{"content": ""}]', b" ", b"}"), 422),
    "string": (JSON, in_json(b"A"), 422),
    "string with one wide letter": (JSON, in_json(b"A", "\N{PAW PRINTS}".encode()), 422),
    "escapes": (JSON, in_json(b"\\n"), 422),
    "quotes": (JSON, in_json(b'\\"'), 422),
    "backslashes": (JSON, in_json(b"\\\\"), 422),
    "letters": (JSON, in_json(b"\\u0041"), 422),
    "line ends": (FORM, large(b"", b"\r\n", b"--b--"), 400),
    "line ends in a file": (FORM, large(b"--b\r\n" + FILE + b"\r\n", b"\r\n", b"\r\n--b--"), 422),
    "dashes": (FORM, large(b"--b\r\n" + FILE + b"\r\n", b"-", b"\r\n--b--"), 422),
    "nearly boundaries": (FORM, large(b"--b\r\n" + FILE + b"\r\n", b"\r\n--bx", b"\r\n--b--"), 400),
    "padding": (FORM, large(part() + b"--b", b" ", b"\r\n"), 400),
    "parts": (FORM, large(b"", part(content=b""), b"--b--"), 413),
    "fields": (FORM, large(b"", part(FIELD % b"a", b""), b"--b--"), 413),
    "headers": (FORM, large(b"--b\r\n", b"a:\r\n", b"\r\n\r\n--b--"), 400),
}
"""Content-Type, body, and the status of the answer."""


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with serving("--model", str(colours())) as running:
        running.predict(picture("red"))
        yield running
        assert [entry for entry in running.log if entry["level"] == "error"] == []


def memory_mb(server: Running, line: str) -> float:
    text = Path(f"/proc/{server.process.pid}/status").read_text("ascii")
    return int(text.partition(line)[2].split()[0]) * 1024 / 1e6


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("name", LARGE)
def test_no_body_takes_much_memory_or_keeps_the_server_from_answering(server, name):
    kind, body, status = LARGE[name]
    waits: list[float] = []
    done = threading.Event()

    def watch() -> None:
        with httpx.Client(base_url=server.address, trust_env=False, timeout=60) as client:
            while not (done.is_set() and waits):
                began = time.monotonic()
                client.get("/healthz")
                waits.append(time.monotonic() - began)

    watching = threading.Thread(target=watch)
    watching.start()
    Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")  # the peak begins anew
    before_mb = memory_mb(server, "VmRSS:")
    try:
        answer = server.post("/v1/predict", content=body, headers={"Content-Type": kind})
    finally:
        done.set()
        watching.join()
    assert answer.status_code == status
    assert memory_mb(server, "VmHWM:") - before_mb < 512
    assert max(waits) < 3  # a tenth of that here; it took more to read a million zeros
