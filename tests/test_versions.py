# covers: B10
"""Rows of the last version are taken from DVC's cache, where they are what they should be."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from pawprint.storage.shards import ShardedArray, shard_name, write_shard
from pawprint.versions.cache import Version, find_version
from pawprint.versions.rows import (
    OldRows,
    ShardCopy,
    describe_taken,
    open_rows,
    read_rows,
    sum_rows,
    write_index,
    write_recipe,
)

ROWS = np.arange(40, dtype=np.float32).reshape(10, 2, 2)
KEYS = [f"key {i}" for i in range(10)]


def put(content: bytes, cache: Path, suffix: str = "") -> str:
    """Store a file as DVC does; its name."""
    md5 = hashlib.md5(content).hexdigest()
    place = cache / "files/md5" / md5[:2] / f"{md5[2:]}{suffix}"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    return md5 + suffix


def commit(root: Path, out: str, cache: Path) -> None:
    """What DVC leaves of a stage `made` with one directory as its output."""
    files = [path for path in sorted((root / out).rglob("*")) if path.is_file()]
    entries = [
        {"md5": put(path.read_bytes(), cache), "relpath": path.relative_to(root / out).as_posix()}
        for path in files
    ]
    md5 = put(json.dumps(entries).encode(), cache, ".dir")
    outs = [{"path": out, "hash": "md5", "md5": md5}]
    (root / "dvc.lock").write_text(yaml.safe_dump({"stages": {"made": {"outs": outs}}}))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stage `made` has written ten rows in shards of four, and DVC has them in its cache."""
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(tmp_path / "nobody"))
    monkeypatch.setenv("DVC_SYSTEM_CONFIG_DIR", str(tmp_path / "nobody"))
    root = tmp_path / "project"
    for number, start in enumerate(range(0, 10, 4)):
        write_shard(root / "out/train" / shard_name(number), ROWS[start : start + 4])
    write_index(root / "out/rows", "train", KEYS, {"train": sum_rows(ROWS)})
    (root / ".dvc").mkdir()
    (root / ".dvc/config").write_text('[cache]\n    type = "hardlink,copy"\n')
    (root / "made.py").write_text("print()\n")
    (root / "dvc.yaml").write_text("stages: {made: {deps: [made.py, data]}}\n")
    monkeypatch.chdir(root)
    write_recipe(root / "out/rows", open_old().recipe)
    commit(root, "out", root / ".dvc/cache")
    return root


def open_old(**settings: int) -> OldRows:
    return open_rows("made", Path("out/rows"), settings, {"train": [Path("out/train")]}, False)


def version() -> Version:
    found = find_version("made")
    assert found is not None
    return found


def shard_in_cache(number: int) -> Path:
    return version().array(Path("out/train"))[number]


def rows_of(path: Path) -> list[list[float]]:
    return ShardedArray([path]).gather(range(len(ShardedArray([path])))).reshape(-1, 4).tolist()


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_rows_are_found_by_their_keys_wherever_they_stand(project: Path) -> None:
    old = open_old()
    places = old.find(["key 9", "no such key", "key 3"])
    assert places[1] is None
    found = read_rows([place[0] if place else None for place in places])
    assert found[0] is not None
    assert found[0].tolist() == [[36, 37], [38, 39]]
    assert found[1] is None
    assert found[2] is not None
    assert found[2].tolist() == [[12, 13], [14, 15]]
    assert old.remark == ""


def test_a_shard_that_is_as_it_was_becomes_a_link_and_another_is_put_together(
    project: Path,
) -> None:
    new = [Path(f"new/{name}.npy") for name in ("same", "moved", "grown")]
    jobs = [
        ShardCopy(tuple(KEYS[4:8]), (new[0],)),
        ShardCopy(tuple(KEYS[3:6]), (new[1],)),
        ShardCopy((*KEYS[:2], "new"), (new[2],)),
    ]
    for _ in range(2):  # the second time as after a stop
        done = open_old().copy_shards(jobs)
        assert done == {0: [sum_rows(ROWS[4:8])], 1: [sum_rows(ROWS[3:6])]}
        assert sorted(path.name for path in Path("new").iterdir()) == ["moved.npy", "same.npy"]
    assert new[0].samefile(shard_in_cache(1))
    assert rows_of(new[1]) == ROWS[3:6].reshape(-1, 4).tolist()
    assert not new[2].exists()


@pytest.mark.parametrize("types", ["copy", "reflink,hardlink", ""])
def test_where_dvc_copies_its_cache_shards_are_copies(project: Path, types: str) -> None:
    text = f"[cache]\n    type = {types}\n" if types else ""
    (project / ".dvc/config").write_text(text)
    open_old().copy_shards([ShardCopy(tuple(KEYS[:4]), (Path("new.npy"),))])
    assert not Path("new.npy").samefile(shard_in_cache(0))
    assert Path("new.npy").read_bytes() == shard_in_cache(0).read_bytes()


