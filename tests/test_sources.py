# covers: R12, R13, B1, B5
from __future__ import annotations

import errno
import hashlib
import io
import os
import random
import re
import resource
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import ROOT, Reply, Server, data_params, serve

from pawprint.__main__ import main as pawprint
from pawprint.runner.errors import LayoutError, SourceError
from pawprint.runner.files import atomic_write
from pawprint.sources.archive import FetchReport
from pawprint.sources.fetch import fetch
from pawprint.sources.quota import Quota

PICTURES = {
    f"{name}/{name}.{i}.jpg": random.Random(f"{name}{i}").randbytes(30_000)
    for name in ("cat", "dog")
    for i in range(4)
}
TRAIN = {f"train/{path.split('/')[1]}": data for path, data in PICTURES.items()}


def zip_bytes(files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def write_folder(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def fetch_archive(tmp_path: Path, content: bytes, name: str = "source.zip") -> FetchReport:
    (tmp_path / name).write_bytes(content)
    params = data_params(source="archive", archive=str(tmp_path / name))
    return fetch(params, tmp_path / "out.zip", tmp_path / "work")


def fetch_folder(tmp_path: Path, folder: Path) -> FetchReport:
    params = data_params(source="folder", folder=str(folder))
    return fetch(params, tmp_path / "out.zip", tmp_path / "work")


def names_in(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def assert_nothing_left(tmp_path: Path) -> None:
    assert not (tmp_path / "out.zip").exists()
    assert not (tmp_path / "out.zip.tmp").exists()


# The canonical archive


def test_canonical_archive_is_stored_sorted_and_timeless(tmp_path):
    fetch_archive(tmp_path, zip_bytes(dict(reversed(PICTURES.items()))))
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == PICTURES
        assert archive.namelist() == sorted(PICTURES)
        for info in archive.infolist():
            assert info.date_time == (1980, 1, 1, 0, 0, 0)
            assert info.compress_type == zipfile.ZIP_STORED
            assert (info.create_system, info.external_attr) == (3, 0o100644 << 16)


def test_same_pictures_give_the_same_bytes_from_every_source(tmp_path):
    shuffled = random.Random(0).sample(sorted(TRAIN), len(TRAIN))
    kaggle = {
        "test1.zip": zip_bytes({"test1/1.jpg": b"unlabelled"}),
        "train.zip": zip_bytes({name: TRAIN[name] for name in shuffled}),
        "sampleSubmission.csv": b"id,label\n",
    }
    write_folder(tmp_path / "by_class", PICTURES)
    write_folder(tmp_path / "by_prefix", TRAIN)
    out = tmp_path / "out.zip"
    found = set()
    for run in (
        lambda: fetch_archive(tmp_path, zip_bytes(PICTURES)),
        lambda: fetch_archive(tmp_path, zip_bytes(kaggle)),
        lambda: fetch_archive(tmp_path, zip_bytes(kaggle, zipfile.ZIP_STORED)),
        lambda: fetch_folder(tmp_path, tmp_path / "by_class"),
        lambda: fetch_folder(tmp_path, tmp_path / "by_prefix"),
    ):
        run()
        found.add(hashlib.sha256(out.read_bytes()).hexdigest())
        out.unlink()
    # The sum is written down so that no change of code, system or Python goes unnoticed
    assert found == {"6f6eeda00fec1e90cc0541e5564f28efd3e2e52f048ffb4e514cd0ff62a95b6b"}


def test_report_counts_pictures_and_ignored_files(tmp_path):
    report = fetch_archive(
        tmp_path,
        zip_bytes(
            {
                "train.zip": zip_bytes(TRAIN),
                "test1.zip": zip_bytes({"test1/1.jpg": b"", "__MACOSX/test1/._1.jpg": b""}),
                "sampleSubmission.csv": b"",
            }
        ),
    )
    assert report.counts == {"": {"cat": 4, "dog": 4}}
    assert report.ignored == {"hidden": 1, "not a picture (an empty file)": 1, "unlabelled": 1}
    assert str(report).splitlines() == [
        "all: 8 pictures of 2 classes: cat 4, dog 4",
        "ignored: 1 hidden, 1 not a picture (an empty file), 1 unlabelled",
        "set aside: 'test1' (1 pictures) has no folders of classes",
    ]


def test_divided_source_is_reported_by_split(tmp_path):
    files = {f"{s}/{c}/1.jpg": b"x" for s in ("test", "train") for c in ("cat", "dog")}
    report = fetch_archive(tmp_path, zip_bytes(files))
    assert names_in(tmp_path / "out.zip") == sorted(files)
    assert [line.split(":")[0] for line in str(report).splitlines()] == ["train", "test"]


def test_zip_within_a_zip_within_a_zip(tmp_path):
    inner = zip_bytes({"cat/1.jpg": b"1", "dog/1.jpg": b"2"})
    fetch_archive(tmp_path, zip_bytes({"a.zip": zip_bytes({"b.zip": inner})}))
    assert names_in(tmp_path / "out.zip") == ["cat/1.jpg", "dog/1.jpg"]


def test_one_zip_per_class(tmp_path):
    files = {"cat.zip": zip_bytes({"1.jpg": b"1"}), "dog.zip": zip_bytes({"dog/1.jpg": b"2"})}
    fetch_archive(tmp_path, zip_bytes(files))
    assert names_in(tmp_path / "out.zip") == ["cat/1.jpg", "dog/1.jpg"]


def test_hundreds_of_zips_in_a_zip_need_few_descriptors(tmp_path):
    files = {f"{i}.zip": zip_bytes({"1.jpg": b"x", "2.jpg": b"y"}) for i in range(300)}
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, limits[1]))
    try:
        report = fetch_archive(tmp_path, zip_bytes(files))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert len(report.counts[""]) == 300


def test_temporary_files_are_gone_after_success(tmp_path):
    fetch_archive(tmp_path, zip_bytes({"train.zip": zip_bytes(TRAIN)}))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.zip", "source.zip"]


# Damaged and hostile archives


def test_default_archive_directory_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path, {"data/source/README.md": b"put pictures here"})
    with pytest.raises(SourceError, match=r"data.archive: .* a directory at 'data/source': .* -S"):
        fetch(data_params(source="archive"), tmp_path / "out.zip", tmp_path / "work")


