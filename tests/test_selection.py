"""Which pictures are shown: the same ones in every run."""

from __future__ import annotations

from collections import Counter

from pawprint.evaluation.predictions import Prediction
from pawprint.evaluation.selection import choose_pictures, fixed_pictures, worst_pictures

# covers: R7, B7


def right(path: str, actual: str) -> Prediction:
    return Prediction(path, actual, actual, 0.9, 0.9)


def rows(count: int, classes: tuple[str, ...] = ("cat", "dog")) -> list[Prediction]:
    return [
        right(f"{classes[i % len(classes)]}/{i}.jpg", classes[i % len(classes)])
        for i in range(count)
    ]


def test_fixed_pictures_are_taken_from_each_class_in_turn() -> None:
    actual = [one.actual for one in fixed_pictures(rows(300, ("cat", "dog", "fox")), 7)]
    assert Counter(actual) == {"cat": 3, "dog": 2, "fox": 2}
    assert set(actual[:3]) == {"cat", "dog", "fox"}
    assert set(actual[3:6]) == {"cat", "dog", "fox"}


def test_fixed_pictures_do_not_depend_on_the_order_of_the_rows() -> None:
    assert fixed_pictures(rows(50), 8) == fixed_pictures(rows(50)[::-1], 8)


def test_a_few_more_test_pictures_hardly_change_the_fixed_ones() -> None:
    assert len(set(fixed_pictures(rows(400), 8)) & set(fixed_pictures(rows(404), 8))) >= 7


def test_a_class_that_runs_out_leaves_its_turns_to_the_others() -> None:
    table = [*rows(20, ("cat",)), right("dog/0.jpg", "dog")]
    assert Counter(one.actual for one in fixed_pictures(table, 5)) == {"cat": 4, "dog": 1}


def test_more_than_there_are_is_all_there_are() -> None:
    assert {one.path for one in fixed_pictures(rows(3), 10)} == {one.path for one in rows(3)}
    assert fixed_pictures([], 4) == []
    assert fixed_pictures(rows(3), 0) == []


def test_worst_pictures_are_errors_sorted_by_the_probability_of_the_actual_class() -> None:
    table = [
        Prediction(path, "cat", predicted, 0.9, probability)
        for path, predicted, probability in [
            ("a", "cat", 0.00001),  # right all the same: of many classes
            ("b", "dog", 0.4),
            ("c", "dog", 1e-05),
            ("d", "dog", 0.09),
            ("f", "dog", 0.3),
            ("e", "dog", 0.3),
        ]
    ]
    assert [one.path for one in worst_pictures(table, 4)] == ["c", "d", "e", "f"]
    assert [one.path for one in worst_pictures(table, 99)] == ["c", "d", "e", "f", "b"]


def test_each_chosen_picture_has_a_name_of_its_own() -> None:
    wrong = Prediction("cat/9.jpg", "cat", "dog", 0.8, 0.2)
    said = {one.path: one for one in [*rows(4), wrong]}
    chosen = choose_pictures(said, fixed=2, worst=3)
    assert list(chosen) == ["fixed_01", "fixed_02", "worst_01"]
    assert chosen["worst_01"] == wrong
