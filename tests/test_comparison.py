# covers: B6, B14
"""Differences between two revisions by hand, and what is said of them."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dvc_data.index import DataIndexDirError
from PIL import Image
from scipy import stats

from pawprint.choosing.scores import number_groups
from pawprint.comparison.differences import (
    Shared,
    compare_models,
    compare_revisions,
    share_pictures,
)
from pawprint.comparison.intervals import (
    holm,
    paired_mean_interval,
    paired_share_interval,
    paired_share_test,
)
from pawprint.comparison.records import Record, find_changes, find_other_inputs, find_outdated
from pawprint.comparison.revisions import Revision
from pawprint.comparison.thumbnails import SIDE_PX, make_thumbnails
from pawprint.comparison.trees import Tree
from pawprint.comparison.words import as_values, pictures_of, render_text, verdict
from pawprint.data.manifest import Picture
from pawprint.evaluation.predictions import Prediction
from pawprint.pictures.squares import FILL
from pawprint.runner.errors import DataError

ROOT = Path(__file__).parents[1]
PATHS = [f"cat/{i:02}.jpg" for i in range(20)]
CLASSES = ("cat", "dog")


def said(wrong: set[int], paths: list[str] = PATHS) -> dict[str, Prediction]:
    """Right with probability 0.9, wrong with 0.8."""
    return {
        path: Prediction(path, "cat", "dog", 0.8, 0.2)
        if i in wrong
        else Prediction(path, "cat", "cat", 0.9, 0.9)
        for i, path in enumerate(paths)
    }


def alone(paths: Sequence[str]) -> Shared:
    """Pictures of which none belongs to another."""
    return Shared(tuple(paths), len(paths), len(paths), 0, 0, number_groups(paths))


def revision(name: str, models: dict[str, dict[str, Prediction]], **changed: Any) -> Revision:
    paths = next(iter(models.values()))
    pictures = {path: Picture(path, "cat", "test", f"bytes of {path}", path) for path in paths}
    values = {
        "commit": "",
        "crossval": {},
        "pictures": pictures,
        "class_names": CLASSES,
        "record": Record({}, {}),
        "archive": Path("none.zip"),
        "remarks": (),
    }
    return Revision(name, said=models, **{**values, **changed})


class _FreshClone:
    """DVC's files of a revision in a clone in which nothing was computed yet."""

    def info(self, *paths: str) -> Any:
        raise DataIndexDirError("failed to load directory") from FileNotFoundError("the cache")

    get_file = info


def test_directories_that_are_not_here_are_unknown_or_missing(tmp_path: Path) -> None:
    tree = Tree(_FreshClone(), "/", "0" * 40, "")
    assert tree.digest("metrics/evaluate/predictions.csv") == ""
    with pytest.raises(FileNotFoundError, match="the cache"):
        tree.copy("metrics/evaluate/predictions.csv", tmp_path / "copy")


def changes(lost: int, gained: int, pictures: int) -> tuple[np.ndarray, np.ndarray]:
    """So many pictures that changed sides, each a group of its own."""
    values = np.zeros(pictures)
    values[:lost], values[lost : lost + gained] = -1, 1
    return values, np.arange(pictures)


def test_interval_of_paired_shares_by_hand() -> None:
    # Bonett and Price: (0 + 1) / 22 and (6 + 1) / 22; difference 6/22 = 0.272727,
    # variance (8/22 - 0.272727²) / 22 = 0.0131480, 1.959964 · 0.1146648 = 0.224739
    low, high = paired_share_interval(*changes(0, 6, 20), 0.95)
    assert (low, high) == pytest.approx((0.047988, 0.497466), abs=1e-6)
    mirrored = paired_share_interval(*changes(6, 0, 20), 0.95)
    assert mirrored == pytest.approx((-high, -low))


def test_interval_of_paired_shares_stays_wide_and_within_bounds() -> None:
    low, high = paired_share_interval(*changes(0, 0, 210), 0.95)
    assert high == -low == pytest.approx(1.959964 * np.sqrt(2) / 212, abs=1e-6)
    assert paired_share_interval(*changes(0, 1, 1), 0.99)[1] == 1.0


