# covers: B10
"""Pictures that come, go or get another label cost their own work, and leave a full run's bytes."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from project import Project, make_project

from pawprint.data.labels import read_labels, read_paths
from pawprint.data.manifest import read_manifest
from pawprint.versions.cache import is_whole

SMALL: dict[str, Any] = {
    "data.source": "folder",
    "preprocess.image_size": 32,
    "preprocess.max_bad": 0.1,
    "model.cut": "block6d",
    "features.batch_size": 8,
}
DAMAGED = "dog/05b.png"
STAGES = ["download", "split", "preprocess", "features"]


def draw(folder: Path, names: list[str]) -> None:
    """Noise of its own for each name, 40x32."""
    for name in names:
        seed = np.frombuffer(name.encode(), np.uint8).tolist()
        pixels = np.random.default_rng(seed).integers(0, 256, (32, 40, 3)).astype(np.uint8)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / name)


@pytest.fixture(scope="module")
def project() -> Iterator[Project]:
    """40 pictures, and one that is damaged, brought to their features."""
    with tempfile.TemporaryDirectory() as directory:
        project = make_project(Path(directory, "project"), Path(directory, "home"), SMALL)
        names = [f"{name}/{i:02}.png" for name in ("cat", "dog") for i in range(20)]
        draw(project.root / "data/source", names)
        (project.root / "data/source" / DAMAGED).write_bytes(b"\x89PNG")
        text = project.dvc("repro", "features").text
        assert "the last version" not in text
        project.commit()
        yield project


def outs(project: Project) -> dict[str, str]:
    lock = project.lock()
    return {out["path"]: out["md5"] for name in STAGES for out in lock[name]["outs"]}


def whole_shard(project: Project) -> Path:
    """One all of whose pictures can be decoded."""
    pictures = read_manifest(project.root / "data/split.csv")
    damaged = next(picture.split for picture in pictures if picture.path == DAMAGED)
    return project.root / f"data/processed/{'val' if damaged == 'train' else 'train'}/00000.npy"


def flip_in_cache(file: Path) -> Path:
    """Change a bit of what DVC's cache has of an output, as a failing disk would; its place."""
    (place,) = [
        path
        for path in (file.parents[3] / ".dvc/cache/files").rglob("*")
        if path.samefile(file) and path.is_file()
    ]
    content = bytearray(place.read_bytes())
    content[-1] ^= 1
    place.unlink()
    place.write_bytes(content)
    place.chmod(0o444)
    return place


def test_a_corrected_label_leaves_features_alone_and_pixels_as_links(project: Project) -> None:
    processed = project.root / "data/processed"
    before, made = outs(project), read_labels(processed, "train")
    shard = whole_shard(project).stat()
    assert shard.st_nlink == 2
    pictures = read_manifest(project.root / "data/split.csv")
    wrong = next(p for p in pictures if p.split == "train" and p.class_name == "cat")
    with open(project.root / "data/decisions.csv", "a", encoding="utf-8") as file:
        file.write(f"{wrong.sha256},relabel,dog,,\n")
    outcome = project.dvc("repro", "features")
    assert outcome.stages == ["split", "preprocess"]
    assert "41 of 41 pictures taken from the last version\n" in outcome.text
    assert "40 of 41 pictures taken from the last version\n" in outcome.text  # one has no pixels
    assert "Stage 'features' didn't change, skipping" in outcome.text
    changed = read_labels(processed, "train") != made
    assert np.array(read_paths(processed, "train"))[changed].tolist() == [wrong.path]
    now = whole_shard(project).stat()
    assert (now.st_ino, now.st_mtime) == (shard.st_ino, shard.st_mtime)
    assert outs(project)["data/thumbnails"] == before["data/thumbnails"]


def test_pictures_that_come_and_go_leave_the_bytes_of_a_full_run(project: Project) -> None:
    source = project.root / "data/source"
    draw(source, ["cat/05b.png", "cat/zz.png", "dog/00a.png", "dog/19b.png"])
    for name in ("cat/11.png", "dog/03.png"):
        (source / name).unlink()
    damaged = flip_in_cache(whole_shard(project))
    outcome = project.dvc("repro", "features")
    assert outcome.stages == STAGES
    taken = re.findall(r"(\d+) of (\d+) pictures taken from the last version\n", outcome.text)
    assert [total for _, total in taken[:2]] == ["43", "43"]
    assert taken[0][0] == "39"  # of split; of preprocess, one row was damaged at least
    assert int(taken[1][0]) < 38
    assert int(taken[2][0]) > 25
    assert re.search(r"\nwarning: \d+ more were damaged in DVC's cache: the files", outcome.text)
    assert not damaged.exists() or is_whole(damaged)
    project.commit()
    fresh = project.clone(project.root.parent / "fresh")
    assert fresh.dvc("repro", "features").stages == STAGES
    assert outs(project) == outs(fresh)
