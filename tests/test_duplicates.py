# covers: B4
"""Near duplicates are found, other pictures are not, and nothing depends on order or names."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from pawprint.data.manifest import Picture, assign_splits, read_archive_index
from pawprint.inspection.alignment import similarity
from pawprint.inspection.candidates import (
    CANDIDATES,
    ZOOMS,
    Candidates,
    encode,
    encode_all,
    find_candidates,
)
from pawprint.inspection.comparisons import Similarities, compare_candidates
from pawprint.inspection.duplicates import Link, find_links, group_near_duplicates
from pawprint.inspection.thumbnails import Header, Thumbnail, make_thumbnail, write_thumbnails
from pawprint.runner.errors import DataError
from pawprint.runner.params import Params, SplitParams
from pawprint.sources.sample import draw_picture
from pawprint.storage.shards import ShardedArray, shard_name, write_shard

CAP = 100_000_000
Alter = Callable[[Image.Image], Image.Image]


def crop(image: Image.Image) -> Image.Image:
    width, height = image.size
    return image.crop((0.08 * width, 0.03 * height, 0.95 * width, 0.94 * height))


def label(image: Image.Image) -> Image.Image:
    """A white plate on a picture that was made very dark."""
    marked = ImageEnhance.Brightness(image).enhance(0.25)
    width, height = image.size
    marked.paste("white", (0, round(0.05 * height), round(0.45 * width), round(0.17 * height)))
    return marked


ALTERED: dict[str, Alter] = {
    "smaller": lambda i: i.resize((90, 70)),
    "cropped": crop,
    "brighter": lambda i: ImageEnhance.Brightness(i).enhance(1.4),
    "flatter": lambda i: ImageEnhance.Contrast(i).enhance(0.5),
    "mirrored": ImageOps.mirror,
    "blurred": lambda i: i.filter(ImageFilter.GaussianBlur(0.01 * i.width)),
    "grey": lambda i: i.convert("L"),
    "rotated": lambda i: i.rotate(6),
    "framed": lambda i: ImageOps.expand(i, round(0.05 * i.width), "black"),
    "labelled": label,
    "mirrored and cropped": lambda i: crop(ImageOps.mirror(i)),
}


def jpeg(image: Image.Image, quality: int = 85) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def thumbnail(image: Image.Image) -> np.ndarray:
    return make_thumbnail(jpeg(image), CAP)


def write(stack: np.ndarray, directory: Path) -> Path:
    """As the pipeline keeps thumbnails; in two shards."""
    half = len(stack) // 2
    for number, part in enumerate((stack[:half], stack[half:])):
        write_shard(directory / shard_name(number), part)
    return directory


def candidates(stack: np.ndarray, directory: Path) -> Candidates:
    rows = np.arange(len(stack))
    return find_candidates(encode_all(write(stack, directory), rows), rows)


@pytest.fixture(scope="module")
def images() -> list[Image.Image]:
    return [Image.open(io.BytesIO(draw_picture(i, seed=1)[1])).convert("RGB") for i in range(24)]


@pytest.fixture(scope="module")
def params(committed: Params) -> SplitParams:
    return committed.split


@pytest.fixture(scope="module")
def archive(images: list[Image.Image], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 pictures, altered copies of the first ones, two exact copies, two blanks, one damaged."""
    path = tmp_path_factory.mktemp("archive") / "images.zip"
    with ZipFile(path, "w") as file:
        for i, image in enumerate(images):
            file.writestr(f"cat/{i:02d}.jpg", jpeg(image))
        for i, alter in enumerate(ALTERED.values()):
            file.writestr(f"{'dog' if i == 3 else 'cat'}/copy{i:02d}.jpg", jpeg(alter(images[i])))
        file.writestr("dog/exact20.jpg", jpeg(images[20]))
        file.writestr("dog/exact00.jpg", jpeg(images[0]))
        file.writestr("dog/white.png", png("white"))
        file.writestr("dog/grey.png", png("grey"))
        file.writestr("dog/damaged.jpg", jpeg(images[5])[:400])
    return path


