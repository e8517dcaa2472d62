"""Which pictures are shown: the same ones in every run."""

from __future__ import annotations

from collections import Counter

from pawprint.selection import fixed_rows, worst_rows

# covers: R7, B7


def rows(count: int, classes: tuple[str, ...] = ("cat", "dog")) -> list[dict[str, str]]:
    return [
        {"path": f"{classes[i % len(classes)]}/{i}.jpg", "actual": classes[i % len(classes)]}
        for i in range(count)
    ]


def paths(table: list[dict[str, str]], chosen: list[int]) -> list[str]:
    return [table[i]["path"] for i in chosen]


def test_fixed_pictures_are_taken_from_each_class_in_turn() -> None:
    table = rows(300, ("cat", "dog", "fox"))
    actual = [table[i]["actual"] for i in fixed_rows(table, 7)]
    assert Counter(actual) == {"cat": 3, "dog": 2, "fox": 2}
    assert set(actual[:3]) == {"cat", "dog", "fox"}
    assert set(actual[3:6]) == {"cat", "dog", "fox"}


def test_fixed_pictures_do_not_depend_on_the_order_of_the_rows() -> None:
    table = rows(50)
    assert paths(table, fixed_rows(table, 8)) == paths(table[::-1], fixed_rows(table[::-1], 8))


def test_a_few_more_test_pictures_hardly_change_the_fixed_ones() -> None:
    table, larger = rows(400), rows(404)
    common = set(paths(table, fixed_rows(table, 8))) & set(paths(larger, fixed_rows(larger, 8)))
    assert len(common) >= 7


def test_a_class_that_runs_out_leaves_its_turns_to_the_others() -> None:
    table = [*rows(20, ("cat",)), {"path": "dog/0.jpg", "actual": "dog"}]
    assert Counter(table[i]["actual"] for i in fixed_rows(table, 5)) == {"cat": 4, "dog": 1}


def test_more_than_there_are_is_all_there_are() -> None:
    assert sorted(fixed_rows(rows(3), 10)) == [0, 1, 2]
    assert fixed_rows([], 4) == []
    assert fixed_rows(rows(3), 0) == []


def test_worst_rows_are_errors_of_that_model_sorted_by_the_actual_class() -> None:
    table = [
        {"path": path, "head_correct": correct, "head_actual_probability": probability}
        for path, correct, probability in [
            ("a", "True", "0.00001"),  # right all the same: of many classes
            ("b", "False", "0.4"),
            ("c", "False", "1e-05"),
            ("d", "False", "0.09"),
            ("f", "False", "0.300000"),
            ("e", "False", "0.3"),
        ]
    ]
    assert paths(table, worst_rows(table, "head", 4)) == ["c", "d", "e", "f"]
    assert paths(table, worst_rows(table, "head", 99)) == ["c", "d", "e", "f", "b"]
