"""Zips as the world has them: usual, unusual, damaged and hostile, made here byte by byte."""

from __future__ import annotations

import io
import struct
import unicodedata
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

CENTRAL, LOCAL = b"PK\x01\x02", b"PK\x03\x04"
PETS = {f"{name}/{i}.jpg": f"{name} {i}".encode() for name in ("cat", "dog") for i in range(3)}
ZEROS = bytes(12_000_000)  # deflated a thousandfold


@dataclass(frozen=True)
class ZipCase:
    """A zip, and what becomes of it.

    Attributes:
        content: its bytes.
        names: what the canonical archive holds.
        reason: pattern of the error; empty: it is used.
        limits: keys data.max_* other than the committed ones.
    """

    content: bytes
    names: list[str] = field(default_factory=list)
    reason: str = ""
    limits: Mapping[str, float] = field(default_factory=dict)


def pack(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED, **options: Any) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in files.items():
            with archive.open(zipfile_info(name, method), "w", **options) as file:
                file.write(data)
    return buffer.getvalue()


def zipfile_info(name: str, method: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.compress_type = method
    return info


def patched(content: bytes, header: bytes, offset: int, new: bytes, which: int = 0) -> bytes:
    """Overwrite a field of the which-th header of a kind."""
    at = -1
    for _ in range(which + 1):
        at = content.index(header, at + 1)
    at += offset
    return content[:at] + new + content[at + len(new) :]


def with_name(name: str) -> dict[str, bytes]:
    return PETS | {name: b"one more"}


def zips() -> dict[str, ZipCase]:
    """kind → case."""
    cases: dict[str, ZipCase] = {}
    for family in (unusual, names_used, names_refused, damaged, bombs):
        for name, case in family():
            assert name not in cases
            cases[name] = case
    return cases


def used(content: bytes, *more: str, **limits: float) -> ZipCase:
    return ZipCase(content, sorted([*PETS, *more]), limits=limits)


def unusual() -> Iterator[tuple[str, ZipCase]]:
    plain = pack(PETS)
    yield "plain", used(plain)
    yield "stored", used(pack(PETS, zipfile.ZIP_STORED))
    yield "prepended bytes", used(b"#!/bin/sh\nexec unzip $0\n" * 99 + plain)
    yield "comment", used(plain[:-2] + struct.pack("<H", 5) + b"hello")
    yield "zip64", used(pack(PETS, force_zip64=True))
    yield "backslashes", used(pack({name.replace("/", "\\"): d for name, d in PETS.items()}))
    yield "folders of their own", used(pack({"cat/": b"", "dog/": b""} | PETS))
    yield "streamed", used(streamed())
    link = pack(with_name("cat/link.jpg"))
    link = patched(link, CENTRAL, 38, struct.pack("<I", 0o120777 << 16), which=len(PETS))
    yield "symbolic link", used(link)
    inner = {f"{name}.zip": pack({f"{i}.jpg": b"x" for i in range(3)}) for name in ("cat", "dog")}
    yield "zips in the zip", used(pack(inner))
    deep = pack(PETS)
    for level in range(5):
        deep = pack({f"{level}.zip": deep})
    yield "zips five deep", ZipCase(deep, reason=r"found 0 pictures, 1 not a picture")
    yield "claims more than it has", used(patched(plain, CENTRAL, 24, struct.pack("<I", 5000)))
    yield "bzip2", ZipCase(pack(PETS, zipfile.ZIP_BZIP2), reason=r"'cat/0.jpg' is packed by bzip2")
    yield "LZMA", ZipCase(pack(PETS, zipfile.ZIP_LZMA), reason=r"'cat/0.jpg' is packed by LZMA")
    other = patched(plain, CENTRAL, 10, struct.pack("<H", 9))
    yield "Deflate64", ZipCase(other, reason=r"'cat/0.jpg' is packed by method 9: .* deflated")


def streamed() -> bytes:
    """Sizes stand behind the data, as where the packer cannot seek."""

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *_: Any) -> int:
            raise io.UnsupportedOperation

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in PETS.items():
            archive.writestr(name, data)
    return pipe.getvalue()


