"""Archives of every form, with names in every encoding, and files whose names lie."""
# covers: R12, R13, B16

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from corpus import encode
from corpus_zips import PETS, ZEROS, pack
from PIL import Image
from servers import Reply, data_params, serve

from pawprint.runner.errors import LayoutError, SourceError
from pawprint.sources.archive import FetchReport
from pawprint.sources.fetch import fetch

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head></html>"
JPEG = encode(Image.new("RGB", (8, 8), "red"), "JPEG")


def read(tmp_path: Path, content: bytes, **changes: str | float) -> FetchReport:
    (tmp_path / "source").write_bytes(content)
    params = data_params(source="archive", archive=str(tmp_path / "source"), **changes)
    return fetch(params, tmp_path / "out.zip", tmp_path / "work")


def read_folder(tmp_path: Path, files: dict[str, bytes]) -> FetchReport:
    for name, data in files.items():
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    params = data_params(source="folder", folder=str(tmp_path / "source"))
    return fetch(params, tmp_path / "out.zip", tmp_path / "work")


def kept(tmp_path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def assert_refused(run: Callable[[], object], message: str) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        run()
    assert "\n" not in str(caught.value)


# Tars


def tar(files: dict[str, bytes], *others: tarfile.TarInfo, **options: Any) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", **options) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for info in others:
            archive.addfile(info)
    return stream.getvalue()


def special(kind: bytes, name: str, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "tar": bytes,
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
}


@pytest.mark.parametrize("form", PACKERS)
@pytest.mark.parametrize(
    "tar_format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT]
)
def test_tar_is_read(tmp_path, form, tar_format):
    files = {f"pets/{name}": data for name, data in PETS.items()}
    content = PACKERS[form](tar(files, special(tarfile.DIRTYPE, "pets"), format=tar_format))
    assert read(tmp_path, content).ignored == {}
    assert kept(tmp_path) == PETS
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.zip", "source"]


def test_tar_without_its_later_magic_is_read(tmp_path):
    content = bytearray(tar(PETS))
    for at in range(0, len(PETS) * 1024, 1024):
        content[at + 257 : at + 265] = bytes(8)
        content[at + 148 : at + 156] = b" " * 8
        content[at + 148 : at + 156] = b"%06o\0 " % sum(content[at : at + 512])
    read(tmp_path, bytes(content))
    assert kept(tmp_path) == PETS


def test_links_and_devices_in_a_tar_are_ignored(tmp_path):
    content = tar(
        PETS,
        special(tarfile.SYMTYPE, "cat/passwd.jpg", "/etc/passwd"),
        special(tarfile.LNKTYPE, "cat/again.jpg", "cat/none.jpg"),
        special(tarfile.LNKTYPE, "cat/circle.jpg", "cat/circle.jpg"),
        special(tarfile.FIFOTYPE, "cat/pipe.jpg"),
        special(tarfile.CHRTYPE, "dog/zero.jpg"),
    )
    assert read(tmp_path, content).ignored == {"hard link": 2, "not a file": 2, "symbolic link": 1}
    assert kept(tmp_path) == PETS


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_hard_links_in_a_tar_are_whole_files(tmp_path, mode):
    first = next(iter(PETS))
    folder = tmp_path / "tree"
    for name, data in PETS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (folder / "emu").mkdir()
    for name in ("a.jpg", "b.jpg"):
        (folder / "emu" / name).hardlink_to(folder / first)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        archive.add(folder, ".", filter=lambda info: info)
    assert read(tmp_path, stream.getvalue()).ignored == {}
    assert kept(tmp_path) == PETS | {"emu/a.jpg": PETS[first], "emu/b.jpg": PETS[first]}


def test_many_hard_links_to_one_file_count_each(tmp_path):
    content = tar(
        {"cat/0.jpg": JPEG + bytes(500_000), "dog/0.jpg": JPEG},
        *(special(tarfile.LNKTYPE, f"dog/{i}.jpg", "cat/0.jpg") for i in range(1, 9)),
    )
    assert_refused(lambda: read(tmp_path, content, max_gb=0.003), "at most data.max_gb = 0.003")


@pytest.mark.parametrize("name", ["../evil.jpg", "/etc/evil.jpg"])
def test_unsafe_name_in_a_tar(tmp_path, name):
    assert_refused(lambda: read(tmp_path, tar(PETS | {name: b""})), "unsafe name")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


@pytest.mark.parametrize("form", PACKERS)
def test_tar_that_was_cut_short(tmp_path, form):
    content = PACKERS[form](tar({name: bytes(range(256)) * 9 for name in PETS}))
    assert_refused(
        lambda: read(tmp_path, content[: len(content) * 2 // 3]),
        "is damaged: expected a whole tar, found: ",
    )


def test_tar_with_a_damaged_header(tmp_path):
    content = bytearray(tar(PETS))
    content[3 * 1024 + 10] ^= 1
    assert_refused(
        lambda: read(tmp_path, bytes(content)), r"whole tar, found: no header at byte 3072"
    )


@pytest.mark.parametrize("size", [b"\xff" * 12, b"\x80\0\0\0" + b"\xff" * 8])
def test_tar_with_an_impossible_size(tmp_path, size):
    content = bytearray(tar(PETS))
    content[1024 + 124 : 1024 + 136] = size
    content[1024 + 148 : 1024 + 156] = b" " * 8
    content[1024 + 148 : 1024 + 156] = b"%06o\0 " % sum(content[1024:1536])
    assert_refused(lambda: read(tmp_path, bytes(content)), "expected a whole tar")


def test_tar_with_an_endless_header(tmp_path):
    header = special(tarfile.GNUTYPE_LONGNAME, "././@LongLink")
    header.size = 1 << 34
    content = gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + bytes(100_000))
    assert_refused(lambda: read(tmp_path, content), r"whole tar, found: a header of 17179869184")


@pytest.mark.parametrize(
    ("content", "limits", "message"),
    [
        (gzip.compress(tar(PETS | {"a.txt": ZEROS})), {}, "data.max_ratio = 200 times"),
        (tar(PETS), {"max_files": 5}, "data.max_files = 5 files, found 6"),
        (tar(PETS | {"cat/9.jpg": bytes(3000)}), {"max_file_mb": 0.002}, "data.max_file_mb"),
        (bz2.compress(tar(PETS)), {"max_gb": 2e-6}, "data.max_gb = 2e-06 GB in all"),
    ],
)
def test_limits_hold_for_tars(tmp_path, content, limits, message):
    assert_refused(lambda: read(tmp_path, content, **limits), message)


# What is no archive


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"7z\xbc\xaf\x27\x1c" + bytes(99), "found a 7z archive: unpack it and use data.folder"),
        (b"Rar!\x1a\x07\x01\0" + bytes(99), "found a RAR archive: unpack it and use data.folder"),
        (gzip.compress(b"one file"), "found a gzip archive: unpack it and use data.folder"),
        (PAGE, "found an HTML page: a page that was saved in place of the file: download it again"),
        (JPEG, "found a JPEG: pack the pictures in folders of their classes, or use data.folder"),
        (LFS, "found a Git LFS pointer: fetch"),
    ],
)
def test_what_is_no_archive_is_told(tmp_path, content, message):
    assert_refused(lambda: read(tmp_path, content), f"expected a zip or a tar, {message}")