def test_missing_archive(tmp_path):
    params = data_params(source="archive", archive=str(tmp_path / "no.zip"))
    with pytest.raises(SourceError, match=r"path of a zip or a tar, found nothing at .*no.zip"):
        fetch(params, tmp_path / "out.zip", tmp_path / "work")


def test_file_that_is_no_zip(tmp_path):
    with pytest.raises(SourceError, match=r"source.zip is damaged: expected a whole zip"):
        fetch_archive(tmp_path, b"nothing that is known")


def test_truncated_zip(tmp_path):
    content = zip_bytes(PICTURES)
    with pytest.raises(SourceError, match=r"source.zip is damaged: expected a whole zip"):
        fetch_archive(tmp_path, content[: len(content) // 2])


@pytest.mark.parametrize("nested", [False, True])
def test_flipped_byte_names_the_member_and_leaves_nothing(tmp_path, nested):
    content = bytearray(zip_bytes(TRAIN, zipfile.ZIP_STORED))
    content[content.index(TRAIN["train/dog.2.jpg"]) + 5] ^= 1
    damaged = bytes(content)
    if nested:
        damaged = zip_bytes({"train.zip": damaged})
    with pytest.raises(SourceError, match=r"'train/dog.2.jpg' is damaged: .*Bad CRC-32"):
        fetch_archive(tmp_path, damaged)
    assert_nothing_left(tmp_path)


def test_damage_keeps_the_archive_of_an_earlier_run(tmp_path):
    fetch_archive(tmp_path, zip_bytes(PICTURES))
    before = (tmp_path / "out.zip").read_bytes()
    with pytest.raises(SourceError):
        fetch_archive(tmp_path, b"no zip")
    assert (tmp_path / "out.zip").read_bytes() == before


def test_encrypted_zip_is_refused(tmp_path):
    content = bytearray(zip_bytes(PICTURES))
    central = content.index(b"PK\x01\x02")
    content[central + 8] |= 1  # the flag "encrypted" of the first member
    with pytest.raises(SourceError, match=r"'cat/cat.0.jpg' is encrypted: .* without a password"):
        fetch_archive(tmp_path, bytes(content))


def test_name_that_climbs_is_refused(tmp_path):
    with pytest.raises(SourceError, match=r"unsafe name '../../evil.jpg'"):
        fetch_archive(tmp_path, zip_bytes(PICTURES | {"../../evil.jpg": b""}))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source.zip"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_one_name_twice_in_a_zip_is_refused(tmp_path):
    buffer = io.BytesIO(zip_bytes(PICTURES))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("cat/cat.0.jpg", b"another")
    with pytest.raises(LayoutError, match=r"'cat/cat.0.jpg' and 'cat/cat.0.jpg' would both"):
        fetch_archive(tmp_path, buffer.getvalue())


def test_symbolic_link_in_a_zip_is_ignored(tmp_path):
    buffer = io.BytesIO(zip_bytes(PICTURES))
    with zipfile.ZipFile(buffer, "a") as archive:
        link = zipfile.ZipInfo("cat/link.jpg")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    assert fetch_archive(tmp_path, buffer.getvalue()).ignored == {"symbolic link": 1}


# Folders


def test_missing_folder(tmp_path):
    with pytest.raises(SourceError, match=r"data.folder: expected a directory, found nothing at"):
        fetch_folder(tmp_path, tmp_path / "nowhere")


def test_folder_without_pictures(tmp_path):
    folder = write_folder(tmp_path / "source", {"README.md": b"put pictures here"})
    with pytest.raises(LayoutError, match=r"data.folder = .*found 0 pictures, 1 not a picture"):
        fetch_folder(tmp_path, folder)


def test_links_are_followed_inside_the_folder_only(tmp_path):
    folder = write_folder(tmp_path / "source", {"cat/1.jpg": b"1", "dog/1.jpg": b"2"})
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (folder / "cat/2.jpg").symlink_to("1.jpg")
    (folder / "cat/3.jpg").symlink_to(tmp_path / "secret.jpg")
    (folder / "cat/4.jpg").symlink_to("nothing.jpg")
    (folder / "dog/loop").symlink_to(folder, target_is_directory=True)
    report = fetch_folder(tmp_path, folder)
    assert names_in(tmp_path / "out.zip") == ["cat/1.jpg", "cat/2.jpg", "dog/1.jpg"]
    assert report.ignored == {"symbolic link": 3}


def test_pipe_in_a_folder_does_not_hang(tmp_path):
    folder = write_folder(tmp_path / "source", {"cat/1.jpg": b"1", "dog/1.jpg": b"2"})
    os.mkfifo(folder / "cat/pipe.jpg")
    assert fetch_folder(tmp_path, folder).ignored == {"not a file": 1}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_picture_is_named(tmp_path):
    folder = write_folder(tmp_path / "source", {"cat/1.jpg": b"1", "dog/1.jpg": b"2"})
    (folder / "dog/1.jpg").chmod(0)
    with pytest.raises(SourceError, match=r"'dog/1.jpg' cannot be read: Permission denied"):
        fetch_folder(tmp_path, folder)
    assert_nothing_left(tmp_path)


def test_too_many_files_in_a_folder(tmp_path):
    folder = write_folder(tmp_path / "source", PICTURES | {"cat/notes.txt": b""})
    params = data_params(source="folder", folder=str(folder), max_files=8)
    with pytest.raises(
        SourceError, match=r"at most data.max_files = 8 files, found 9 or more: .* or raise"
    ):
        fetch(params, tmp_path / "out.zip", tmp_path / "work")
    assert_nothing_left(tmp_path)


def test_a_sparse_file_in_a_folder_is_refused_before_it_is_read(tmp_path):
    folder = write_folder(tmp_path / "source", {"cat/1.jpg": b"1", "dog/1.jpg": b"2"})
    os.truncate(folder / "cat/1.jpg", 1 << 40)
    with pytest.raises(
        SourceError, match=r"data.max_file_mb = 100 MB.* 'cat/1.jpg' with 1099511\."
    ):
        fetch_folder(tmp_path, folder)
    assert_nothing_left(tmp_path)


def test_a_file_that_grows_while_it_is_read_is_stopped(tmp_path):
    quota = Quota(data_params(max_file_mb=0.001), "src")
    with pytest.raises(SourceError, match=r"src: .* data.max_file_mb = 0.001 MB"):
        quota.copy_picture(io.BytesIO(bytes(2000)), io.BytesIO(), "cat/1.jpg", 0)


# The disk


def test_atomic_write_keeps_the_old_file_if_the_block_fails(tmp_path):
    path = tmp_path / "new" / "file"

    def write(*parts: Any) -> None:
        with atomic_write(path) as file:
            for part in parts:
                file.write(part)

    write(b"old")
    with pytest.raises(TypeError, match="bytes-like"):
        write(b"half", "not bytes")
    assert [(p.name, p.read_bytes()) for p in path.parent.iterdir()] == [("file", b"old")]


def test_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SourceError, match=r"out.zip: no space left .*free some in .*run again"):
        fetch_archive(tmp_path, zip_bytes(PICTURES))
    assert_nothing_left(tmp_path)


def test_write_that_the_system_refuses_halfway_leaves_nothing(tmp_path):
    write_folder(tmp_path / "source", PICTURES)
    code = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from servers import data_params\n"
        "from pawprint.runner.errors import SourceError\n"
        "from pawprint.sources.fetch import fetch\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        "try:\n"
        "    data = data_params(source='folder', folder='source')\n"
        "    fetch(data, Path('out.zip'), Path('work'))\n"
        "except SourceError as error:\n"
        "    print(error)\n"
    )
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("out.zip: no space left to fetch the pictures (File too large)")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


