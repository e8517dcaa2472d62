"""What a person decides of single pictures: read, written, and carried into the division."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from pawprint.data.decisions import (
    Decision,
    Verdict,
    apply_decisions,
    check_decided,
    check_unchanged,
    describe_decided,
    read_decisions,
    write_decisions,
)
from pawprint.data.manifest import Picture, read_manifest, write_manifest
from pawprint.inspection.data_report import write_data_report
from pawprint.inspection.duplicates import Link
from pawprint.inspection.thumbnails import Header, Thumbnail
from pawprint.runner.errors import DataError

# covers: B11

CLASSES = ["cat", "dog"]
A, B, C = "a" * 64, "b" * 64, "c" * 64
HEADER = "sha256,decision,label,who,why\n"


def picture(path: str, sha256: str, split: str = "train") -> Picture:
    return Picture(path, path.split("/")[0], split, sha256, sha256[:16])


PICTURES = [
    picture("cat/1.jpg", A),
    picture("cat/2.jpg", B, "test"),
    picture("dog/1.jpg", C),
    picture("dog/copy of 1.jpg", C, "val"),
]


def read(tmp_path: Path, text: str) -> dict[str, Decision]:
    path = tmp_path / "decisions.csv"
    path.write_text(text, encoding="utf-8")
    return read_decisions(CLASSES, path)


def test_written_decisions_are_sorted_and_read_again(tmp_path):
    decisions = {
        B: Decision(B, Verdict.RELABEL, "dog", "Ada", 'has a "bark", and\nbarks'),
        A: Decision(A, Verdict.DROP),
    }
    path = tmp_path / "decisions.csv"
    write_decisions(decisions, path)
    assert read_decisions(CLASSES, path) == decisions
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[:2] == [HEADER.strip(), f"{A},drop,,,"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected the columns sha256,decision,label,who,why in its first line, found nothing"),
        ("path,label\n", "first line, found path,label; write them so"),
        (f"{HEADER}{A[:40]},drop,,,\n", "line 2: sha256: expected 64 hexadecimal digits"),
        (f"{HEADER}{A},delete,,,\n", "line 2: decision: expected keep, relabel, drop, found 'del"),
        (f"{HEADER}{A},relabel,,,\n", "expected a class of the data, one of cat, dog, found none"),
        (f"{HEADER}{A},relabel,dgo,,\n", "one of cat, dog, found dgo"),
        (f"{HEADER}{A},drop,dog,,\n", "label of a picture to drop: expected none, found dog"),
        (f"{HEADER}{A},drop\n", "line 2: expected 5 columns"),
        (f"{HEADER}{A},drop,,,,\n", "line 2: expected 5 columns"),
        (f"{HEADER}<<<<<<< HEAD\n{A},drop,,,\n", "line 2: expected a decision, found git's mark"),
        (f"<<<<<<< HEAD\n{HEADER}", "line 1: expected a decision, found git's mark"),
        (f"{HEADER}{A},drop,,,\n{A},keep,,,\n", "is decided as keep, but as drop in line 2"),
    ],
)
def test_wrong_tables_are_refused_in_one_line(tmp_path, text, message):
    with pytest.raises(DataError, match=r"decisions\.csv") as caught:
        read(tmp_path, text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_decision_twice_is_one(tmp_path):
    found = read(tmp_path, f"{HEADER}{A},drop,,Ada,\n{A},drop,,Bob,blurred\n")
    assert list(found) == [A]


def test_decisions_relabel_drop_and_keep_by_content_and_move_nothing():
    decided = apply_decisions(
        PICTURES,
        {
            A: Decision(A, Verdict.RELABEL, "dog"),
            B: Decision(B, Verdict.KEEP),
            C: Decision(C, Verdict.DROP),
        },
    )
    assert [(p.path, p.class_name, p.source_class, p.split) for p in decided.pictures] == [
        ("cat/1.jpg", "dog", "cat", "train"),
        ("cat/2.jpg", "cat", "cat", "test"),
    ]
    assert decided.counts == {"keep": 1, "relabel": 1, "drop": 2}  # both copies
    assert describe_decided(decided, Path("d.csv")) == [
        "decided in d.csv: 1 pictures relabelled, 2 dropped, 1 kept as they came"
    ]


def test_relabelled_as_what_it_was_is_kept():
    decided = apply_decisions(PICTURES, {A: Decision(A, Verdict.RELABEL, "cat")})
    assert decided.pictures == PICTURES
    assert decided.counts == {"keep": 1, "relabel": 0, "drop": 0}


def test_decisions_that_match_nothing_are_named():
    lost = {hashlib.sha256(bytes([i])).hexdigest() for i in range(5)}
    decided = apply_decisions(PICTURES, {one: Decision(one, Verdict.DROP) for one in lost})
    (line,) = describe_decided(decided, Path("d.csv"))
    first = min(lost)[:12]
    assert line.startswith("warning: 5 of the decisions in d.csv match no picture: ")
    assert f"{first}… (drop)" in line
    assert " and 2 more; they do nothing" in line


def test_manifest_keeps_the_class_that_a_picture_came_with(tmp_path):
    path = tmp_path / "split.csv"
    decided = apply_decisions(PICTURES, {A: Decision(A, Verdict.RELABEL, "dog")})
    write_manifest(path, decided.pictures)
    assert read_manifest(path) == decided.pictures
    older = path.read_text().replace(",source_class", "").splitlines()
    path.write_text("\n".join([older[0], f"cat/1.jpg,cat,train,{A},{A[:16]}"]) + "\n")
    assert [p.source_class for p in read_manifest(path)] == ["cat"]  # of an earlier revision


def test_report_lists_decisions_and_bears_a_dropped_link_between_duplicates(tmp_path):
    """A is like B, and C like B: with B dropped, nothing says what A and C are most like."""
    group = A[:16]
    chain = [Picture(f"cat/{d[0]}.jpg", "cat", "train", d, group) for d in (A, B, C)]
    decided = apply_decisions(chain, {B: Decision(B, Verdict.DROP)})
    thumbnails = [Thumbnail(Header(8, 8, "JPEG", "RGB"))] * 2
    links = [Link(A, B, 0.9), Link(B, C, 0.8)]
    write_data_report(tmp_path, decided.pictures, thumbnails, links, decided=decided)
    assert (tmp_path / "decided.csv").read_text() == (
        "path,split,source_class,class,decision\ncat/b.jpg,train,cat,cat,drop\n"
    )
    rows = (tmp_path / "duplicates.csv").read_text().splitlines()[1:]
    assert rows == [f"{group},cat/{d}.jpg,cat,train,near,," for d in "ac"]
    assert "| dropped; counted nowhere else | 1" in (tmp_path / "report.md").read_text()


def test_decisions_of_two_branches_merge_and_those_at_odds_are_named(tmp_path):
    """Also the first decisions of both, which git would else call a conflict."""

    def git(*arguments: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main")
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    path = tmp_path / "data/decisions.csv"

    def decide(*decisions: Decision) -> None:
        write_decisions({one.sha256: one for one in decisions}, path)
        git("add", "--all")
        git("commit", "--message", "decided")

    shutil.copy(Path(__file__).parent.parent / ".gitattributes", tmp_path)
    git("init")
    decide()
    git("checkout", "-b", "other")
    decide(Decision(A, Verdict.DROP), Decision(C, Verdict.KEEP))
    git("checkout", "main")
    decide(Decision(B, Verdict.RELABEL, "dog"))
    git("merge", "other")
    assert read_decisions(CLASSES, path) == {
        A: Decision(A, Verdict.DROP),
        B: Decision(B, Verdict.RELABEL, "dog"),
        C: Decision(C, Verdict.KEEP),
    }
    git("checkout", "-b", "third", "other")
    decide(Decision(A, Verdict.DROP), Decision(B, Verdict.DROP), Decision(C, Verdict.KEEP))
    git("checkout", "main")
    git("merge", "third")
    with pytest.raises(DataError, match=r"bbbbbbbbbbbb… is decided as .* remove a line"):
        read_decisions(CLASSES, path)


@pytest.mark.parametrize(
    ("verdict", "label", "message"),
    [
        (
            Verdict.DROP,
            "",
            r"d\.csv \(0 pictures relabelled, 3 dropped\): .* 2 classes, found \['cat'\]",
        ),
        (
            Verdict.RELABEL,
            "cat",
            r"\(3 pictures relabelled, 0 dropped\): .*take some of the decisions",
        ),
    ],
)
def test_where_decisions_leave_too_little_they_are_named(verdict, label, message):
    came = [
        picture(f"{name}/{split}.jpg", hashlib.sha256(f"{name}{split}".encode()).hexdigest(), split)
        for name in CLASSES
        for split in ("train", "val", "test")
    ]
    all_dogs = {p.sha256: Decision(p.sha256, verdict, label) for p in came[3:]}
    check_decided(came, apply_decisions(came, {}), {}, Path("d.csv"))
    with pytest.raises(DataError, match=message):
        check_decided(came, apply_decisions(came, all_dogs), {}, Path("d.csv"))
    with pytest.raises(DataError, match=r"^expected at least 2 classes"):  # also without decisions
        check_decided(came[:3], apply_decisions(came[:3], all_dogs), {}, Path("d.csv"))


def test_a_class_of_which_no_picture_is_left_is_named():
    decided = apply_decisions(PICTURES, {C: Decision(C, Verdict.DROP)})
    _, line = describe_decided(decided, Path("d.csv"))
    assert line.startswith("warning: no picture of dog is left after the decisions in d.csv: ")


@pytest.mark.parametrize(("make", "found"), [(Path.mkdir, "found a folder"), (Path.exists, "none")])
def test_a_missing_table_is_told(tmp_path, make, found):
    make(tmp_path / "d.csv")
    with pytest.raises(DataError, match=f"expected the file of decisions .*{found}"):
        read_decisions(CLASSES, tmp_path / "d.csv")


def test_a_class_may_begin_and_end_with_a_space(tmp_path):
    path, decisions = tmp_path / "d.csv", {A: Decision(A, Verdict.RELABEL, " cat ")}
    write_decisions(decisions, path)
    assert read_decisions([" cat ", "dog"], path) == decisions
    path.write_text(f"{HEADER}{A}, relabel, dog ,,\n")
    assert read_decisions([" cat ", "dog"], path)[A].label == "dog"


def test_what_is_decided_while_a_stage_runs_makes_it_fail_and_not_be_taken_for_done(tmp_path):
    path = tmp_path / "d.csv"
    write_decisions({A: Decision(A, Verdict.DROP)}, path)
    decisions = read_decisions(CLASSES, path)
    check_unchanged(decisions, CLASSES, path)
    write_decisions({**decisions, B: Decision(B, Verdict.KEEP)}, path)
    with pytest.raises(
        DataError, match=r"d\.csv: changed while this stage ran.* `dvc repro` again"
    ):
        check_unchanged(decisions, CLASSES, path)
