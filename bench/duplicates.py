"""Measures the search for near duplicates: what it finds, and what it should not have found.

    python -m bench.duplicates DATA.zip [--seed 0] [--copies 50] [--sheets DIRECTORY]

Plants altered copies (12 kinds) of randomly chosen pictures among all pictures of a zip (or of the
drawn ones: ``sample``), runs what stage split runs, with params.yaml, and prints for each kind how
many copies were found, and how many ended in another split than their original. Pairs that were
found and not planted are real duplicates or mistakes: look at them with ``--sheets``.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from zipfile import ZipFile

from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from pawprint.data.manifest import Picture, assign_splits, group_members, read_archive_index
from pawprint.inspection.duplicates import Link, distinct_rows, find_links, group_near_duplicates
from pawprint.inspection.thumbnails import write_thumbnails
from pawprint.runner.params import Params
from pawprint.runner.params_file import load_params
from pawprint.sources.archive import write_archive
from pawprint.sources.fetch import fetch
from pawprint.sources.quota import Quota
from pawprint.sources.zips import open_zip

SWEEP = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
SIDE_PX = 160  # of a picture on a contact sheet


@dataclass(frozen=True)
class Copy:
    """A planted picture: its name in the archive, how it was made, and of which one."""

    name: str
    kind: str
    original: str


def encode_jpeg(image: Image.Image, quality: int = 90) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def crop(image: Image.Image, random: Random) -> Image.Image:
    width, height = image.size
    left, right, top, bottom = (random.uniform(0, 0.1) for _ in range(4))
    box = (left * width, top * height, (1 - right) * width, (1 - bottom) * height)
    return image.crop(box)  # Pillow rounds it


def resize(image: Image.Image, random: Random) -> Image.Image:
    width, height = (max(1, round(side * random.uniform(0.4, 0.9))) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def rotate(image: Image.Image, random: Random) -> Image.Image:
    degrees = random.choice((-1, 1)) * random.uniform(2, 8)
    fill = random.choice(("black", "white"))
    return image.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=fill)


def watermark(image: Image.Image, random: Random) -> Image.Image:
    """A white plate with text over 6.5 % of the picture."""
    width, height = image.size
    left, top = random.uniform(0, 0.5) * width, random.uniform(0, 0.85) * height
    marked = image.copy()
    pen = ImageDraw.Draw(marked)
    pen.rectangle((left, top, left + 0.5 * width, top + 0.13 * height), fill="white")
    pen.text((left + 4, top + 2), "(c) example.org", fill="black")
    return marked


def frame(image: Image.Image, random: Random) -> Image.Image:
    width = round(random.uniform(0.02, 0.08) * image.width)
    return ImageOps.expand(image, width, random.choice(("black", "white")))


def outside(random: Random, low: tuple[float, float], high: tuple[float, float]) -> float:
    return random.uniform(*random.choice((low, high)))


KINDS: dict[str, Callable[[Image.Image, Random], bytes]] = {
    "quality 10-40": lambda i, r: encode_jpeg(i, r.randint(10, 40)),
    "resize 40-90 %": lambda i, r: encode_jpeg(resize(i, r)),
    "crop 0-10 % a side": lambda i, r: encode_jpeg(crop(i, r)),
    "brightness": lambda i, r: encode_jpeg(
        ImageEnhance.Brightness(i).enhance(outside(r, (0.5, 0.8), (1.2, 1.6)))
    ),
    "mirror": lambda i, r: encode_jpeg(ImageOps.mirror(i)),
    "contrast": lambda i, r: encode_jpeg(
        ImageEnhance.Contrast(i).enhance(outside(r, (0.4, 0.7), (1.3, 2.0)))
    ),
    "blur 0.5-1.2 %": lambda i, r: encode_jpeg(
        i.filter(ImageFilter.GaussianBlur(r.uniform(0.005, 0.012) * i.width))
    ),
    "grey": lambda i, r: encode_jpeg(i.convert("L")),
    "rotate 2-8 degrees": lambda i, r: encode_jpeg(rotate(i, r)),
    "watermark 6.5 %": lambda i, r: encode_jpeg(watermark(i, r)),
    "frame 2-8 %": lambda i, r: encode_jpeg(frame(i, r)),
    "mirror, crop, light, quality": lambda i, r: encode_jpeg(
        ImageEnhance.Brightness(crop(ImageOps.mirror(i), r)).enhance(r.uniform(0.7, 1.3)),
        r.randint(20, 60),
    ),
}


def plant(archive: Path, seed: int, each: int) -> list[Copy]:
    """Add copies to a canonical archive, beside their originals: ``each`` of every kind."""
    random = Random(seed)
    copies = []
    with ZipFile(archive, "a") as pictures:
        names = sorted(pictures.namelist())
        chosen = random.sample(names, min(len(names), each * len(KINDS)))
        for number, original in enumerate(chosen):
            kind = list(KINDS)[number % len(KINDS)]
            image = Image.open(io.BytesIO(pictures.read(original))).convert("RGB")
            name = f"{original.rpartition('/')[0]}/planted{number:05d}.jpg"
            pictures.writestr(name, KINDS[kind](image, random))
            copies.append(Copy(name, kind, original))
    return copies


def report(pictures: Sequence[Picture], copies: Sequence[Copy], links: Sequence[Link]) -> None:
    by_path = {picture.path: picture for picture in pictures}
    print(f"\n{'kind of copy':30} planted  found  across splits")
    missed = crossing = 0
    for kind in KINDS:
        pairs = [(by_path[c.name], by_path[c.original]) for c in copies if c.kind == kind]
        found = sum(a.group == b.group for a, b in pairs)
        crosses = sum(a.split != b.split for a, b in pairs)
        missed += len(pairs) - found
        crossing += crosses
        print(f"{kind:30} {len(pairs):7} {found:6} {crosses:14}")
    print(f"{'all':30} {len(copies):7} {len(copies) - missed:6} {crossing:14}")
    sizes = sorted((len(members) for members in group_members(pictures).values()), reverse=True)
    print(f"largest groups: {sizes[:5]}; linked pairs: {len(links)}")


def sweep(
    copies: Sequence[Copy], scores: dict[tuple[str, str], float], unplanted: Sequence[Link]
) -> None:
    """Print recall and what else is found, for every threshold that might be chosen."""
    print("\nsimilarity  planted pairs linked  recall %  other pairs linked  precision % at least")
    for least in SWEEP:
        found = sum(scores[copy.name, copy.original] >= least for copy in copies)
        others = sum(link.similarity >= least for link in unplanted)
        recall = 100 * found / max(1, len(copies))
        precision = 100 * found / max(1, found + others)
        print(f"{least:10} {found:21} {recall:9.1f} {others:19} {precision:21.1f}")
    lowest = sorted((scores[copy.name, copy.original], copy.kind) for copy in copies)[:8]
    print("lowest planted: ", ", ".join(f"{score:.3f} {kind}" for score, kind in lowest))
    highest = [f"{link.similarity:.3f} {link.first} {link.second}" for link in unplanted[:20]]
    print("highest others:", *highest, sep="\n  ")


def find_unplanted(links: Sequence[Link], paths: dict[str, str]) -> list[Link]:
    """Links between two originals, or copies of two; each pair of originals once, best first.

    Args:
        links: by SHA-256.
        paths: SHA-256 → the original's path.
    """
    best: dict[tuple[str, str], float] = {}
    for link in links:
        first, second = sorted((paths[link.first], paths[link.second]))
        if first != second:
            best[first, second] = max(best.get((first, second), 0.0), link.similarity)
    ranked = sorted(best.items(), key=lambda item: (-item[1], item[0]))
    return [Link(first, second, score) for (first, second), score in ranked]


def draw_sheet(archive: Path, pairs: Sequence[Link], path: Path) -> None:
    """A contact sheet: each pair side by side, with its similarity."""
    columns, width, height = 4, 2 * SIDE_PX + 8, SIDE_PX + 16
    rows = max(1, -(-len(pairs) // columns))
    sheet = Image.new("RGB", (columns * width, rows * height), "dimgrey")
    pen = ImageDraw.Draw(sheet)
    with ZipFile(archive) as pictures:
        for number, pair in enumerate(pairs):
            left, top = number % columns * width, number // columns * height
            for side, name in enumerate(pair[:2]):
                image = Image.open(io.BytesIO(pictures.read(name))).convert("RGB")
                sheet.paste(image.resize((SIDE_PX, SIDE_PX)), (left + side * SIDE_PX, top + 14))
            names = " ".join(name.rpartition("/")[2] for name in pair[:2])
            pen.text((left + 2, top), f"{pair.similarity:.3f} {names}", fill="white")
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def measure(archive: Path, copies: Sequence[Copy], params: Params, sheets: Path | None) -> None:
    started = time.perf_counter()
    pictures = read_archive_index(archive)
    pixels = archive.with_name("thumbnails")
    thumbnails = write_thumbnails(archive, pictures, params.preprocess.max_pixels, pixels)
    read = time.perf_counter()
    grouped, links = group_near_duplicates(pictures, thumbnails, pixels, params.split)
    print(f"{len(pictures)} pictures: {read - started:.1f} s to hash and decode, ", end="")
    print(f"{time.perf_counter() - read:.1f} s to find near duplicates")
    report(assign_splits(grouped, params.split), copies, links)

    rows = distinct_rows(pictures, thumbnails)
    everything = find_links(list(rows), pixels, list(rows.values()), 0.0)  # the sweep wants all
    digest = {picture.path: picture.sha256 for picture in pictures}
    score = {frozenset(link[:2]): link.similarity for link in everything}
    planted = {
        (c.name, c.original): score.get(frozenset((digest[c.name], digest[c.original])), 0.0)
        for c in copies
    }
    original = {copy.name: copy.original for copy in copies}
    paths = {picture.sha256: original.get(picture.path, picture.path) for picture in pictures}
    unplanted = find_unplanted(everything, paths)
    sweep(copies, planted, unplanted)
    if sheets is not None:
        draw_sheet(archive, unplanted[:60], sheets / "others.png")
        lowest = sorted(
            (Link(*names, score) for names, score in planted.items()), key=lambda p: p[2]
        )
        draw_sheet(archive, lowest[:60], sheets / "lowest_planted.png")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.duplicates", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("data", help="a zip of pictures, or: sample")
    parser.add_argument("--seed", type=int, default=0, help="which pictures are copied, and how")
    parser.add_argument("--copies", type=int, default=50, help="of each kind")
    parser.add_argument("--sheets", type=Path, help="directory for contact sheets")
    options = parser.parse_args()
    params = load_params()
    with tempfile.TemporaryDirectory() as directory:
        archive, work = Path(directory) / "images.zip", Path(directory) / "work"
        if options.data == "sample":
            fetch(params.data.model_copy(update={"source": "sample"}), archive, work)
        else:
            quota = Quota(params.data, options.data)
            with open_zip(Path(options.data), work, quota) as listing:
                write_archive(listing, archive, quota)
        copies = plant(archive, options.seed, options.copies)
        measure(archive, copies, params, options.sheets)


if __name__ == "__main__":
    main()