# http(s)


def fetch_url(tmp_path: Path, url: str, sha256: str, timeout_s: float = 5) -> FetchReport:
    params = data_params(source="url", url=url, sha256=sha256, timeout_s=timeout_s)
    return fetch(params, tmp_path / "out.zip", tmp_path / "work")


CONTENT = zip_bytes(PICTURES)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def kept_zips(tmp_path: Path) -> set[bytes]:
    return {path.read_bytes() for path in (tmp_path / "work").glob("*.zip")}


def test_url_gives_the_archive_and_keeps_the_download(tmp_path, capsys):
    with serve({"/pets.zip": Reply(CONTENT)}) as server:
        fetch_url(tmp_path, f"{server.address}/pets.zip?token=secret", SHA256.upper())
    assert names_in(tmp_path / "out.zip") == sorted(PICTURES)
    assert kept_zips(tmp_path) == {CONTENT}
    assert capsys.readouterr().out == ""
    kept = list((tmp_path / "work").iterdir())
    assert not any(b"secret" in path.read_bytes() or "secret" in path.name for path in kept)


def test_a_source_that_is_named_too_is_told(tmp_path, capsys):
    archive = tmp_path / "pets.zip"
    archive.write_bytes(CONTENT)
    params = data_params(source="archive", archive=str(archive), folder="/pictures")
    fetch(params, tmp_path / "out.zip", tmp_path / "work")
    assert names_in(tmp_path / "out.zip") == sorted(PICTURES)
    told = "note: data.folder: named too, and not read: data.source = archive\n"
    assert capsys.readouterr().out == told
    fetch(params.model_copy(update={"folder": "data/source"}), tmp_path / "out.zip", tmp_path)
    assert capsys.readouterr().out == ""