def png(colour: str, size: tuple[int, int] = (64, 48)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def partners(pictures: list[Picture]) -> set[frozenset[str]]:
    groups: dict[str, set[str]] = {}
    for picture in pictures:
        groups.setdefault(picture.group, set()).add(picture.path)
    return {frozenset(paths) for paths in groups.values() if len(paths) > 1}


def test_copies_join_their_originals_and_nothing_else(
    archive: Path, params: SplitParams, tmp_path: Path
) -> None:
    pictures = read_archive_index(archive)
    thumbnails = write_thumbnails(archive, pictures, CAP, tmp_path / "plain")
    grouped, links = group_near_duplicates(pictures, thumbnails, tmp_path / "plain", params)
    expected = {
        frozenset({f"cat/{i:02d}.jpg", f"cat/copy{i:02d}.jpg"}) for i in range(1, len(ALTERED))
    }
    expected -= {frozenset({"cat/03.jpg", "cat/copy03.jpg"})}
    expected |= {frozenset({"cat/03.jpg", "dog/copy03.jpg"})}
    expected |= {frozenset({"cat/20.jpg", "dog/exact20.jpg"})}
    expected |= {frozenset({"cat/00.jpg", "cat/copy00.jpg", "dog/exact00.jpg"})}
    assert partners(grouped) == expected
    assert len(links) == len(ALTERED)
    assert all(params.similarity <= link.similarity <= 1 for link in links)
    assert all(link.first < link.second for link in links)
    splits = {picture.path: picture.split for picture in assign_splits(grouped, params)}
    assert all(len({splits[path] for path in paths}) == 1 for paths in expected)

    # neither the order of the pictures nor their names change anything
    shuffled = [pictures[i] for i in np.random.default_rng(0).permutation(len(pictures))]
    other = write_thumbnails(archive, shuffled, CAP, tmp_path / "shuffled")
    again, other_links = group_near_duplicates(shuffled, other, tmp_path / "shuffled", params)
    assert other_links == links
    assert {p.path: p.group for p in again} == {p.path: p.group for p in grouped}


def test_near_duplicates_can_be_left_alone(
    archive: Path, params: SplitParams, tmp_path: Path
) -> None:
    pictures = read_archive_index(archive)
    off = params.model_copy(update={"near_duplicates": False})
    thumbnails = [Thumbnail(None)] * len(pictures)
    assert group_near_duplicates(pictures, thumbnails, tmp_path, off) == (pictures, [])


def test_a_chain_of_links_is_one_group_named_by_its_least_digest(params: SplitParams) -> None:
    from pawprint.inspection.duplicates import _connect

    digests = [letter * 64 for letter in "abcdef"]
    a, b, c, d, e, _ = digests
    groups = _connect(digests, [Link(b, d, 0.9), Link(d, e, 0.8), Link(a, c, 0.7)])
    assert {digest[0]: group for digest, group in groups.items()} == {
        "a": "a" * 16,
        "b": "b" * 16,
        "c": "a" * 16,
        "d": "b" * 16,
        "e": "b" * 16,
        "f": "f" * 16,
    }


@pytest.mark.parametrize("kind", ALTERED)
def test_each_kind_of_copy_is_a_candidate_and_alike(
    kind: str, images: list[Image.Image], params: SplitParams, tmp_path: Path
) -> None:
    copies = [thumbnail(ALTERED[kind](image)) for image in images[:4]]
    stack = np.stack([thumbnail(image) for image in images] + copies)
    pairs = candidates(stack, tmp_path)
    found = {
        frozenset(pair) for pair in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)
    }
    assert {frozenset({i, len(images) + i}) for i in range(4)} <= found
    originals = stack[:4]
    seconds = np.stack(copies)
    if "mirrored" in kind:
        seconds = seconds[:, :, ::-1]
    assert similarity(originals, seconds, np.ones(4)).min() > params.similarity


def test_different_pictures_are_not_alike(images: list[Image.Image], params: SplitParams) -> None:
    stack = np.stack([thumbnail(image) for image in images])
    first, second = np.triu_indices(len(images), 1)
    alike = similarity(stack[first], stack[second], np.ones(len(first)))
    assert len(alike) == 276
    assert alike.max() < params.similarity