def test_page_among_zips_is_told(tmp_path):
    content = pack({"cat.zip": pack({"1.jpg": b"1"}), "dog.zip": PAGE})
    assert_refused(lambda: read(tmp_path, content), r"'dog.zip': expected a zip, found an HTML")


@pytest.mark.parametrize("content", [PAGE, b"7z\xbc\xaf\x27\x1c" + bytes(99), b"no such thing"])
@pytest.mark.parametrize("asked", ["", "0" * 64])
def test_sum_of_what_is_no_archive_is_never_offered(tmp_path, content, asked):
    with serve({"/pets.zip": Reply(content)}) as server:
        params = data_params(source="url", url=f"{server.address}/pets.zip", sha256=asked)
        with pytest.raises(SourceError) as caught:
            fetch(params, tmp_path / "out.zip", tmp_path / "work")
    offered = hashlib.sha256(content).hexdigest() in str(caught.value)
    assert offered == (asked != "" and content == b"no such thing")
    assert f"-S data.sha256={hashlib.sha256(content).hexdigest()}" not in str(caught.value)
    assert not (tmp_path / "work").exists()


def test_sum_of_a_tar_is_offered(tmp_path):
    content = gzip.compress(tar(PETS))
    with serve({"/pets.tgz": Reply(content)}) as server:
        params = data_params(source="url", url=f"{server.address}/pets.tgz", sha256="")
        with pytest.raises(SourceError, match=hashlib.sha256(content).hexdigest()):
            fetch(params, tmp_path / "out.zip", tmp_path / "work")