def test_interval_of_paired_shares_covers_the_truth() -> None:
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(100, [0.03, 0.08, 0.89], size=1000)
    ends = [paired_share_interval(*changes(first, second, 100), 0.9) for first, second, _ in drawn]
    covered = np.mean([low <= 0.05 <= high for low, high in ends])
    assert 0.88 < covered < 0.95


def test_interval_of_a_paired_mean_is_student_s() -> None:
    values = np.array([0.3, -0.1, 0.25, 0.4, 0.05])
    interval, p_value = paired_mean_interval(values, np.arange(5), 0.9)
    expected = stats.ttest_1samp(values, 0)
    assert p_value == pytest.approx(expected.pvalue)
    assert interval == pytest.approx(tuple(expected.confidence_interval(0.9)))


@pytest.mark.parametrize(
    ("values", "expected"), [([0, 0], (None, 1.0)), ([0.5], (None, None)), ([1, 1], (None, None))]
)
def test_pictures_may_not_allow_an_interval(values: list[float], expected: Any) -> None:
    assert paired_mean_interval(np.array(values, float), np.arange(len(values)), 0.95) == expected


def test_holm_never_lowers_nor_reorders() -> None:
    assert holm([0.01, None, 0.2, 0.01]) == pytest.approx([0.03, None, 0.2, 0.03])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([0.04]) == [0.04]


def test_one_model_before_and_after_by_hand() -> None:
    # 7 wrong, then 1 of them: 6 mended. McNemar: 2 / 2^6. Log loss: 6 of 20 pictures go from
    # -ln 0.2 to -ln 0.9: a mean of -0.3 · ln 4.5 = -0.451223; standard deviation 0.707161,
    # t(19) = 2.093024: half an interval of 0.330961
    found = compare_models(said(set(range(7))), said({0}), alone(PATHS), 0.95)
    assert found.accuracies == (0.65, 0.95)
    assert (found.mended, found.broken) == (6, 0)
    assert found.accuracy_p == 2 / 2**6
    assert found.log_loss == pytest.approx(-0.451223, abs=1e-6)
    assert found.log_loss_interval == pytest.approx((-0.782184, -0.120262), abs=2e-6)
    assert [side.after.path for side in found.sides] == PATHS[1:7]
    assert not found.same


def test_a_probability_written_as_0_costs_no_infinity() -> None:
    before = {"a": Prediction("a", "cat", "dog", 1.0, 0.0)}
    after = {"a": Prediction("a", "cat", "cat", 1.0, 1.0)}
    found = compare_models(before, after, alone(["a"]), 0.95)
    assert found.log_losses == (pytest.approx(-np.log(5e-7)), 0.0)
    assert found.log_loss_interval is None


def test_what_became_wrong_comes_first_and_the_surest_of_it() -> None:
    def of(path: str, cat: float) -> Prediction:
        predicted = "cat" if cat > 0.5 else "dog"
        return Prediction(path, "cat", predicted, max(cat, 1 - cat), cat)

    before = {p: of(p, cat) for p, cat in zip("abcde", (0.9, 0.9, 0.1, 0.3, 0.9), strict=True)}
    after = {p: of(p, cat) for p, cat in zip("abcde", (0.4, 0.2, 0.9, 0.9, 0.6), strict=True)}
    found = compare_models(before, after, alone("abcde"), 0.95)
    assert [side.after.path for side in found.sides] == ["b", "a", "c", "d"]


def only(before: Revision, after: Revision) -> Any:
    return compare_revisions(before, [after], 0.95)[0]


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (
            {0},
            "better by 30.00 points of accuracy (4.80 to 49.75); log loss is lower, better: "
            "-0.4512 (-0.7822 to -0.1203).",
        ),
        (
            set(range(14)),
            "worse by 35.00 points of accuracy (8.63 to 55.00); log loss is higher, worse: "
            "+0.5264 (0.1820 to 0.8709).",
        ),
        (
            set(range(6)),
            "accuracy cannot be told apart (+5.00 points, -10.77 to 19.86); log loss cannot be "
            "told apart (-0.0752, -0.2326 to 0.0822).",
        ),
        (set(range(7)), "the same answers."),
    ],
)
def test_words_for_a_difference(wrong: set[int], expected: str) -> None:
    base = revision("main", {"head": said(set(range(7)))})
    found = only(base, revision("exp", {"head": said(wrong)}))
    assert verdict(found.models["head"], 0.95) == expected