def test_a_picture_is_wholly_like_itself_and_like_its_negative_not_at_all(
    images: list[Image.Image],
) -> None:
    stack = np.stack([thumbnail(image) for image in images[:3]])
    np.testing.assert_allclose(similarity(stack, stack, np.ones(3)), 1, atol=1e-5)
    assert similarity(stack, 255 - stack, np.ones(3)).max() < 0.3


def test_nothing_to_compare_is_no_error(images: list[Image.Image], tmp_path: Path) -> None:
    none = np.zeros((0, 64, 64), np.uint8)
    assert similarity(none, none, np.zeros(0)).shape == (0,)
    assert find_links(["a"], write(thumbnail(images[0])[None], tmp_path), [0], 0.5) == []
    assert find_links([], tmp_path / "none", [], 0.5) == []


def test_blank_pictures_are_candidates_of_none(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    blank = np.clip(rng.normal(200, 2, (50, 64, 64)), 0, 255).astype(np.uint8)
    assert not encode(blank, 1.0).any()
    assert len(candidates(blank, tmp_path / "blank").first) == 0
    noise = rng.integers(0, 255, (50, 64, 64)).astype(np.uint8)
    pairs = candidates(noise, tmp_path / "noise")
    assert not (compare_candidates(tmp_path / "noise", np.arange(50), pairs) > 0.5).any()


def test_codes_are_whole_numbers_whose_products_sum_exactly(images: list[Image.Image]) -> None:
    codes = encode(np.stack([thumbnail(image) for image in images]), 0.9)
    assert np.array_equal(codes, np.rint(codes))
    assert float((codes.astype(np.float64) ** 2).sum(1).max()) < 2**24
    exact = codes.astype(np.int64) @ codes.astype(np.int64).T
    assert np.array_equal(codes @ codes.T, exact)


def test_candidates_are_the_best_four_of_each_picture_in_either_way() -> None:
    """Against plain products, of so many codes that there are several blocks; some are equal."""
    from pawprint.inspection.candidates import _mirror_signs

    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (300, 64, 64)).astype(np.uint8)
    blocks = [pixels, pixels[:, :, ::-1], pixels[:120], np.rot90(pixels[:4], axes=(1, 2))]
    stack = np.concatenate(blocks)
    codes, group = np.stack([encode(stack, zoom) for zoom in ZOOMS]), np.arange(len(stack))
    group[:3] = 3  # with each other these are not compared, nor with the fourth
    mirrored = codes * _mirror_signs()
    ways = [a[i] @ codes[j].T for a in (codes, mirrored) for i in range(3) for j in range(3)]
    best = np.max([way for k, way in enumerate(ways) if k % 9 in (0, 1, 2, 3, 6)], axis=0)
    best[group[:, None] == group] = 0
    order = np.argsort(-best, axis=1, kind="stable")[:, :CANDIDATES]
    expected = {
        tuple(sorted((row, int(other))))
        for row, others in enumerate(order)
        for other in others
        if best[row, other] >= 0.4 * 4000**2
    }
    found = find_candidates(codes, group)
    assert len(expected) > 400
    assert set(zip(found.first.tolist(), found.second.tolist(), strict=True)) == expected
    assert len(found.first) == len(expected)
    mirror_pair = found.first.tolist().index(200), found.second.tolist()
    assert mirror_pair[1][mirror_pair[0]] == 500
    assert found.mirrored[mirror_pair[0]]


def test_a_code_of_the_middle_is_that_of_the_cropped_picture(images: list[Image.Image]) -> None:
    image = images[0].resize((640, 640)).convert("L")
    middle = image.crop((64, 64, 576, 576))
    grey = [np.asarray(i.resize((64, 64), Image.Resampling.BOX)) for i in (image, middle)]
    zoomed, cropped = encode(grey[0][None], 0.8)[0], encode(grey[1][None], 1.0)[0]
    assert zoomed @ cropped > 0.98 * 4000**2
    assert zoomed @ encode(grey[0][None], 1.0)[0] < 0.95 * 4000**2