def names_used() -> Iterator[tuple[str, ZipCase]]:
    long = "x" * 251 + ".jpg"
    for kind, stored, kept in (
        ("spaces", "cat/ my  cat .jpg", "cat/ my  cat .jpg"),
        ("line break", "cat/my\ncat\r.jpg", "cat/my_cat_.jpg"),
        ("escape sequence", "cat/\x1b[2J.jpg", "cat/_[2J.jpg"),
        ("leading dash", "-rf/--help.jpg", "-rf/--help.jpg"),
        ("quotes and shell", "cat/'\"; $(rm) `x` * ?.jpg", "cat/'\"; $(rm) `x` * ?.jpg"),
        ("composed", "cat/caf\u00e9.jpg", "cat/caf\u00e9.jpg"),
        ("decomposed", "cat/cafe\u0301.jpg", "cat/caf\u00e9.jpg"),
        ("emoji", "\U0001f408\u200d\u2b1b/\U0001f431.jpg", "\U0001f408\u200d\u2b1b/\U0001f431.jpg"),
        ("255 bytes", f"cat/{long}", f"cat/{long}"),
        ("other case of a name", "cat/0.JPG", "cat/0.JPG"),
        ("device name of Windows", "cat/CON.jpg", "cat/CON.jpg"),
        ("dots", "cat/./7..jpg...jpg", "cat/7..jpg...jpg"),
        ("end of string", "cat/7.jpg\0.exe", "cat/7.jpg"),
    ):
        if kind == "end of string":
            content = pack(with_name("cat/7.jpgX.exe")).replace(b"7.jpgX", b"7.jpg\0")
        else:
            content = pack(with_name(stored))
        yield f"name with {kind}", used(content, kept)
    yield "hidden names", used(pack(with_name("__MACOSX/cat/._0.jpg")))