def test_of_several_revisions_the_p_values_are_raised() -> None:
    base = revision("main", {"head": said(set(range(7)))})
    others = [revision(name, {"head": said({0})}) for name in ("one", "two")]
    first, second = compare_revisions(base, others, 0.95)
    assert first.models["head"].accuracy_p == 2 / 2**6
    assert first.models["head"].accuracy_holm == second.models["head"].accuracy_holm == 4 / 2**6
    assert "accuracy cannot be told apart" in verdict(first.models["head"], 0.95)
    text = render_text(base, [first, second], 0.95)
    assert "The best of 2 looks better than it is: p is raised by Holm's rule" in text
    assert max(map(len, text.splitlines())) <= 100


def test_rows_are_joined_by_path_and_only_the_same_pictures_count() -> None:
    before, after = said({0}), dict(reversed(said({0}).items()))
    del before[PATHS[19]], after[PATHS[18]]
    after[PATHS[1]] = Prediction(PATHS[1], "dog", "dog", 0.9, 0.9)
    other = Picture(PATHS[2], "cat", "test", "other bytes", "")
    a, b = revision("a", {"head": before}), revision("b", {"head": after})
    b = revision("b", {"head": after}, pictures={**b.pictures, PATHS[2]: other})
    found = only(a, b)
    assert found.test.paths == (PATHS[0], *PATHS[3:18])
    assert found.models["head"].same
    assert pictures_of(a, found) == [
        "Compared on 16 of 19 and 19 test pictures; 1 of the same name are other files, left out; "
        "1 have another class in each, so that what is right is not agreed upon, left out; "
        "1 and 1 are in one of the two only."
    ]


def test_without_a_manifest_paths_decide() -> None:
    a, b = revision("a", {"head": said(set())}), revision("b", {"head": said(set())}, pictures={})
    assert len(share_pictures(a, b, a.said["head"], b.said["head"]).paths) == 20


def test_pictures_that_belong_together_count_as_one() -> None:
    """Groups of 5 gain 4, 2, 0 and 0 pictures: 0.3 of all.

    Error over groups: sqrt(4/3 * 11) / 20, over pictures: sqrt(20/19 * 4.2) / 20. So the 20 are
    worth 20 * (20/19 * 4.2) / (4/3 * 11) = 6.028708, of which 0.3 are 1.808612. Bonett and Price:
    1 / 8.028708 = 0.124553, 2.808612 / 8.028708 = 0.349821, difference 0.225268, variance
    (0.474374 - 0.225268²) / 8.028708 = 0.052764; t(3) = 3.182446 times its root is 0.731018.
    Of the signs of 4 and 2, two of four ways reach 6.
    """
    group_of = {path: f"patient {i // 5}" for i, path in enumerate(PATHS)}
    base = revision("main", {"head": said(set(range(7)))}, group_of=group_of)
    one = only(base, revision("exp", {"head": said({0})}, group_of=group_of))
    found = one.models["head"]
    assert found.accuracy_interval == pytest.approx((-0.50575, 0.95629), abs=2e-5)
    assert found.accuracy_p == 0.5
    assert found.log_loss_interval is not None
    assert found.log_loss_interval[1] > 0  # it would be told, were they single pictures
    assert one.test.grouped == 20
    assert "20 of the pictures are in one group with others" in render_text(base, [one], 0.95)


def test_groups_in_which_nothing_changed_are_not_sure_of_it() -> None:
    group_of = {path: f"patient {i // 5}" for i, path in enumerate(PATHS)}
    base = revision("main", {"head": said({0})}, group_of=group_of)
    better = {p: replace(one, actual_probability=0.95) for p, one in said({0}).items()}
    found = only(base, revision("exp", {"head": better})).models["head"]
    # 4 pictures that did not change: sqrt(2) / 6, times t(3)
    expected = 3.182446 * np.sqrt(2) / 6
    assert found.accuracy_interval == pytest.approx((-expected, expected), abs=1e-6)
    assert found.accuracy_p == 1.0