def test_similarities_that_are_known_are_not_measured_again(
    images: list[Image.Image], params: SplitParams, tmp_path: Path
) -> None:
    copies = [thumbnail(crop(image)) for image in images]
    write(np.stack([thumbnail(image) for image in images] + copies), tmp_path)
    digests = [f"{i:02d}" for i in range(len(images) + len(copies))]
    rows = list(range(len(digests)))
    first = Similarities()
    links = find_links(digests, tmp_path, rows, params.similarity, first)
    pairs = sorted(first.used)
    assert len(links) == len(images) < len(pairs)
    some = Similarities({pair: first.used[pair] for pair in pairs[::2]})
    assert find_links(digests, tmp_path, rows, params.similarity, some) == links
    assert some.used == first.used
    lowest = min(pairs, key=first.used.__getitem__)
    told = Similarities({**first.used, lowest: 0.875, ("90", "91"): 1.0})
    assert Link(*lowest, 0.875) in find_links(digests, tmp_path, rows, params.similarity, told)
    assert set(told.used) == set(pairs)


def test_many_copies_of_one_picture_are_one_group(
    images: list[Image.Image], params: SplitParams, tmp_path: Path
) -> None:
    """Also when each has more close ones than it may have candidates: nine of the whole picture,
    nine of a part of it."""
    both = (images[0], crop(images[0]))
    copies = [jpeg(image, quality) for image in both for quality in range(70, 97, 3)]
    assert len(copies) > 4 * CANDIDATES
    write(np.stack([make_thumbnail(copy, CAP) for copy in copies]), tmp_path)
    digests = [f"{i:02d}".ljust(64, "0") for i in range(len(copies))]
    pictures = [Picture(f"cat/{digest}", "cat", "", digest, digest[:16]) for digest in digests]
    thumbnails = [Thumbnail(None)] * len(copies)
    grouped, _ = group_near_duplicates(pictures, thumbnails, tmp_path, params)
    assert len({picture.group for picture in grouped}) == 1


def test_thumbnails_of_whatever_there_is(images: list[Image.Image], tmp_path: Path) -> None:
    whole = jpeg(images[0].resize((120, 80)))
    files = {"whole": whole, "cut": whole[:700], "text": b"no picture", "empty": b""}
    files |= {"red": png("red"), "large": png("red", (101, 100))}
    with ZipFile(tmp_path / "images.zip", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    listed = [Picture(name, "", "", name, "") for name in files]
    looks = write_thumbnails(tmp_path / "images.zip", listed, 10_000, tmp_path / "pixels")
    found = dict(zip(files, looks, strict=True))
    assert found["whole"] == Thumbnail(Header(120, 80, "JPEG", "RGB"))
    assert found["cut"].header == found["whole"].header
    assert found["cut"].reason.startswith("image file is truncated")
    assert found["text"] == Thumbnail(None, "not a picture in a known format")
    assert found["empty"] == Thumbnail(None, "empty file")
    assert found["large"].reason == "101x100 pixels, more than preprocess.max_pixels = 10000"
    pixels = ShardedArray(tmp_path / "pixels")
    assert (pixels.shape, pixels.dtype) == ((6, 64, 64), np.uint8)
    stored = pixels.gather(range(6))
    np.testing.assert_array_equal(stored[0], make_thumbnail(whole, CAP))
    assert np.unique(stored[4]).tolist() == [76]  # 0.299 of 255
    assert not stored[[1, 2, 3, 5]].any()


@pytest.mark.parametrize("kept", [0, 0.5])
def test_an_archive_that_was_damaged_is_one_line(
    archive: Path, tmp_path: Path, kept: float
) -> None:
    content = archive.read_bytes()
    listed = read_archive_index(archive)
    path = tmp_path / "images.zip"
    path.write_bytes(content[: int(len(content) * kept)])
    message = r"images\.zip: expected the whole archive .*`dvc repro -f download`$"
    with pytest.raises(DataError, match=message):
        read_archive_index(path)
    with pytest.raises(DataError, match=message):
        write_thumbnails(path, listed, CAP, tmp_path / "pixels")
