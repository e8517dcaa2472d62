# covers: B16
"""Files are told apart by their first bytes, whatever their names say."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from pawprint.registry.file_kinds import HEAD_BYTES, recognize


def encoded(form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(stream, form, **options)
    return stream.getvalue()


def zipped() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a", "a")
    return stream.getvalue()


def tarred() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a"), io.BytesIO())
    return stream.getvalue()


@pytest.mark.parametrize(
    ("form", "name"),
    [
        *(("JPEG", "a JPEG"), ("PNG", "a PNG"), ("GIF", "a GIF"), ("WEBP", "a WebP")),
        *(("BMP", "a BMP"), ("TIFF", "a TIFF"), ("PPM", "a Netpbm picture"), ("AVIF", "an AVIF")),
    ],
)
def test_a_picture_in_each_format_that_is_read(form: str, name: str) -> None:
    kind = recognize(encoded(form)[:HEAD_BYTES])
    assert kind is not None
    assert (kind.name, kind.role) == (name, "picture")


@pytest.mark.parametrize(
    ("content", "name", "role"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC", "picture"),
        (b"MM\0*\0\0\0\x08", "a TIFF", "picture"),
        (zipped(), "a zip", "container"),
        (gzip.compress(b"a"), "a gzip archive", "container"),
        (tarred(), "a tar archive", "container"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:", "a Git LFS pointer", "other"),
        (b"\xef\xbb\xbf\n<!-- saved -->\n<!DOCTYPE HTML>", "an HTML page", "other"),
        (b'<?xml version="1.0"?><svg xmlns="', "an SVG drawing", "other"),
        (b'<?xml version="1.0"?><annotation>', "an XML file", "other"),
        (b"%PDF-1.7", "a PDF", "other"),
        (b"\0\0\0\x20ftypisom", "a film", "other"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL", "other"),
    ],
)
def test_what_is_no_picture_is_named(content: bytes, name: str, role: str) -> None:
    kind = recognize(content[:HEAD_BYTES])
    assert kind is not None
    assert (kind.name, kind.role) == (name, role)


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 600, b"cat,dog\n1,2\n", b"BM", b"PK", b"BMW is a"]
)
def test_anything_else_is_unknown(content: bytes) -> None:
    assert recognize(content) is None


def test_comments_end_at_their_first_end_mark() -> None:
    """There are 2 ** 72 other ways to read these: a process that tries them does not end."""
    code = "from pawprint.registry.file_kinds import recognize; print(recognize(b'<!---->' * 73))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(Path(__file__).parents[1])},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "None\n"