def test_one_pair_of_copies_changes_little() -> None:
    """Four gained pictures are chance by McNemar's test, and stay so if two others are copies."""
    lone, numbers = changes(0, 4, 1500)
    paired = np.minimum(numbers, 1498)
    assert paired_share_test(lone, numbers) == paired_share_test(lone, paired) == 0.125
    before, after = (paired_share_interval(lone, groups, 0.95) for groups in (numbers, paired))
    assert after == pytest.approx(before, rel=0.01)


def test_the_exact_test_over_single_pictures_is_mcnemar_s() -> None:
    for lost, gained in ((0, 0), (3, 3), (1, 9), (40, 70)):
        expected = stats.binomtest(lost, lost + gained).pvalue if gained else 1.0
        assert paired_share_test(*changes(lost, gained, 200)) == pytest.approx(expected, rel=1e-5)


def test_all_pictures_of_one_group_tell_nothing() -> None:
    gained = np.array([1.0, 1.0, 0.0])
    assert paired_share_interval(gained, np.zeros(3, int), 0.95) == (-1.0, 1.0)
    assert paired_share_test(gained, np.zeros(3, int)) == 1.0


def test_groups_of_either_revision_count() -> None:
    """1 and 2 belong together in one, 2 and 3 in the other: all three do; names may be the same."""
    groups = {"a": {PATHS[1]: "p", PATHS[2]: "p"}, "b": {PATHS[2]: "q", PATHS[3]: "q"}}
    groups["b"][PATHS[9]] = "p"
    a, b = (revision(name, {"head": said(set())}, group_of=of) for name, of in groups.items())
    for one, other in ((a, b), (b, a)):
        found = share_pictures(one, other, one.said["head"], other.said["head"])
        assert found.grouped == 3
        assert len(set(found.groups)) == 18
        assert len(set(found.groups[1:4])) == 1


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            revision("exp", {"head": said(set())}, class_names=("bird", "cat")),
            "main and exp tell other classes apart: only the first has dog, only the second bird;",
        ),
        (revision("exp", {"tail": said(set())}), "main has the models head, exp tail: none in"),
        (
            revision("exp", {"head": said(set(), ["x.jpg"])}),
            "main tested 20 pictures, exp 1: none are the same; compare revisions with",
        ),
    ],
    ids=["classes", "models", "pictures"],
)
def test_what_cannot_be_compared_is_refused(other: Revision, message: str) -> None:
    with pytest.raises(DataError, match=f"^{message}"):
        only(revision("main", {"head": said(set())}), other)


def test_the_folds_are_a_row_of_their_own() -> None:
    models = {"head": said({0})}
    base = revision("main", models, crossval=said({1, 2}))
    other = revision("exp", models, crossval=said({2}))
    found = only(base, other)
    assert found.models["crossval"].mended == 1
    assert "\n| crossval    | " in render_text(base, [found], 0.95)
    lacking = only(base, revision("exp", models))
    assert list(lacking.models) == ["head"]
    text = "Only main has predictions of stage crossval: not compared."
    assert text in pictures_of(base, lacking)


def test_tables_fit_a_terminal() -> None:
    many = [f"{i}.jpg" for i in range(6000)]
    half, rest = set(range(3000)), set(range(3000, 6000))
    base = revision("feature/a-long-name", {"finetuned": said(half, many)}, commit="abcdef0")
    one = only(base, revision("experiment-of-all", {"finetuned": said(rest, many)}))
    tables = [line for line in render_text(base, [one], 0.95).splitlines() if line[:1] == "|"]
    assert "| feature/a-… | experiment… |" in tables[0]
    assert max(map(len, tables)) <= 100


def test_values_for_programs_are_those_of_the_text() -> None:
    base = revision("main", {"head": said(set(range(7)))})
    one = only(base, revision("exp", {"head": said({0}), "new": said({0})}))
    (values,) = as_values(base, [one], 0.95)["comparisons"]
    assert values["unpaired_models"] == ["new"]
    assert values["models"]["head"]["accuracy"]["now_right"] == 6
    assert len(values["models"]["head"]["changed_sides"]) == 6
    assert "wrong → right  and 1 more: --html shows them" in render_text(base, [one], 0.95)


