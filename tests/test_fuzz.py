"""What comes from outside, mutated: each reader gives its result or its own error, soon.

`make fuzz` runs the same properties on far more examples, and on other ones each time.
"""
# covers: B5, B8, R3, R12

from __future__ import annotations

import copyreg
import faulthandler
import gzip
import io
import math
import os
import pickle
import re
import signal
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
import yaml
from corpus import chunk, pictures
from corpus_zips import pack, zips
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from servers import ROOT, data_params

from pawprint.backbones.legacy_weights import read_state_dict
from pawprint.pictures.images import decode_image
from pawprint.runner.errors import ImageError, ParamsError, SourceError, WeightsError
from pawprint.runner.params import Params
from pawprint.runner.params_file import load_params
from pawprint.serving.limits import Refusal
from pawprint.serving.uploads import Uploads, read_form, read_json
from pawprint.sources.archive import write_archive
from pawprint.sources.containers import open_container
from pawprint.sources.layout import read_layout
from pawprint.sources.quota import Quota

MORE = os.environ.get("FUZZ_EXAMPLES")
LIMIT_S = 10


def fuzz(examples: int) -> settings:
    """The same examples in every test run; many others when they are asked for."""
    return settings(
        max_examples=int(MORE or examples),
        derandomize=not MORE,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


class TooSlow(BaseException):
    """Not an Exception, which readers turn into their own error."""


@contextmanager
def time_limit() -> Iterator[None]:
    """Ends what takes too long; what never leaves C code ends the tests, with a stack trace."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    faulthandler.dump_traceback_later(3 * LIMIT_S, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def assert_one_line(error: Exception) -> None:
    assert str(error)
    assert "\n" not in str(error)


@st.composite
def mutated(draw: st.DrawFn, samples: list[bytes]) -> bytes:
    """A sample with a few flips, overwritten, missing, repeated or foreign parts."""
    content = bytearray(draw(st.sampled_from(samples)))
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, len(content)))
        size = draw(st.integers(1, 40))
        match draw(st.sampled_from(("flip", "write", "number", "remove", "repeat", "cut", "mix"))):
            case "flip" if at < len(content):
                content[at] ^= 1 << draw(st.integers(0, 7))
            case "write":
                content[at : at + size] = draw(st.binary(min_size=size, max_size=size))
            case "number":
                width = draw(st.sampled_from((1, 2, 4, 8)))
                value = draw(st.sampled_from((0, 1, 127, 255, 65_535, 2**31 - 1, 2**64 - 1)))
                order = draw(st.sampled_from(("little", "big")))
                content[at : at + width] = (value % 256**width).to_bytes(width, order)
            case "remove":
                del content[at : at + size]
            case "repeat":
                content[at:at] = content[at : at + size] * draw(st.integers(1, 50))
            case "cut":
                del content[at:]
            case "mix":
                other = draw(st.sampled_from(samples))
                start = draw(st.integers(0, len(other)))
                content[at : at + size] = other[start : start + 10 * size]
    return bytes(content)


# Pictures

PICTURES = [case.content for case in pictures().values() if len(case.content) < 30_000]


def assert_decodes_or_refuses(content: bytes) -> None:
    with time_limit():
        try:
            pixels = decode_image(content, 32, 1_000_000)
        except ImageError as error:
            assert_one_line(error)
        else:
            assert (pixels.dtype, pixels.shape) == (np.uint8, (32, 32, 3))


@fuzz(1500)
@given(mutated(PICTURES))
def test_mutated_pictures(content: bytes) -> None:
    assert_decodes_or_refuses(content)


@fuzz(300)
@given(
    st.sampled_from(
        [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"P6 "]
    ),
    st.binary(max_size=500),
)
def test_random_bytes_after_a_signature(signature: bytes, rest: bytes) -> None:
    assert_decodes_or_refuses(signature + rest)


def png_chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    chunks, at = [], 8
    while at + 12 <= len(content):
        (size,) = struct.unpack_from(">I", content, at)
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + size]))
        at += size + 12
    return chunks


PNGS = [
    png_chunks(case.content)
    for case in pictures().values()
    if case.pixels is not None and case.content.startswith(b"\x89PNG")
]


@fuzz(300)
@given(st.data())
def test_pngs_whose_sums_are_right(data: st.DataObject) -> None:
    """Mutations that a checksum would hide: of chunks, of their order, and of what is deflated."""
    chunks = list(data.draw(st.sampled_from(PNGS)))
    at = data.draw(st.integers(0, len(chunks) - 1))
    kind, body = chunks[at]
    if kind == b"IDAT" and data.draw(st.booleans()):
        rows = zlib.decompressobj().decompress(body, 100_000)
        body = zlib.compress(data.draw(mutated([rows])), 1)
    else:
        body = data.draw(mutated([body]))
    chunks[at] = (kind, body)
    if data.draw(st.booleans()):
        chunks = data.draw(st.permutations(chunks))
    content = b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*parts) for parts in chunks)
    assert_decodes_or_refuses(content)


JPEGS = [re.split(rb"(?=\xff[\xc0-\xfe])", c) for c in PICTURES if c.startswith(b"\xff\xd8")]


@fuzz(300)
@given(st.data())
def test_jpegs_of_shuffled_segments(data: st.DataObject) -> None:
    segments = data.draw(st.sampled_from(JPEGS)) + data.draw(st.sampled_from(JPEGS))
    chosen = data.draw(st.lists(st.sampled_from(segments), max_size=len(segments)))
    assert_decodes_or_refuses(b"\xff\xd8" + b"".join(chosen) + b"\xff\xd9")


# Archives

ZIPS = [case.content for case in zips().values() if len(case.content) < 20_000]
LIMITS = {"max_files": 1000, "max_file_mb": 1, "max_gb": 0.005}


def assert_packs_or_refuses(content: bytes) -> dict[str, bytes] | None:
    """Through the canonical archive; its files, or nothing if it is refused."""
    with tempfile.TemporaryDirectory() as name, time_limit():
        folder = Path(name)
        source, out = folder / "source.zip", folder / "out.zip"
        source.write_bytes(content)
        quota = Quota(data_params(**LIMITS), "src", len(content))
        files = None
        try:
            with open_container(source, folder, quota) as listing:
                write_archive(listing, out, quota)
        except SourceError as error:
            assert_one_line(error)
        else:
            with zipfile.ZipFile(out) as archive:
                files = {name: archive.read(name) for name in archive.namelist()}
            assert out.stat().st_size < 20_000_000
        assert {path.name for path in folder.iterdir()} <= {"source.zip", "out.zip"}
    return files


def tars() -> Iterator[bytes]:
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
            for name in ("cat/1.jpg", "dog/1.jpg", "dog/k\u00e4tzchen.jpg", "x" * 90 + "/y/1.jpg"):
                info = tarfile.TarInfo(name)
                info.size = 600
                archive.addfile(info, io.BytesIO(bytes(range(200)) * 3))
        yield stream.getvalue()


def with_sums(content: bytes) -> bytes:
    """A tar whose headers have the right sums again, so that their values are looked at."""
    blocks = [content[at : at + 512] for at in range(0, len(content), 512)]
    for i, block in enumerate(blocks):
        if len(block) == 512 and b"ustar" in block[250:270]:
            summed = block[:148] + b" " * 8 + block[156:]
            blocks[i] = block[:148] + b"%06o\0 " % sum(summed) + block[156:]
    return b"".join(blocks)


@fuzz(400)
@given(mutated(list(tars())), st.booleans(), st.sampled_from([bytes, gzip.compress]))
def test_mutated_tars(content: bytes, summed: bool, pack_tar: Callable[[bytes], bytes]) -> None:
    assert_packs_or_refuses(pack_tar(with_sums(content) if summed else content))


@fuzz(400)
@given(mutated(ZIPS))
def test_mutated_zips(content: bytes) -> None:
    files = assert_packs_or_refuses(content)
    assert files is None or all(is_safe(name) for name in files)


def is_safe(name: str) -> bool:
    parts = name.split("/")
    control = re.search(r"[\x00-\x1f\x7f-\x9f]", name)
    return len(parts) in (2, 3) and not {"", ".", ".."} & set(parts) and not control


PART = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ("..", ".", "", "train", "val", "cat", "dog", "Cat", "C:", "__MACOSX", "cat.0.jpg", "a.zip")
)
NAME = st.builds(
    lambda parts, separator, suffix: separator.join(parts) + suffix,
    st.lists(PART, min_size=1, max_size=4),
    st.sampled_from("/\\"),
    st.sampled_from((".jpg", ".PNG", ".txt", ".zip", "")),
)


@fuzz(200)
@given(st.dictionaries(NAME, st.binary(max_size=20), max_size=6))
def test_zips_of_random_names(files: dict[str, bytes]) -> None:
    """Whatever is kept has its bytes."""
    content = pack(files | {"cat/pet.jpg": b"pet 1", "dog/pet.jpg": b"pet 2"})
    kept = assert_packs_or_refuses(content)
    if kept is None:
        return
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        given = [info for info in archive.infolist() if not info.is_dir()]
        layout = read_layout([info.filename for info in given], "src")
        assert kept == {p.path: archive.read(given[p.index]) for p in layout.pictures}


@fuzz(300)
@given(st.lists(NAME | st.text(max_size=20), max_size=10))
def test_layouts_of_random_names(names: list[str]) -> None:
    try:
        layout = read_layout(names, "src")
    except SourceError as error:
        assert_one_line(error)
        return
    assert len({picture.class_name for picture in layout.pictures}) >= 2
    assert len({picture.path for picture in layout.pictures}) == len(layout.pictures)
    assert len(layout.pictures) + sum(layout.ignored.values()) == len(names)
    for picture in layout.pictures:
        assert not {"", ".", ".."} & set(picture.path.split("/"))
        assert "\n" not in picture.path


# Parameters

COMMITTED = (ROOT / "params.yaml").read_bytes()
VALUE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.dates()
    | st.sampled_from((0, -1, 10**400, 1e308, "", "1e-05", "cosine")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)


def assert_loads_or_refuses(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as name, time_limit():
        path = Path(name, "params.yaml")
        path.write_bytes(content)
        try:
            params = load_params(path)
        except ParamsError as error:
            assert_one_line(error)
        else:
            assert isinstance(params, Params)
            values = [v for part in params.model_dump().values() for v in part.values()]
            assert all(math.isfinite(value) for value in values if isinstance(value, float))


@fuzz(200)
@given(mutated([COMMITTED]))
def test_mutated_params(content: bytes) -> None:
    assert_loads_or_refuses(content)


@fuzz(200)
@given(st.text(max_size=200) | st.text("[]{}:,-?&*!|>'\"%@` \n#1e.0o~<=", max_size=80))
def test_random_yaml(text: str) -> None:
    assert_loads_or_refuses(text.encode("utf-8", "replace"))


@fuzz(200)
@given(st.data())
def test_params_of_other_types(data: st.DataObject) -> None:
    content = yaml.safe_load(COMMITTED)
    section = data.draw(st.sampled_from(sorted(content)))
    key = data.draw(st.sampled_from(sorted(content[section])) | st.text(max_size=5))
    content[section][key] = data.draw(VALUE)
    assert_loads_or_refuses(yaml.safe_dump(content, allow_unicode=True).encode("utf-8", "replace"))


@pytest.mark.parametrize(
    "text",
    [
        "a: 2001-13-45",  # a date that is none
        "a: " + "1" * 5000,  # more digits than Python converts
        "[" * 5000,
        "a: !!int x",
        "a: !!binary x",
        "? [a]\n: b",
        '"a\\nb": 1',
        '"a\nb": 1',
        "a: &a [*a]",
        'a: "\\ud800"',
        "\ufffe",
        "!!python/object/apply:os.system [ls]",
    ],
)
def test_yaml_that_broke_the_loader(text: str) -> None:
    assert_loads_or_refuses(text.encode("utf-8"))


# Weights


def text(value: str) -> bytes:
    """BINUNICODE"""
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def pair(first: int, second: int) -> bytes:
    return b"K" + bytes([first]) + b"K" + bytes([second]) + b"\x86"


EMPTY_ORDERED = b"ccollections\nOrderedDict\n)R"


def tensor(shape: bytes, strides: bytes, size: bytes = b"K\x06") -> bytes:
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu")
    storage += size + b"NtQ"
    arguments = b"(" + storage + b"K\0" + shape + strides + b"\x89" + EMPTY_ORDERED + b"t"
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"R"


def checkpoint(tensors: bytes) -> bytes:
    """A legacy file, opcode by opcode: magic, protocol, system, tensors, keys, one storage."""
    magic = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
    system = b"\x80\x02}" + text("little_endian") + b"\x88s."
    keys = b"\x80\x02]" + text("0") + b"a."
    storage = struct.pack("<Q6f", 6, *range(6))
    return magic + b"\x80\x02M\xe9\x03." + system + b"\x80\x02" + tensors + b"." + keys + storage


METADATA = b"}" + text("_metadata") + EMPTY_ORDERED + b"sb"  # as PyTorch adds it
STATE = EMPTY_ORDERED + text("w") + tensor(pair(2, 3), pair(3, 1)) + b"s" + METADATA
VALID = checkpoint(STATE)


def read(content: bytes) -> dict[str, np.ndarray]:
    with tempfile.TemporaryDirectory() as name, time_limit():
        path = Path(name, "weights.pth")
        path.write_bytes(content)
        return read_state_dict(path)


def assert_reads_valid() -> None:
    assert {name: array.tolist() for name, array in read(VALID).items()} == {
        "w": [[0, 1, 2], [3, 4, 5]]
    }


@fuzz(1000)
@given(mutated([VALID, checkpoint(b"}" + text("v") + tensor(pair(3, 2), pair(1, 3)) + b"s")]))
def test_mutated_weights(content: bytes) -> None:
    try:
        state = read(content)
    except WeightsError as error:
        assert_one_line(error)
        return
    for name, array in state.items():
        assert isinstance(name, str)
        assert array.dtype in (np.float32, np.int64)
        assert array.nbytes <= len(content)


def commands(path: str) -> dict[str, bytes]:
    """Pickles that make a directory when they are loaded without care, by kind of opcode."""
    word = text(path)
    short = b"\x8c\x02os\x8c\x05mkdir"
    return {
        "GLOBAL and REDUCE": b"\x80\x02cos\nmkdir\n(" + word + b"tR.",
        "STACK_GLOBAL": b"\x80\x04" + short + b"\x93(" + word + b"tR.",
        "INST": b"(" + word + b"ios\nmkdir\n.",
        "OBJ": b"(cos\nmkdir\n" + word + b"o.",
        "EXT1": b"\x80\x02\x82\xf0(" + word + b"tR.",
        "EXT2": b"\x80\x02\x83\xf0\0(" + word + b"tR.",
        "EXT4": b"\x80\x02\x84\xf0\0\0\0(" + word + b"tR.",
        "NEWOBJ": b"\x80\x02ctest_fuzz\nMaker\n" + word + b"\x85\x81.",
        "NEWOBJ_EX": b"\x80\x04ctest_fuzz\nMaker\n" + word + b"\x85}\x92.",
        "BUILD": b"\x80\x02ctest_fuzz\nMaker\n)\x81" + word + b"b.",
        "builtins": b"\x80\x02cbuiltins\nexec\n"
        + text(f"import os; os.mkdir({path!r})")
        + b"\x85R.",
        "old builtins": b"c__builtin__\neval\n"
        + text(f"__import__('os').mkdir({path!r})")
        + b"\x85R.",
        "map": b"\x80\x02cbuiltins\nlist\ncbuiltins\nmap\ncos\nmkdir\n]" + word + b"a\x86R\x85R.",
        "PERSID": b"P" + path.encode() + b"\n.",
        "BINPERSID": word + b"Q.",
    }


class Maker:
    """Makes a directory where it can."""

    def __new__(cls, *paths: str) -> Maker:
        for path in paths:
            os.mkdir(path)
        return super().__new__(cls)

    def __setstate__(self, path: str) -> None:
        os.mkdir(path)


class CarelessUnpickler(pickle.Unpickler):
    def persistent_load(self, pid: Any) -> None:
        os.mkdir(pid)


PLACES: dict[str, Callable[[bytes], bytes]] = {
    "as the file": lambda command: command,
    "as the tensors": lambda command: checkpoint(command.removesuffix(b".")),
    "as a tensor": lambda command: checkpoint(
        EMPTY_ORDERED + text("w") + re.sub(rb"^\x80.", b"", command, flags=re.S)[:-1] + b"s"
    ),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", commands(""))
def test_commands_in_weights_do_not_run(kind: str, place: str, tmp_path: Path) -> None:
    made = tmp_path / "made"
    command = commands(str(made))[kind]
    copyreg.add_extension("os", "mkdir", 0xF0)
    try:
        CarelessUnpickler(io.BytesIO(command)).load()
        assert made.is_dir(), "the pickle does nothing: this test would prove nothing"
        made.rmdir()
        with pytest.raises(WeightsError, match=r"opcode|asks for|unknown kind|state_dict"):
            read(PLACES[place](command))
    finally:
        copyreg.remove_extension("os", "mkdir", 0xF0)
    assert not made.exists()
    assert_reads_valid()


@pytest.mark.parametrize(
    ("pickled", "reason"),
    [
        (
            b"ctorch._utils\n_rebuild_tensor_v2\nN}" + text("planted") + b"K\x01s\x86b",
            "no attribute 'planted'",
        ),
        (
            b"ccollections\nOrderedDict\nN}" + text("__init__") + b"K\x01s\x86b",
            "cannot set '__init__' attribute",
        ),
        (STATE.replace(text("storage"), text("module")), "unknown kind"),
        (b"}r\xff\xff\xff\x7f", "far larger"),
        (b"}" + b")" + b"\x85" * 200_000 + b"Ns", "far larger"),
        (b"\x8e" + struct.pack("<Q", 1 << 40), "state_dict"),
        (b"\x8b" + struct.pack("<i", 1 << 30), "state_dict"),
        (text("x") * 3, "state_dict"),
        (STATE.replace(pair(3, 1), pair(0, 0)).replace(pair(2, 3), pair(255, 255)), "larger than"),
        (
            b"}" + text("w") + tensor(pair(2, 3), pair(3, 1), b"J\xff\xff\xff\xff") + b"s",
            "truncated",
        ),
        (b"}K\x01" + tensor(pair(2, 3), pair(3, 1)) + b"s", "other things than tensors"),
    ],
    ids=str,
)
def test_weights_that_want_too_much(pickled: bytes, reason: str) -> None:
    with pytest.raises(WeightsError, match=reason) as caught:
        read(checkpoint(pickled))
    assert_one_line(caught.value)
    assert_reads_valid()


# Bodies of requests

FORMS = [
    b"--b\r\n" + disposition + b"\r\n\r\n" + b"\r\n--bx--b"[:size] + b"\r\n--b--\r\n"
    for disposition in (
        b'Content-Disposition: form-data; name="files"; filename="x.png"',
        b'content-disposition:form-data;filename="\\"";name=files\r\nContent-Type: image/png',
        b'Content-Disposition: form-data; name="files"; filename=x\r\n\r\nx\r\n--b\r\n'
        b'Content-Disposition: form-data; name="top"',
    )
    for size in (0, 1, 9)
]
JSONS = [
    b'{"images": [{"name": "x", "content": "eA=="}, {"content": "\\u0041\\/"}], "top": 3}',
    b'{"top": 1, "images":[{"content":"data:image/png;base64,eA","name":"\\"\\\\\xc3\xa9"}]}',
    b'[{"images": [[1.5e3, null, true, {"name": []}]], "top": -1}, 7]',
]


def assert_refusal(refusal: Refusal) -> None:
    assert refusal.status_code in (400, 413, 422)
    assert "\n" not in refusal.detail


def assert_read_or_refused(read: Callable[[], Uploads], body: bytes, most: int) -> None:
    with time_limit():
        try:
            uploads = read()
        except Refusal as error:
            assert_refusal(error)
        else:
            assert 1 <= len(uploads.files) <= most
            assert sum(len(upload.content or b"") for upload in uploads.files) < len(body)


@fuzz(500)
@given(mutated(FORMS), st.sampled_from(["b", "", '"b"', "--b", "b; charset=utf-8", "b\\"]))
def test_mutated_forms(body: bytes, boundary: str) -> None:
    kind = f"multipart/form-data; boundary={boundary}"
    assert_read_or_refused(lambda: read_form(kind, body, 2), body, 2)


@fuzz(500)
@given(mutated(JSONS))
def test_mutated_json(body: bytes) -> None:
    assert_read_or_refused(lambda: read_json(body, 2), body, 2)