def test_archive_may_be_an_address_too(tmp_path):
    with serve({"/pets.zip": Reply(CONTENT)}) as server:
        address = f"{server.address}/pets.zip"
        params = data_params(source="archive", archive=address, sha256=SHA256)
        fetch(params, tmp_path / "out.zip", tmp_path / "work")
    assert names_in(tmp_path / "out.zip") == sorted(PICTURES)


def test_broken_download_resumes(tmp_path):
    with serve({"/pets.zip": Reply(CONTENT, cuts=[100_000])}) as server:
        url = f"{server.address}/pets.zip"
        with pytest.raises(SourceError, match=r"pets.zip: the connection broke off: run again"):
            fetch_url(tmp_path, url, SHA256)
        assert_nothing_left(tmp_path)
        fetch_url(tmp_path, url, SHA256)
        assert server.ranges_of("/pets.zip") == ["", "bytes=65536-"]
    assert names_in(tmp_path / "out.zip") == sorted(PICTURES)


def test_server_without_ranges_starts_again(tmp_path):
    with serve({"/pets.zip": Reply(CONTENT, ranges=False, cuts=[100_000])}) as server:
        url = f"{server.address}/pets.zip"
        with pytest.raises(SourceError, match="broke off"):
            fetch_url(tmp_path, url, SHA256)
        fetch_url(tmp_path, url, SHA256)
    assert names_in(tmp_path / "out.zip") == sorted(PICTURES)


