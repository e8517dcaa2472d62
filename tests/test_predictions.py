# covers: B6
"""The one table of what models said: written, read, and refused where it is not that."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pawprint.evaluation.predictions import (
    Prediction,
    make_predictions,
    printable,
    read_predictions,
    write_predictions,
)
from pawprint.runner.errors import DataError

PATHS = ["cat/1.jpg", 'dog/a,"b".jpg']
PROBS = {
    "head": np.array([[0.75, 0.25], [2 / 3, 1 / 3]], np.float32),
    "finetuned": np.array([[0.5, 0.5], [0, 1]], np.float32),
}
TEXT = (
    "path,actual,head_predicted,head_probability,head_actual_probability,head_correct,"
    "finetuned_predicted,finetuned_probability,finetuned_actual_probability,finetuned_correct\n"
    "cat/1.jpg,cat,cat,0.750000,0.750000,True,cat,0.500000,0.500000,True\n"
    '"dog/a,""b"".jpg",dog,cat,0.666667,0.333333,False,dog,1.000000,1.000000,True\n'
)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    said = make_predictions(PATHS, np.array([0, 1]), PROBS, ["cat", "dog"])
    path = tmp_path / "predictions.csv"
    write_predictions(path, said)
    assert path.read_bytes().decode() == TEXT
    assert read_predictions(path) == said
    assert said["head"][PATHS[1]] == Prediction(PATHS[1], "dog", "cat", 0.666667, 0.333333)
    assert [p.correct for p in said["head"].values()] == [True, False]
    assert str(said["head"][PATHS[0]]) == "cat 0.750, actual cat | cat/1.jpg"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Käfer  1.jpg", "Käfer  1.jpg"),
        ("a\nb\tc\x1b[31m", r"a\nb\tc\x1b[31m"),
        ("a\u2028b\u202egpj.exe", r"a\u2028b\u202egpj.exe"),
        ("\udce4.jpg", r"\udce4.jpg"),
        ("👨\u200d👩 猫\u3000🐶", "👨\u200d👩 猫\u3000🐶"),
    ],
)
def test_names_are_shown_in_one_line(name: str, shown: str) -> None:
    assert printable(name) == shown
    caption = str(Prediction(name, "cat", "dog", 0.75, 0.25))
    assert caption == f"dog 0.750, actual cat | {shown}"


@pytest.mark.parametrize(
    "text",
    ["", "path,actual\n", TEXT.replace("0.500000", "half"), TEXT + TEXT.splitlines()[1] + "\n"],
    ids=["empty", "no model", "no number", "one picture twice"],
)
def test_another_table_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "predictions.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"predictions\.csv: expected .* `dvc repro -f evaluate`$"):
        read_predictions(path)