def test_a_damaged_file_is_not_taken_and_leaves_the_cache(project: Path) -> None:
    """DVC would link to it: it has the name of the file that is made again."""
    shard = shard_in_cache(0)
    flip(shard, -1)
    whole, other = (ShardCopy(tuple(KEYS[i : i + 4]), (Path(f"{i}.npy"),)) for i in (0, 4))
    old = open_old()
    assert list(old.copy_shards([whole, other])) == [1]
    assert not Path("0.npy").exists()
    assert not shard.exists()
    assert shard_in_cache(1).exists()


@pytest.mark.parametrize("at", [b"(4, 2", b"         \n"])
def test_a_file_whose_header_is_damaged_leaves_the_cache(project: Path, at: bytes) -> None:
    shard = shard_in_cache(1)
    flip(shard, shard.read_bytes().index(at) + 1)
    old = open_old()
    assert old.find(KEYS) == (None,) * 10
    assert old.remark == (
        "warning: of train, the last version is not whole in DVC's cache: all of it is made again"
    )
    assert not shard.exists()
    assert shard_in_cache(0).exists()
    assert open_old().remark == old.remark


def test_of_a_damaged_file_single_rows_are_not_taken(project: Path) -> None:
    shard = shard_in_cache(0)
    flip(shard, -1)  # of row 3
    place = open_old().find(["key 2", "key 3"])
    found = read_rows([entry[0] if entry else None for entry in place])
    assert found[0] is not None
    assert found[1] is None
    assert not shard.exists()
    assert read_rows([place[0][0] if place[0] else None]) == [None]


def test_rows_of_another_recipe_are_not_taken(project: Path) -> None:
    assert open_old().find(["key 1"]) != (None,)
    other = open_old(size_px=256)
    assert other.find(["key 1"]) == (None,)
    assert other.remark.startswith("nothing is taken from the last version: other code, param")
    (project / "made.py").write_text("print(1)\n")
    assert open_old().find(["key 1"]) == (None,)


@pytest.mark.parametrize("damaged", ["rows/train.csv", "rows/recipe.txt"])
def test_a_broken_index_leaves_all_to_be_made(project: Path, damaged: str) -> None:
    flip(version().files[f"out/{damaged}"], 5)
    assert open_old().find(["key 1"]) == (None,)


def test_where_the_cache_lacks_the_last_version_nothing_is_found_or_said(project: Path) -> None:
    for path in (project / ".dvc/cache").rglob("*.dir"):
        path.unlink()
    assert find_version("made") is None
    assert (open_old().find(["key 1"]), open_old().remark) == ((None,), "")
    (project / "dvc.lock").write_text("stages: {}\n")
    assert find_version("made") is None
    (project / "dvc.lock").unlink()
    assert find_version("made") is None


def test_who_wants_all_made_anew_sets_a_variable(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert open_old().find(["key 1"]) != (None,)
    monkeypatch.setenv("PAWPRINT_FRESH", "1")
    assert open_old().find(["key 1"]) == (None,)


def test_the_cache_is_where_dvc_is_told_that_it_is(project: Path, tmp_path: Path) -> None:
    (project / ".dvc/cache").rename(tmp_path / "shared")
    assert find_version("made") is None
    (project / ".dvc/config.local").write_text("[cache]\n    dir = ../../shared\n")
    assert len(version().array(Path("out/train"))) == 3
    (project / ".dvc/config.local").write_text(
        f"['remote \"a\"']\nurl = x\n[cache]\ndir = {tmp_path}/shared"
    )
    assert len(version().array(Path("out/train"))) == 3
    (project / ".dvc/config.local").unlink()
    (tmp_path / "nobody").mkdir()
    (tmp_path / "nobody/config").write_text(f"[cache]\n    dir = {tmp_path}/shared\n")
    assert len(version().array(Path("out/train"))) == 3


def test_what_was_taken_is_told() -> None:
    assert describe_taken(9900, 9900, 10000, OldRows()) == [
        "9,900 of 10,000 pictures taken from the last version"
    ]
    assert describe_taken(8, 10, 12, OldRows()) == [
        "8 of 12 pictures taken from the last version",
        "warning: 2 more were damaged in DVC's cache: the files are removed there, and made again",
    ]
    assert describe_taken(0, 0, 12, OldRows(remark="why")) == ["why"]
    assert describe_taken(0, 0, 12, OldRows()) == []