def test_part_that_is_longer_than_the_file_is_dropped(tmp_path):
    with serve({"/pets.zip": Reply(CONTENT * 2, cuts=[len(CONTENT) * 2 - 10])}) as server:
        url = f"{server.address}/pets.zip"
        with pytest.raises(SourceError, match="broke off"):
            fetch_url(tmp_path, url, SHA256)
        server.replies["/pets.zip"] = Reply(CONTENT)
        fetch_url(tmp_path, url, SHA256)
    assert names_in(tmp_path / "out.zip") == sorted(PICTURES)


def test_wrong_sum_names_both_and_removes_the_download(tmp_path):
    message = rf"expected to have {'0' * 64}, found {SHA256}"
    with (
        serve({"/pets.zip": Reply(CONTENT)}) as server,
        pytest.raises(SourceError, match=message),
    ):
        fetch_url(tmp_path, f"{server.address}/pets.zip", "0" * 64)
    assert not (tmp_path / "work").exists()
    assert_nothing_left(tmp_path)


def test_empty_sum_is_told_and_the_download_is_kept(tmp_path):
    with serve({"/pets.zip": Reply(CONTENT)}) as server:
        url = f"{server.address}/pets.zip"
        with pytest.raises(SourceError, match=rf"data.sha256 is empty.* -S data.sha256={SHA256}"):
            fetch_url(tmp_path, url, "")
        assert_nothing_left(tmp_path)
        fetch_url(tmp_path, url, SHA256)
        assert len(server.requests) == 1


@pytest.mark.parametrize("length", [True, False])
def test_too_large_a_download_is_stopped_and_removed(tmp_path, length):
    silent_after = 1000 if length else None  # what is announced is refused before it comes
    reply = Reply(CONTENT, length=length, silent_after=silent_after)
    with serve({"/pets.zip": reply}) as server:
        params = data_params(
            source="url", url=f"{server.address}/pets.zip", sha256=SHA256, max_gb=0.0002
        )
        with pytest.raises(
            SourceError, match=r"/pets.zip: .* data.max_gb = 0.0002 GB, the server sends more"
        ):
            fetch(params, tmp_path / "out.zip", tmp_path / "work")
    assert not (tmp_path / "work").exists()
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize("url", ["", "ftp://x/pets.zip", "pets.zip", "http://[x/pets.zip"])
def test_url_that_is_not_http(tmp_path, url):
    with pytest.raises(
        SourceError, match=rf"data.url: expected the http\(s\) .*, found '{re.escape(url)}'"
    ):
        fetch_url(tmp_path, url, SHA256)


def test_url_that_is_not_there_tells_no_secret(tmp_path):
    with serve({}) as server:
        url = f"{server.address.replace('//', '//ann:secret@')}/no.zip?token=secret"
        with pytest.raises(SourceError, match=r"/no.zip: .* the server answered 404") as caught:
            fetch_url(tmp_path, url, SHA256)
    assert "secret" not in str(caught.value)