LOCK: dict[str, Any] = {
    "split": {
        "deps": [{"path": "raw.zip", "md5": "0"}],
        "outs": [{"path": "split.csv", "md5": "1"}],
    },
    "head": {
        "deps": [{"path": "head.py", "md5": "2"}, {"path": "split.csv", "md5": "1"}],
        "params": {"params.yaml": {"head": {"lr": 1e-3, "seed": 0}, "split.seed": 42}},
        "outs": [{"path": "models", "md5": "3.dir"}],
    },
    "evaluate": {
        "deps": [{"path": "models/head", "md5": "4"}],
        "outs": [{"path": "m", "md5": "5"}],
    },
    "later": {"deps": [{"path": "m", "md5": "stale"}], "outs": []},
}
PARAMS = {"head": {"lr": 1e-3, "seed": 0}, "split": {"seed": 42}}


def outdated(params: Any = PARAMS, inside: str = "4", **stages: Any) -> list[str]:
    return find_outdated(Record({**LOCK, **stages}, params), "evaluate", lambda path: inside)


def test_results_that_belong_to_their_revision_are_told_from_others() -> None:
    assert outdated() == []
    assert outdated(inside="") == []  # the directory's files are not known
    assert outdated(inside="9") == ["evaluate: models/head"]
    assert outdated({**PARAMS, "head": {"lr": 2e-3, "seed": 0}}) == ["head: head.lr"]
    assert outdated({**PARAMS, "split": {}}) == ["head: split.seed"]
    newer = {**LOCK["split"], "outs": [{"path": "split.csv", "md5": "9"}]}
    assert outdated(split=newer) == ["head: split.csv"]


def test_parameters_and_other_inputs_that_differ() -> None:
    changes = find_changes(PARAMS, {"head": {"lr": 1e-5, "seed": 0}, "x": {"y": [1, "a"]}})
    assert [(c.name, c.before, c.after) for c in changes] == [
        ("head.lr", "0.001", "1e-05"),
        ("split.seed", "42", "absent"),
        ("x.y", "absent", '[1, "a"]'),
    ]
    code = [{"path": "head.py", "md5": "changed"}, {"path": "split.csv", "md5": "also"}]
    other = Record({**LOCK, "head": {**LOCK["head"], "deps": code}}, PARAMS)
    assert find_other_inputs(Record(LOCK, PARAMS), other) == ["head.py"]


def test_thumbnails_are_of_the_very_same_files(tmp_path: Path) -> None:
    first, second = tmp_path / "first.zip", tmp_path / "second.zip"
    contents = {}
    for archive, colour in ((first, "red"), (second, "blue")):
        Image.new("RGB", (40, 20), colour).save(tmp_path / "x.png")
        contents[colour] = (tmp_path / "x.png").read_bytes()
        with zipfile.ZipFile(archive, "w") as opened:
            opened.writestr("cat/x.png", contents[colour])
    broken = tmp_path / "broken.zip"
    broken.write_bytes(b"PK no zip")
    sha256 = hashlib.sha256(contents["blue"]).hexdigest()
    picture = Picture("cat/x.png", "cat", "test", sha256, "")
    archives = [tmp_path / "none.zip", broken, first, second]
    found = make_thumbnails([picture], archives, 10**6, 0, "stretch")
    assert list(found) == [sha256]
    (tmp_path / "small.jpg").write_bytes(found[sha256])
    with Image.open(tmp_path / "small.jpg") as small:
        assert small.size == (SIDE_PX, SIDE_PX)
        red, _, blue = small.convert("RGB").getpixel((5, 5))  # type: ignore[misc]
    assert blue > 200 > 50 > red
    assert make_thumbnails([picture], [first], 10**6, 0, "stretch") == {}
    assert make_thumbnails([picture], archives, 10, 0, "stretch") == {}
    boxed = make_thumbnails([picture], archives, 10**6, 0, "letterbox")  # as its model saw it
    with Image.open(io.BytesIO(boxed[sha256])) as small:
        pixels = np.asarray(small.convert("RGB"))
    np.testing.assert_allclose(pixels[[5, 80], 5], [FILL, (0, 0, 255)], atol=3)