# Names


def unflagged(names: dict[str, str], encoding: str) -> bytes:
    """A zip of names in an encoding that it does not tell."""
    placeholders = {f"{i:_<{len(name.encode(encoding))}}": name for i, name in enumerate(names)}
    content = pack({key: f"{i}".encode() for i, key in enumerate(placeholders)})
    for key, name in placeholders.items():
        content = content.replace(key.encode(), name.encode(encoding))
    return content


@pytest.mark.parametrize(
    ("classes", "encoding"),
    [
        (("\u30bd\u30d5\u30a1", "\u8868\u793a", "\u5341\u5b57"), "cp932"),  # each has a 0x5C
        (("\u732b\u54aa", "\u72d7"), "gbk"),
        (("\uace0\uc591\uc774", "\uac1c"), "cp949"),
        (("\u8a31", "\u529f"), "big5"),
        (("K\u00e4tzchen", "H\u00fcndchen"), "cp850"),
        (("\u043a\u043e\u0442", "\u043f\u0451\u0441"), "cp1251"),
        (("\u043a\u043e\u0442", "\u0441\u043e\u0432\u0430"), "cp866"),
        (("chaton \u00e0 moi", "chien"), "cp1252"),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_names_of_an_encoding_that_is_not_told(tmp_path, classes, encoding, nested):
    content = unflagged({f"{name}/{i}.jpg": "" for name in classes for i in range(2)}, encoding)
    if nested:
        content = pack({"pictures.zip": content})
    first = classes[0]
    assert_refused(
        lambda: read(tmp_path, content),
        rf"expected names in UTF-8, found \d in an encoding .*'{first}' in "
        r".* -S data\.names_encoding=ONE_OF_THESE, or",
    )
    read(tmp_path, content, names_encoding=encoding)
    assert {name.split("/")[0] for name in kept(tmp_path)} == set(classes)


def test_utf8_names_without_the_flag(tmp_path):
    read(tmp_path, unflagged({"caf\u00e9/1.jpg": "", "th\u00e9/1.jpg": ""}, "utf-8"))
    assert list(kept(tmp_path)) == ["caf\u00e9/1.jpg", "th\u00e9/1.jpg"]


def test_one_name_that_is_not_utf8_makes_all_unclear(tmp_path):
    content = pack({"cafXX/1.jpg": b"1", "mXll/1.jpg": b"2"})
    content = content.replace(b"cafXX", "caf\u00e9".encode()).replace(b"mXll", b"m\x81ll")
    assert_refused(
        lambda: read(tmp_path, content), r"found 1 in an encoding.* 'm\u00fcll' in cp437"
    )


def test_wrong_encoding_is_told(tmp_path):
    content = unflagged({"K\u00e4tzchen/1.jpg": "", "Hund/1.jpg": ""}, "cp1252")
    assert_refused(
        lambda: read(tmp_path, content, names_encoding="utf-8"),
        r"expected names in data.names_encoding = utf-8, found b'K\\xe4tzchen/1.jpg': set another",
    )


@pytest.mark.parametrize("crc_of", [b"m\x81ll/1.jpg", b"another"])
def test_unicode_path_of_info_zip(tmp_path, crc_of):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("cat/1.jpg", b"1")
        info = zipfile.ZipInfo("mXll/1.jpg")
        name = "m\u00fcll/1.jpg".encode()
        data = b"\1" + struct.pack("<L", zlib.crc32(crc_of)) + name
        info.extra = struct.pack("<HH", 0x7075, len(data)) + data
        archive.writestr(info, b"2")
    content = stream.getvalue().replace(b"mXll/1.jpg", b"m\x81ll/1.jpg")
    if crc_of == b"another":
        assert_refused(lambda: read(tmp_path, content), "found 1 in an encoding that is not told")
    else:
        read(tmp_path, content)
        assert list(kept(tmp_path)) == ["cat/1.jpg", "m\u00fcll/1.jpg"]


def test_names_of_a_tar(tmp_path):
    content = tar(
        {"\u30bd/1.jpg": b"1", "\u8868/1.jpg": b"2"}, encoding="cp932", format=tarfile.GNU_FORMAT
    )
    assert_refused(lambda: read(tmp_path, content), r"'\u30bd' in cp932")
    read(tmp_path, content, names_encoding="cp932")
    assert list(kept(tmp_path)) == ["\u30bd/1.jpg", "\u8868/1.jpg"]


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_names_of_a_tar_that_happen_to_be_utf8(tmp_path, form):
    classes = ("\uff83\uff7d", "\uff82\uff78")  # as cp932, also two letters of UTF-8
    files = {f"{name}/{i}.jpg": b"1" for name in classes for i in range(2)}
    read(tmp_path, tar(files, encoding="cp932", format=form), names_encoding="cp932")
    assert {name.split("/")[0] for name in kept(tmp_path)} == set(classes)


def test_names_of_pax_headers_need_no_encoding(tmp_path):
    files = {"caf\u00e9/1.jpg": b"1", "th\u00e9/1.jpg": b"2"}
    read(tmp_path, tar(files, format=tarfile.PAX_FORMAT), names_encoding="cp932")
    assert kept(tmp_path) == files


# Contents


def test_pictures_are_known_by_their_bytes(tmp_path):
    png = encode(Image.new("L", (8, 8)))
    files = {
        "cat/1": JPEG,
        "cat/2.HEIC": JPEG,
        "cat/3.jpg?w=200": JPEG,
        "cat/4.php": png,
        "dog/1.JPG": JPEG,
        "dog/2.jpg.1": JPEG,
        "dog/scan.dat": png,
        "dog/1.xml": b"<?xml version='1.0'?>",
        "dog/film": b"\0\0\0\x18ftypmp42",
        "dog/a.md": b"",
    }
    report = read_folder(tmp_path, files)
    assert set(kept(tmp_path)) == {
        name for name in files if name.split(".")[-1] not in ("xml", "md")
    } - {"dog/film"}
    assert report.ignored == {
        "not a picture (a film)": 1,
        "not a picture (an XML file)": 1,
        "not a picture (an empty file)": 1,
    }


def test_text_that_begins_as_a_netpbm_picture_is_none(tmp_path):
    files = {"cat/1.jpg": JPEG, "dog/1.jpg": JPEG, "dog/patients": b"P1 was seen twice, P2 once"}
    assert read_folder(tmp_path, files).ignored == {"not a picture": 1}


def test_single_files_that_are_no_pictures_stay_to_be_quarantined(tmp_path):
    files = {
        "cat/1.jpg": JPEG,
        "cat/2.jpg": LFS,
        "cat/3.jpg": b"",
        "dog/1.png": PAGE,
        "dog/2.png": JPEG,
    }
    read_folder(tmp_path, files)
    assert kept(tmp_path) == files


@pytest.mark.parametrize("packed", [False, True])
def test_classes_without_a_picture_are_named(tmp_path, packed):
    files = {
        **{f"cat/{i}.jpg": LFS for i in range(7)},
        **{f"dog/{i}.jpg": JPEG for i in range(7)},
        **{f"eel/{i}.png": PAGE for i in range(2)},
    }
    message = (
        r"none among the 9 files under 'cat', 'eel', which are .*: 7 a Git LFS pointer, 2 an HTML "
        r"page: fetch the pictures themselves: git lfs pull; a page that was saved"
    )
    run = (
        (lambda: read(tmp_path, pack(files))) if packed else (lambda: read_folder(tmp_path, files))
    )
    with pytest.raises(LayoutError, match=message):
        run()
    assert not (tmp_path / "out.zip").exists()


def test_links_are_explained_where_nothing_is_left(tmp_path):
    (tmp_path / "source/cat").mkdir(parents=True)
    (tmp_path / "elsewhere.jpg").write_bytes(JPEG)
    (tmp_path / "source/cat/1.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    (tmp_path / "source/dog").symlink_to(tmp_path, target_is_directory=True)
    assert_refused(
        lambda: read_folder(tmp_path, {}),
        r"found 0 pictures, 2 symbolic link \(links are followed inside of the folder only: copy",
    )


# A set within itself


def bitmaps(*folders: str, seed: int) -> dict[str, bytes]:
    """Two pictures in each folder; all have one size, whatever their pixels."""
    return {
        f"{folder}/{i}.bmp": encode(Image.new("RGB", (8, 8), (seed, n, i)), "BMP")
        for n, folder in enumerate(folders)
        for i in range(2)
    }


@pytest.mark.parametrize("packed", [False, True])
def test_pictures_of_one_name_and_size_are_compared_by_their_bytes(tmp_path, packed):
    def run(files: dict[str, bytes]) -> FetchReport:
        return read(tmp_path, pack(files)) if packed else read_folder(tmp_path, files)

    files = bitmaps("hen", "owl", seed=1)
    again = {f"more/{name}": data for name, data in files.items()}
    assert run(files | again).ignored == {"in 'more', which is set aside": 4}
    again["more/owl/1.bmp"] = bitmaps("x", seed=9)["x/1.bmp"]
    assert_refused(lambda: run(files | again), "'hen', 'owl' beside 'more', .* other pictures")


def test_divisions_of_one_name_and_size_are_compared_by_their_bytes(tmp_path):
    other = bitmaps("train/test/hen", "train/test/owl", seed=7)
    train = bitmaps("train/train/hen", "train/train/owl", seed=1)
    test = bitmaps("test/hen", "test/owl", seed=2)
    assert_refused(lambda: read_folder(tmp_path, train | other | test), "one folder test, found")


@pytest.mark.parametrize("form", ["folder", "zip", "zip of Windows", "zip in a zip", "tar", "gz"])
def test_an_empty_folder_beside_classes_is_named(tmp_path, form):
    files = bitmaps("set/cat", "set/dog", seed=1)
    if form == "folder":
        (tmp_path / "source/set/owl").mkdir(parents=True)
    whole = {"set/": b"", "set/cat/": b"", "set/owl/": b"", **files}
    windows = {name.replace("/", "\\"): data for name, data in whole.items()}
    unix = tar(files, special(tarfile.DIRTYPE, "set/owl"), special(tarfile.DIRTYPE, "set"))
    report = {
        "folder": lambda: read_folder(tmp_path, files),
        "zip": lambda: read(tmp_path, pack(whole)),
        "zip of Windows": lambda: read(tmp_path, pack(windows)),
        "zip in a zip": lambda: read(tmp_path, pack({"set/owl.zip": pack({}), **files})),
        "tar": lambda: read(tmp_path, unix),
        "gz": lambda: read(tmp_path, gzip.compress(unix)),
    }[form]()
    assert report.notes == ("no class: 'set/owl' has no file",)
    assert str(report).splitlines()[-1] == "no class: 'set/owl' has no file"
    assert report.ignored == {}
    assert set(kept(tmp_path)) == {name.removeprefix("set/") for name in files}