def test_refused_connection(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(
        SourceError, match=r"cannot be reached \(ConnectionRefusedError\)"
    ) as caught:
        fetch_url(tmp_path, f"http://127.0.0.1:{port}/pets.zip?token=secret", SHA256)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("silent_after", [0, 100_000])
def test_silent_server(tmp_path, silent_after):
    with (
        serve({"/pets.zip": Reply(CONTENT, silent_after=silent_after)}) as server,
        pytest.raises(SourceError, match=r"no answer within data.timeout_s = 0.2 s"),
    ):
        fetch_url(tmp_path, f"{server.address}/pets.zip", SHA256, timeout_s=0.2)


def test_server_that_speaks_no_tls(tmp_path):
    with serve({}) as server:
        url = server.address.replace("http:", "https:") + "/pets.zip"
        with pytest.raises(SourceError, match=r"the TLS connection failed \(.+\): check"):
            fetch_url(tmp_path, url, SHA256)


# Kept downloads

OTHER = zip_bytes({"cat/cat.4.jpg": b"new"} | PICTURES)
OTHER_SHA256 = hashlib.sha256(OTHER).hexdigest()


@pytest.fixture
def pets(tmp_path: Path) -> Iterator[Server]:
    """A server of one archive, which has been fetched from it once."""
    with serve({"/pets.zip": Reply(CONTENT)}) as server:
        fetch_url(tmp_path, f"{server.address}/pets.zip", SHA256)
        server.requests.clear()
        yield server


def told_sum(tmp_path: Path, server: Server) -> str:
    """What a call without a sum says of the file at the server."""
    with pytest.raises(SourceError, match=r"data.sha256 is empty") as caught:
        fetch_url(tmp_path, f"{server.address}/pets.zip", "")
    return str(caught.value).rpartition("=")[2]


def test_edit_of_limits_makes_the_archive_anew_without_a_request(tmp_path, pets, capsys):
    before = (tmp_path / "out.zip").read_bytes()
    (tmp_path / "out.zip").unlink()  # as DVC does
    params = data_params(
        source="url", url=f"{pets.address}/pets.zip", sha256=SHA256, max_files=8, max_ratio=2
    )
    fetch(params, tmp_path / "out.zip", tmp_path / "work")
    assert (tmp_path / "out.zip").read_bytes() == before
    assert pets.requests == []
    (kept,) = (tmp_path / "work").glob("*.zip")
    assert capsys.readouterr().out == (
        f"{kept} ({len(CONTENT):,} bytes) is used again: its SHA-256 is data.sha256; to fetch it "
        "anew, remove it and run `dvc repro -f download`\n"
    )


def test_kept_download_needs_no_server(tmp_path):
    with serve({"/pets.zip": Reply(CONTENT)}) as server:
        url = f"{server.address}/pets.zip"
        fetch_url(tmp_path, url, SHA256)
    assert fetch_url(tmp_path, url, SHA256).counts == {"": {"cat": 4, "dog": 4}}


def test_other_sources_leave_kept_downloads_alone(tmp_path, pets):
    fetch_archive(tmp_path, zip_bytes(TRAIN))
    fetch(data_params(source="sample", sample_images=20), tmp_path / "out.zip", tmp_path / "work")
    assert kept_zips(tmp_path) == {CONTENT}


def test_changed_sum_is_fetched_and_the_earlier_file_stays(tmp_path, pets):
    pets.replies["/pets.zip"] = Reply(OTHER, etag='"2"')
    assert fetch_url(tmp_path, f"{pets.address}/pets.zip", OTHER_SHA256).counts[""]["cat"] == 5
    assert pets.ranges_of("/pets.zip") == [""]
    assert kept_zips(tmp_path) == {CONTENT, OTHER}
    assert fetch_url(tmp_path, f"{pets.address}/pets.zip", SHA256).counts[""]["cat"] == 4
    assert len(pets.requests) == 1


def test_mistyped_sum_costs_no_kept_download(tmp_path, pets):
    for _ in range(2):  # it is asked for each time, and never an old answer
        with pytest.raises(SourceError, match=rf"to have {'0' * 64}, found {SHA256}"):
            fetch_url(tmp_path, f"{pets.address}/pets.zip", "0" * 64)
    assert kept_zips(tmp_path) == {CONTENT}
    assert pets.ranges_of("/pets.zip") == ["", ""]


def test_two_addresses_are_kept_side_by_side(tmp_path, pets):
    pets.replies["/more.zip"] = Reply(OTHER)
    fetch_url(tmp_path, f"{pets.address}/more.zip", OTHER_SHA256)
    fetch_url(tmp_path, f"{pets.address}/pets.zip", SHA256)
    assert kept_zips(tmp_path) == {CONTENT, OTHER}
    assert [path for _, path, _ in pets.requests] == ["/more.zip"]


def test_file_that_did_not_change_is_not_fetched_to_tell_its_sum(tmp_path, pets):
    pets.replies["/pets.zip"].silent_after = 1000  # its body would not arrive
    assert told_sum(tmp_path, pets) == SHA256


@pytest.mark.parametrize(
    ("etag", "modified"),
    [
        ('"2"', "Sat, 01 Jan 2022 00:00:00 GMT"),
        ("", "Sun, 02 Jan 2022 00:00:00 GMT"),
        ("", ""),  # nothing tells whether it changed
    ],
)
def test_file_that_changed_is_fetched_again_to_tell_its_sum(tmp_path, pets, etag, modified):
    pets.replies["/pets.zip"] = Reply(OTHER, etag=etag, modified=modified)
    assert told_sum(tmp_path, pets) == OTHER_SHA256
    assert told_sum(tmp_path, pets) == OTHER_SHA256
    fetch_url(tmp_path, f"{pets.address}/pets.zip", OTHER_SHA256)
    assert len(pets.requests) == 2


@pytest.mark.parametrize("note", [b"", b"[]", b'{"etag": 1}', b'{"unknown": ""}'])
def test_damaged_note_proves_nothing(tmp_path, pets, note):
    (path,) = (tmp_path / "work").glob("*.json")
    path.write_bytes(note)
    assert told_sum(tmp_path, pets) == SHA256
    assert pets.ranges_of("/pets.zip") == [""]


@pytest.mark.parametrize("sha256", [SHA256, ""], ids=["with a sum", "without a sum"])
@pytest.mark.parametrize("damage", ["cut short", "one byte"])
def test_damaged_download_is_named_removed_and_fetched_anew(tmp_path, pets, capsys, sha256, damage):
    (kept,) = (tmp_path / "work").glob("*.zip")
    content = CONTENT[:-100] if damage == "cut short" else CONTENT[:-1] + b"?"
    kept.write_bytes(content)
    if sha256:
        fetch_url(tmp_path, f"{pets.address}/pets.zip", sha256)
    else:
        assert told_sum(tmp_path, pets) == SHA256
    found = hashlib.sha256(content).hexdigest()
    assert capsys.readouterr().out == (
        f"{kept}: expected the SHA-256 {SHA256}, found {found}: the file is damaged, so it is "
        "removed and fetched anew\n"
    )
    assert kept_zips(tmp_path) == {CONTENT}


def test_part_of_a_file_that_changed_since_is_not_continued(tmp_path):
    with serve({"/pets.zip": Reply(CONTENT, cuts=[100_000])}) as server:
        url = f"{server.address}/pets.zip"
        with pytest.raises(SourceError, match="broke off"):
            fetch_url(tmp_path, url, OTHER_SHA256)
        server.replies["/pets.zip"] = Reply(OTHER, etag='"2"')
        fetch_url(tmp_path, url, OTHER_SHA256)
        assert server.ranges_of("/pets.zip") == ["", "bytes=65536-"]
    assert kept_zips(tmp_path) == {OTHER}


def test_lower_limit_refuses_a_kept_download_and_leaves_it(tmp_path, pets):
    params = data_params(source="url", url=f"{pets.address}/pets.zip", sha256=SHA256, max_gb=0.0001)
    with pytest.raises(SourceError, match=r"at most data.max_gb = 0.0001 GB, found 0.000241 GB at"):
        fetch(params, tmp_path / "out.zip", tmp_path / "work")
    assert kept_zips(tmp_path) == {CONTENT}


# The command that clears them


def clear(capsys: pytest.CaptureFixture[str], directory: Path, *options: str) -> list[str]:
    """The lines that the command prints; it must succeed."""
    capsys.readouterr()
    assert pawprint(["clear-downloads", "--directory", str(directory), *options]) == 0
    return capsys.readouterr().out.splitlines()


@pytest.fixture
def kept(tmp_path: Path) -> dict[str, bytes]:
    """Downloads as each source leaves them, whole and unfinished, in the directory work."""
    names = (
        "kaggle-ann.pets/pets.zip",
        "kaggle-ann.pets.3/pets.zip",
        "kaggle-dogs-vs-cats/dogs-vs-cats.zip",
        "kaggle-dogs-vs-cats/dogs-vs-cats.zip.kaggle-partial",
    )
    with serve({"/pets.zip": Reply(CONTENT), "/more.zip": Reply(OTHER, cuts=[100_000])}) as server:
        fetch_url(tmp_path, f"{server.address}/pets.zip", SHA256)
        with pytest.raises(SourceError, match="broke off"):
            fetch_url(tmp_path, f"{server.address}/more.zip", OTHER_SHA256)
    write_folder(tmp_path / "work", dict.fromkeys(names, b"x" * 1000))
    return files_in(tmp_path / "work")


def files_in(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_clear_downloads_says_what_it_removes(tmp_path, kept, capsys):
    assert len(kept) == 8
    *lines, total = clear(capsys, tmp_path / "work")
    assert sorted(lines) == sorted(
        f"{tmp_path / 'work' / name} ({len(content):,} bytes)" for name, content in kept.items()
    )
    assert total == f"removed: 8 files, {sum(map(len, kept.values())):,} bytes"
    assert not (tmp_path / "work").exists()
    assert names_in(tmp_path / "out.zip") == sorted(PICTURES)


def test_clear_downloads_lists_without_removing(tmp_path, kept, capsys):
    lines = clear(capsys, tmp_path / "work", "--list")
    assert lines[-1] == f"found: 8 files, {sum(map(len, kept.values())):,} bytes"
    assert files_in(tmp_path / "work") == kept
    assert clear(capsys, tmp_path / "work")[:-1] == lines[:-1]


@pytest.mark.parametrize("options", [[], ["--list"]])
def test_clear_downloads_where_there_is_nothing(tmp_path, capsys, options):
    (tmp_path / "empty").mkdir()
    for name in ("empty", "missing"):
        place = tmp_path / name
        assert clear(capsys, place, *options) == [
            f"{place}: no downloads of Pawprint's are kept here"
        ]
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_clear_downloads_leaves_the_files_of_others(tmp_path, kept, capsys):
    work, elsewhere = tmp_path / "work", tmp_path / "kaggle-elsewhere"
    others = {
        "notes.txt": b"",
        "pets.zip": b"",
        "url-list.zip": b"",
        "url-0123456789abcdef.zip.bak": b"",
        "kaggle-ann.pets/notes.txt": b"",
        "kaggle-ann.pets/train.zip": b"",
        "kaggle-mine/pets.zip": b"",
        "kaggle-mine.3/mine.zip": b"",
        "old/url-0123456789abcdef.zip": b"",
    }
    write_folder(work, others)
    write_folder(elsewhere, {"elsewhere.zip": b"mine"})
    (work / "kaggle-elsewhere").symlink_to(elsewhere)
    (work / "url-fedcba9876543210.zip").symlink_to(tmp_path / "out.zip")
    assert clear(capsys, work)[-1].startswith("removed: 8 files")
    assert set(files_in(work)) == {*others, "url-fedcba9876543210.zip"}
    assert files_in(elsewhere) == {"elsewhere.zip": b"mine"}


# The sample


def test_sample_is_balanced_and_repeatable(tmp_path):
    params = data_params(source="sample", sample_images=20, sample_seed=3)
    report = fetch(params, tmp_path / "one.zip", tmp_path / "work")
    fetch(params, tmp_path / "two.zip", tmp_path / "work")
    assert report.counts == {"": {"cat": 10, "dog": 10}}
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    assert not (tmp_path / "work").exists()


def test_sum_of_a_local_archive_is_checked(tmp_path):
    path = tmp_path / "source.zip"
    path.write_bytes(zip_bytes(PICTURES))
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    params = data_params(source="archive", archive=str(path), sha256=found.upper())
    fetch(params, tmp_path / "out.zip", tmp_path / "work")
    wrong = data_params(source="archive", archive=str(path), sha256="0" * 64)
    with pytest.raises(SourceError, match=f"^data.sha256: .* expected to have 0+, found {found}"):
        fetch(wrong, tmp_path / "other.zip", tmp_path / "work")
    assert path.exists()
    assert not (tmp_path / "other.zip").exists()
