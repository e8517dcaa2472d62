# covers: B4, B5, R12
"""What data/report says of a small data set, written out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from pawprint.data.manifest import Picture
from pawprint.inspection.data_report import write_data_report, write_facts
from pawprint.inspection.duplicates import Link
from pawprint.inspection.thumbnails import Header, Thumbnail

A, B, C, D, E = (letter * 64 for letter in "abcde")
PICTURES = [
    Picture("test/dog/1.jpg", "dog", "test", B, A[:16]),
    Picture("train/cat/1.jpg", "cat", "train", A, A[:16]),
    Picture("train/cat/2|3.jpg", "cat", "train", C, C[:16]),
    Picture("train/cat/4.jpg", "cat", "train", C, C[:16]),
    Picture("train/dog/5.jpg", "dog", "train", D, D[:16]),
    Picture("val/dog/6.jpg", "dog", "val", E, E[:16]),
]
THUMBNAILS = [
    Thumbnail(Header(200, 100, "JPEG", "RGB")),
    Thumbnail(Header(100, 100, "JPEG", "RGB")),
    Thumbnail(Header(50, 100, "PNG", "P")),
    Thumbnail(Header(50, 100, "PNG", "P")),
    Thumbnail(None, "empty file"),
    Thumbnail(Header(300, 400, "JPEG", "L"), "image file is truncated"),
]
REPORT = r"""# The pictures

| class | train | val | test | all |
| --- | --- | --- | --- | --- |
| cat | 3 | 0 | 0 | 3 |
| dog | 1 | 1 | 1 | 3 |
| all | 4 | 1 | 1 | 6 |

## Duplicates

| what | how many | listed in |
| --- | --- | --- |
| exact copies of another file | 1 | duplicates.csv |
| near duplicates of another picture | 1 | duplicates.csv |
| pictures in the largest group | 2 | duplicates.csv |
| groups of more than one class | 1 | conflicts.csv |
| groups in more than one split | 1 | across_splits.csv |

The data came divided, and its division was kept.
1 of 1 pictures in test is also in train or val, as the same file or a near duplicate:
the test score counts pictures that the models have seen.
Remove one of each pair from the source, or all folders of splits,
to have the division made anew.

## Sizes

| of the file | least | median | greatest |
| --- | --- | --- | --- |
| width, pixels | 50 | 100 | 300 |
| height, pixels | 100 | 100 | 400 |
| width / height | 0.5 | 0.75 | 2.0 |

| format | mode | pictures |
| --- | --- | --- |
| JPEG | RGB | 2 |
| PNG | P | 2 |
| JPEG | L | 1 |

## Damaged files

2 cannot be decoded; stage preprocess sets them aside, in data/processed/quarantine.csv.

| reason | pictures |
| --- | --- |
| empty file | 1 |
| image file is truncated | 1 |

| file | reason |
| --- | --- |
| train/dog/5.jpg | empty file |
| val/dog/6.jpg | image file is truncated |
"""


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("report")
    write_data_report(directory, PICTURES, THUMBNAILS, [Link(A, B, 0.913)])
    return directory


def test_report(out: Path) -> None:
    assert (out / "report.md").read_text(encoding="utf-8") == REPORT


def test_duplicates_are_listed_group_by_group(out: Path) -> None:
    header = "group,path,class,split,kind,similarity,most_like\n"
    leak = (
        "aaaaaaaaaaaaaaaa,test/dog/1.jpg,dog,test,near,0.913,train/cat/1.jpg\n"
        "aaaaaaaaaaaaaaaa,train/cat/1.jpg,cat,train,near,0.913,test/dog/1.jpg\n"
    )
    exact = (
        "cccccccccccccccc,train/cat/2|3.jpg,cat,train,exact,1.0,train/cat/4.jpg\n"
        "cccccccccccccccc,train/cat/4.jpg,cat,train,exact,1.0,train/cat/2|3.jpg\n"
    )
    assert (out / "duplicates.csv").read_text() == header + leak + exact
    assert (out / "conflicts.csv").read_text() == header + leak
    assert (out / "across_splits.csv").read_text() == header + leak


def test_facts_of_every_picture_are_listed(tmp_path: Path) -> None:
    sizes = {picture.path: 1000 + place for place, picture in enumerate(PICTURES)}
    write_facts(tmp_path / "pictures.csv", PICTURES, THUMBNAILS, sizes)
    assert (tmp_path / "pictures.csv").read_text(encoding="utf-8").splitlines() == [
        "path,bytes,width,height,format,mode",
        "test/dog/1.jpg,1000,200,100,JPEG,RGB",
        "train/cat/1.jpg,1001,100,100,JPEG,RGB",
        "train/cat/2|3.jpg,1002,50,100,PNG,P",
        "train/cat/4.jpg,1003,50,100,PNG,P",
        "train/dog/5.jpg,1004,,,,",
        "val/dog/6.jpg,1005,300,400,JPEG,L",
    ]


def test_names_cannot_break_a_table_and_only_some_are_listed(tmp_path: Path) -> None:
    pictures = [Picture(f"cat/{i:02d}|\n.jpg", "c|t", "train", A, A[:16]) for i in range(25)]
    write_data_report(tmp_path, pictures, [Thumbnail(None, "empty file")] * 25, [])
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "| c\\|t | 25 | 0 | 0 | 25 |" in text
    assert "| cat/19\\| .jpg | empty file |\n\n... and 5 more.\n" in text
    assert "| empty file | 25 |" in text
    assert "No file has a header that can be read." in text
