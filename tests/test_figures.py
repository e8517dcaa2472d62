"""Pictures of scores: the same bytes each time, and readable at any number of classes."""

import io
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from pawprint.evaluation import figures

# covers: R6, R11, R14, B1, B6


def predictions(n: int, num_classes: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Labels int64 [n], and probabilities [n, num_classes] of three models of rising skill."""
    rng = np.random.default_rng(0)
    y_true = rng.integers(0, num_classes, n)
    probs = {}
    for name, skill in [("baseline", 1), ("head", 3), ("finetuned", 4)]:
        logits = rng.normal(size=(n, num_classes))
        logits[np.arange(n), y_true] += skill
        probs[name] = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return y_true, probs


def history(epochs: int, val_loss: Callable[[int], float]) -> list[dict[str, float]]:
    return [
        {
            "epoch": epoch,
            "train_loss": 1 / epoch,
            "val_loss": val_loss(epoch),
            "val_log_loss": val_loss(epoch),
            "train_accuracy": 1 - 0.5 / epoch,
            "val_accuracy": 1 - 0.6 / epoch,
        }
        for epoch in range(1, epochs + 1)
    ]


def render_all(folder: Path, n: int = 60) -> dict[str, bytes]:
    """Every picture this module can draw, by name."""
    folder.mkdir()
    y_true, probs = predictions(n, 2)
    names = ["cat", "dog"]
    y_pred = probs["head"].argmax(axis=1)
    figures.render_confusion(folder / "confusion.png", y_true, y_pred, names, "head")
    figures.render_roc(folder / "roc.png", y_true, probs, names)
    figures.render_precision_recall(folder / "precision_recall.png", y_true, probs, names)
    figures.render_reliability(folder / "reliability.png", y_true, probs, 15)
    stages = {"baseline": history(4, lambda e: 1 / e), "head": history(2, lambda e: e)}
    figures.render_training(folder / "training.png", stages)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(autouse=True)
def _no_complaints(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """A missing glyph, an empty slice or a font that is not found fails the test."""
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        yield
    assert caplog.records == []


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return render_all(tmp_path_factory.mktemp("figures") / "first")


def test_pictures_have_the_same_bytes_twice(tmp_path: Path, pictures: dict[str, bytes]) -> None:
    assert len(pictures) == 5
    with matplotlib.rc_context({"font.size": 20, "savefig.dpi": 30, "axes.facecolor": "red"}):
        second = render_all(tmp_path / "second")
    assert pictures == second


def test_pictures_show_the_numbers(tmp_path: Path, pictures: dict[str, bytes]) -> None:
    others = render_all(tmp_path / "others", n=61)
    changed = [name for name in pictures if pictures[name] != others[name]]
    assert changed == ["confusion.png", "precision_recall.png", "reliability.png", "roc.png"]


def test_pictures_do_not_name_the_software(pictures: dict[str, bytes]) -> None:
    for content in pictures.values():
        with Image.open(io.BytesIO(content)) as image:
            assert image.format == "PNG"
            assert "Software" not in image.info


def test_drawings_have_the_same_bytes_twice_and_texts_that_are_texts(tmp_path: Path) -> None:
    y_true, probs = predictions(60, 2)
    drawn = []
    for name in "ab":
        path = tmp_path / name / "confusion.svg"
        path.parent.mkdir()
        y_pred = probs["head"].argmax(axis=1)
        figures.render_confusion(path, y_true, y_pred, ["<cat>", "dog"], "head")
        drawn.append(path.read_text(encoding="utf-8"))
    assert drawn[0] == drawn[1]
    assert ">&lt;cat&gt;</text>" in drawn[0]
    assert "matplotlib.org" not in drawn[0]
    assert "<dc:date>" not in drawn[0]


@pytest.mark.parametrize("num_classes", [2, 30, 150])
def test_confusion_pictures_stay_within_a_page(tmp_path: Path, num_classes: int) -> None:
    y_true, probs = predictions(1000, num_classes)
    names = [f"Ünïcode № {k} {'x' * 40}" for k in range(num_classes)]
    y_pred = probs["head"].argmax(axis=1)
    figures.render_confusion(tmp_path / "c.png", y_true, y_pred, names, "head")
    with Image.open(tmp_path / "c.png") as image:
        assert 250 < image.width < 1500
        assert 250 < image.height < 1500


@pytest.mark.parametrize(("num_classes", "numbered"), [(30, True), (31, False)])
def test_confusion_cells_have_numbers_while_they_fit(
    tmp_path: Path, num_classes: int, numbered: bool
) -> None:
    # Twice the pictures give the same shares, so the same colours: only numbers can differ.
    y_true, probs = predictions(500, num_classes)
    y_pred = probs["head"].argmax(axis=1)
    names = [str(k) for k in range(num_classes)]
    cells = []
    for times in (1, 2):
        path = tmp_path / f"{times}.png"
        y_twice, pred_twice = np.tile(y_true, times), np.tile(y_pred, times)
        figures.render_confusion(path, y_twice, pred_twice, names, "head")
        with Image.open(path) as image:
            cells.append(np.asarray(image)[60:])  # below the title, which counts the pictures
    assert np.array_equal(cells[0], cells[1]) is not numbered


def test_class_names_are_drawn_as_they_are_or_by_number(tmp_path: Path) -> None:
    y_true = y_pred = np.array([0, 1])

    def picture(first: str) -> bytes:
        path = tmp_path / "c.png"
        figures.render_confusion(path, y_true, y_pred, [first, "dog"], "head")
        return path.read_bytes()

    assert picture("猫") == picture("#0") == picture("a\nb")
    assert picture("$x$") != picture("x")
    assert picture("$\\bad{$") != picture("#0")
    assert picture("é") != picture("e")


def test_tiny_and_one_sided_splits_are_drawn(tmp_path: Path) -> None:
    y_true = np.array([1, 1, 1])
    probs = {"head": np.array([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]])}
    figures.render_confusion(tmp_path / "c.png", y_true, np.array([1, 0, 0]), ["a", "b"], "head")
    figures.render_roc(tmp_path / "r.png", y_true, probs, ["a", "b"])
    figures.render_precision_recall(tmp_path / "p.png", y_true, probs, ["a", "b"])
    figures.render_reliability(tmp_path / "b.png", y_true, probs, 15)
    assert len(list(tmp_path.iterdir())) == 4


def test_training_that_lasted_one_epoch_or_diverged_is_drawn(tmp_path: Path) -> None:
    path = tmp_path / "training.png"
    figures.render_training(path, {"head": history(1, lambda epoch: 0.5)})
    assert path.read_bytes()
    figures.render_training(path, {"head": history(3, lambda epoch: float("nan"))})
    assert path.read_bytes()


def test_training_marks_the_kept_epoch(tmp_path: Path) -> None:
    # The ring is the only black, unfilled circle: find it by its near-black pixels inside the
    # axes, left of the middle if the first epoch is best, right of it if the last one is.
    centres = []
    for val_loss in (lambda epoch: epoch / 10, lambda epoch: 1 / epoch):
        path = tmp_path / "training.png"
        figures.render_training(path, {"": history(5, val_loss)})
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("L"))[20:270, 90:]
        centres.append(np.nonzero(pixels < 60)[1].mean() / pixels.shape[1])
    assert centres[0] < 0.3
    assert centres[1] > 0.7