def names_refused() -> Iterator[tuple[str, ZipCase]]:
    for name in (
        "../evil.jpg",
        "cat/../../evil.jpg",
        "/etc/evil.jpg",
        "C:\\evil.jpg",
        "c:/evil.jpg",
    ):
        yield f"unsafe {name}", ZipCase(pack(with_name(name)), reason="unsafe name")
    for name in ("\\\\server\\share\\evil.jpg", "..\\evil.jpg", "../evil.zip"):
        yield f"unsafe {name}", ZipCase(pack(with_name(name)), reason="unsafe name")
    inner = pack({"../../evil.jpg": b""})
    yield (
        "unsafe name in a zip in the zip",
        ZipCase(pack(with_name("a.zip") | {"a.zip": inner}), reason="unsafe name"),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # zipfile's, of the duplicate
        buffer = io.BytesIO(pack(PETS))
        with zipfile.ZipFile(buffer, "a") as archive:
            archive.writestr("cat/0.jpg", b"another")
    yield "one name twice", ZipCase(buffer.getvalue(), reason="would both be stored as")
    alike = "under one name, found 'Cat', 'cat', which differ only in upper and lower case"
    yield "other case of a class", ZipCase(pack(with_name("Cat/0.jpg")), reason=alike)
    twins = with_name("cat/\u00e9.jpg") | {unicodedata.normalize("NFD", "cat/\u00e9.jpg"): b""}
    yield "one name in two forms", ZipCase(pack(twins), reason="would both be stored as")
    long = "x" * 40_000
    endless = {f"{long}.zip": pack({f"{long[1:]}/{name}": b"" for name in PETS})}
    yield (
        "endless names",
        ZipCase(pack(endless | {"eel/1.jpg": b"one"}), reason="more than 65535 bytes"),
    )
    garbled = pack(with_name("cat/\u00e9.jpg")).replace("\u00e9".encode(), b"\xff\xff")
    yield "name that is no text", ZipCase(garbled, reason="a name that is not UTF-8")


def damaged() -> Iterator[tuple[str, ZipCase]]:
    plain, stored = pack(PETS), pack(PETS, zipfile.ZIP_STORED)
    encrypted = patched(patched(plain, CENTRAL, 8, b"\1\0"), LOCAL, 6, b"\1\0")
    yield "encrypted", ZipCase(encrypted, reason="'cat/0.jpg' is encrypted")
    yield (
        "strongly encrypted",
        ZipCase(patched(plain, CENTRAL, 8, b"\x41\0"), reason="is encrypted"),
    )
    for share in (0.1, 0.5, 0.9):
        short = plain[: int(len(plain) * share)]
        yield f"cut at {share}", ZipCase(short, reason="expected a whole zip")
    yield "without its last byte", ZipCase(plain[:-1], reason="expected a whole zip")
    wrong = stored.replace(b"cat 1", b"cat X", 1)
    yield "wrong sum", ZipCase(wrong, reason="'cat/1.jpg' is damaged: .*CRC")
    lie = patched(plain, CENTRAL, 24, struct.pack("<I", 2))
    yield "claims less than it has", ZipCase(lie, reason="'cat/0.jpg' is damaged")
    lie = patched(stored, CENTRAL, 20, struct.pack("<II", 99_999, 99_999))
    yield "claims more than the file", ZipCase(lie, reason="'cat/0.jpg' is damaged")
    nowhere = patched(plain, CENTRAL, 42, struct.pack("<I", 0x7FFFFFFF))
    yield "points nowhere", ZipCase(nowhere, reason="'cat/0.jpg' is damaged")
    yield "no zip", ZipCase(b"<html>please sign in</html>", reason="found an HTML page: .* again")
    yield "empty file", ZipCase(b"", reason="expected a whole zip")
    yield "no files", ZipCase(pack({}), reason="found 0 pictures: no file at all")
    broken = pack({"a.zip": plain[:-30]} | PETS)
    yield "damaged zip in the zip", ZipCase(broken, reason="'a.zip' is damaged")


def bombs() -> Iterator[tuple[str, ZipCase]]:
    yield (
        "ratio",
        ZipCase(
            pack(with_name("cat/z.jpg") | {"cat/z.jpg": ZEROS}),
            reason=r"data.max_ratio = 200 times .* found 'cat/z.jpg' with 1\d\d\d or more",
        ),
    )
    inner = {f"z{i}.jpg": ZEROS for i in range(3)}
    yield (
        "ratio in a zip in the zip",
        ZipCase(pack({"cat.zip": pack(inner)} | PETS), reason="data.max_ratio"),
    )
    zip_of_zeros = pack({"z.jpg": ZEROS}, zipfile.ZIP_STORED)
    yield (
        "zip that is a bomb",
        ZipCase(pack({"a.zip": zip_of_zeros} | PETS), reason="data.max_ratio .* 'a.zip'"),
    )
    lie = pack({"cat/z.jpg": ZEROS} | PETS)
    lie = patched(lie, CENTRAL, 20, struct.pack("<I", len(ZEROS)))
    yield (
        "ratio behind a false packed size",
        ZipCase(lie, reason="data.max_ratio .* found all of it"),
    )
    yield (
        "ratio that is allowed",
        used(pack({"cat/z.jpg": ZEROS} | PETS), "cat/z.jpg", max_ratio=2000),
    )
    many = {f"{i}/": b"" for i in range(3000)} | PETS
    yield (
        "thousands of entries",
        ZipCase(
            pack(many),
            reason="data.max_files = 1000 files, found 3006 or more",
            limits={"max_files": 1000},
        ),
    )
    split = {f"{i}.zip": pack({f"{k}.txt": b"" for k in range(400)}) for i in range(3)}
    yield (
        "entries of all zips",
        ZipCase(pack(split), reason="data.max_files = 1000", limits={"max_files": 1000}),
    )
    yield (
        "one large picture",
        ZipCase(
            pack({"cat/a.jpg": bytes(3000)} | PETS),
            reason="data.max_file_mb = 0.002 MB a picture, found 'cat/a.jpg'",
            limits={"max_file_mb": 0.002},
        ),
    )
    yield (
        "large file that is no picture",
        used(pack({"cat/a.txt": bytes(3000)} | PETS), max_file_mb=0.002),
    )
    yield (
        "many pictures",
        ZipCase(
            pack({f"cat/z{i}.jpg": bytes(900) for i in range(9)} | PETS),
            reason="data.max_gb = 2e-06 GB in all, found 2.71e-06 GB or more up to 'cat/z2.jpg'",
            limits={"max_gb": 2e-6},
        ),
    )
    yield (
        "large zips in the zip",
        ZipCase(
            pack({"a.zip": pack({"a/1.txt": bytes(9000)}, zipfile.ZIP_STORED)} | PETS),
            reason="data.max_gb .* 'a.zip'",
            limits={"max_gb": 2e-6},
        ),
    )