def test_comparing_imports_no_tensorflow() -> None:
    code = (
        "import sys, pawprint.cli.compare; "
        "print(sorted({'tensorflow', 'keras', 'openvino'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert (done.stdout, done.stderr, done.returncode) == ("[]\n", "", 0)


def test_reviewed_labels_judge_both_revisions() -> None:
    """Two pictures were called cats; in the second revision a person has decided that one is a dog.

    By the labels that came the first model has both right; by the review it has one wrong, at 0.1.
    """
    before = {path: Prediction(path, "cat", "cat", 0.9, 0.9) for path in ("x", "y")}
    after = {
        "x": Prediction("x", "cat", "cat", 0.9, 0.9),
        "y": Prediction("y", "dog", "dog", 0.8, 0.8),
    }
    base = revision("a", {"head": before})
    decided = replace(base.pictures["y"], class_name="dog", source_class="cat")
    other = revision("b", {"head": after}, pictures={**base.pictures, "y": decided})
    for first, second, sides in ((base, other, (1, 0)), (other, base, (0, 1))):
        (found,) = compare_revisions(first, [second], 0.95)
        assert (found.models["head"].mended, found.models["head"].broken) == sides
        assert found.test.reviewed == 1
        assert pictures_of(first, found) == [
            "Compared on the same 2 test pictures; 1 have another class in each, both are judged "
            "by the reviewed one."
        ]
    (found,) = compare_revisions(base, [other], 0.95)
    assert found.models["head"].log_losses == pytest.approx(
        ((-np.log(0.9) - np.log(0.1)) / 2, (-np.log(0.9) - np.log(0.8)) / 2)
    )


def test_of_more_classes_every_reviewed_picture_counts_for_the_accuracy_alone() -> None:
    """Also one that the first model has wrong: to leave these out would flatter it.

    What the first model gave dog is not known; so the log loss is that of x.
    """
    classes = ("cat", "dog", "wolf")
    before = {path: Prediction(path, "cat", "cat", 0.6, 0.6) for path in "xyz"}
    before["y"] = Prediction("y", "cat", "dog", 0.7, 0.2)
    after = {"x": Prediction("x", "cat", "cat", 0.5, 0.5)}
    after |= {p: Prediction(p, "dog", "dog", 0.8, 0.8) for p in "yz"}
    base = revision("a", {"head": before}, class_names=classes)
    dogs = {p: replace(base.pictures[p], class_name="dog", source_class="cat") for p in "yz"}
    pictures = {**base.pictures, **dogs}
    other = revision("b", {"head": after}, pictures=pictures, class_names=classes)
    (found,) = compare_revisions(base, [other], 0.95)
    assert found.test.paths == ("x", "y", "z")
    assert (found.test.reviewed, found.test.without_loss, found.test.other_labels) == (2, 2, 0)
    head = found.models["head"]
    assert (head.accuracies, head.mended) == ((pytest.approx(2 / 3), 1.0), 1)
    assert head.log_losses == pytest.approx((-np.log(0.6), -np.log(0.5)))
    assert "2 of these count for the accuracy alone" in pictures_of(base, found)[0]
    same = {**before, **{p: replace(before[p], actual="dog", actual_probability=0.3) for p in "yz"}}
    other = revision("b", {"head": same}, pictures=pictures, class_names=classes)
    (found,) = compare_revisions(base, [other], 0.95)
    assert found.models["head"].same


def test_of_more_classes_all_reviewed_are_refused() -> None:
    classes = ("cat", "dog", "wolf")
    base = revision(
        "a", {"head": {"x": Prediction("x", "cat", "cat", 0.6, 0.6)}}, class_names=classes
    )
    dog = {"x": replace(base.pictures["x"], class_name="dog", source_class="cat")}
    said = {"head": {"x": Prediction("x", "dog", "dog", 0.6, 0.6)}}
    other = revision("b", said, pictures=dog, class_names=classes)
    with pytest.raises(DataError, match="each of the 1 test pictures in common was relabelled"):
        compare_revisions(base, [other], 0.95)
