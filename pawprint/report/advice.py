"""What to try next: rules on the figures of the run itself, each said with its figure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pawprint.report.run import Judged, RunPictures
from pawprint.report.shown import counted, percent
from pawprint.storage.tables import printable

_WIDE = 0.05  # of an interval of the accuracy: more test pictures would tell more
_GAP = 0.05  # between the accuracy on training and on validation pictures
_FEW = 100  # training pictures of a class
_UNBALANCED = 3  # times as many pictures of the largest class as of the smallest
_REPEATED = 0.1  # share of pictures that are near or exact copies of others
_UNCALIBRATED = 0.05  # calibration error
TOLD = 0.05  # p-value below which two models are told apart
_ONE_SIDED = 2 / 3  # of the errors: one class taken for one other


@dataclass(frozen=True)
class Advice:
    """Something to try.

    Attributes:
        what: in a few words.
        why: a sentence with the figure of this run.
        command: to be typed; may be empty.
    """

    what: str
    why: str
    command: str = ""


def advise(
    data: RunPictures, judged: Judged, doubted: int, epochs: Mapping[str, int]
) -> list[Advice]:
    """What this run's figures suggest, the most urgent first; at the end what is always open.

    Args:
        data: the pictures.
        judged: the models.
        doubted: suspects that nobody has decided on.
        epochs: model → at most so many were allowed in its training.
    """
    rules: Sequence[Iterator[Advice]] = (
        _leaks(data),
        _suspects(doubted),
        _few_pictures(data),
        _balance(data),
        _copies(data),
        _baseline_as_good(judged),
        _tuning_for_nothing(judged),
        _fitting(judged),
        _longer(judged, epochs),
        _confusion(judged),
        _calibration(judged),
        _width(judged),
        _always(judged),
    )
    return [advice for rule in rules for advice in rule]


def _leaks(data: RunPictures) -> Iterator[Advice]:
    for leak in data.leaks:
        yield Advice(
            "Mend the division",
            f"{printable(leak)}. Remove one of each pair from the source, or let the division be "
            "made anew by removing the folders of splits; see data/report/across_splits.csv.",
        )


def _suspects(doubted: int) -> Iterator[Advice]:
    if doubted:
        yield Advice(
            "Look at the suspects",
            f"{counted(doubted, 'picture has', 'pictures have')} a reason to be looked at, and no "
            "decision yet. Better pictures and labels help every model, and the test score too.",
            "python -m pawprint review",
        )


def _few_pictures(data: RunPictures) -> Iterator[Advice]:
    counts = Counter(p.class_name for p in data.pictures if p.split == "train")
    few = sorted((counts[name], name) for name in data.class_names if counts[name] < _FEW)
    if few:
        count, name = few[0]
        more = f", and {counted(len(few) - 1, 'other class', 'other classes')} below {_FEW}"
        yield Advice(
            "Collect more pictures",
            f"{printable(name)} has {counted(count, 'training picture', 'training pictures')}"
            f"{more if len(few) > 1 else ''}. The learning curve says what more would bring.",
            "python -m pawprint learning-curve",
        )


def _balance(data: RunPictures) -> Iterator[Advice]:
    counts = Counter(p.class_name for p in data.pictures if p.split == "train")
    ranked = sorted((counts[name], name) for name in data.class_names)
    (least, small), (most, large) = ranked[0], ranked[-1]
    if most > _UNBALANCED * max(least, 1):
        yield Advice(
            "Let small classes weigh more",
            f"{most:,} training pictures of {printable(large)}, {least:,} of {printable(small)}: a "
            "model may learn to prefer the large class. Compare the recall of each class.",
            "dvc exp run -S head.class_weights=balanced -S finetune.class_weights=balanced",
        )


def _copies(data: RunPictures) -> Iterator[Advice]:
    copies = data.summary["exact_duplicates"] + data.summary["near_duplicates"]
    share = copies / data.summary["pictures"]
    if share > _REPEATED:
        yield Advice(
            "Count what is really there",
            f"{copies:,} of {data.summary['pictures']:,} pictures ({percent(share, 0)}) are "
            "copies or near copies of others: there is less to learn from than it seems. "
            "data/report/duplicates.csv lists them.",
        )


def _baseline_as_good(judged: Judged) -> Iterator[Advice]:
    pair = _pair(judged, "baseline", "head")
    if pair and (pair["p_value"] >= TOLD or pair["only_a_right"] > pair["only_b_right"]):
        yield Advice(
            "Ask whether pretraining fits",
            "The small network from scratch is not told to be worse than the head on a pretrained "
            f"backbone: {pair['only_a_right']:,} test pictures only it has right, "
            f"{pair['only_b_right']:,} only the head (p = {pair['p_value']:.2g}). The pictures may "
            "be unlike photographs, or too few to tell; other backbones may suit them.",
            "python -m pawprint rank",
        )


def _tuning_for_nothing(judged: Judged) -> Iterator[Advice]:
    pair = _pair(judged, "head", "finetuned")
    if pair and pair["p_value"] >= TOLD:
        yield Advice(
            "Fine-tuning is not told from the head",
            f"Only the head has {counted(pair['only_a_right'], 'test picture', 'test pictures')} "
            f"right, only the fine-tuned model {pair['only_b_right']:,}: chance alone does as much "
            f"(p = {pair['p_value']:.2g}). Work on the head costs seconds, not minutes.",
            "python -m pawprint search --minutes 15 head.lr=1e-4..1e-2:log head.dropout=0..0.6",
        )


def _fitting(judged: Judged) -> Iterator[Advice]:
    model = next(m for m in judged.models if m.name == judged.best)
    rows, kept = judged.histories.get(model.stage, ()), judged.trainings[model.name]
    row = next((r for r in rows if r["epoch"] == kept.get("best_epoch")), None)
    if row is None or "train_accuracy" not in row:
        return
    train, val = row["train_accuracy"], row["val_accuracy"]
    if train - val > _GAP:
        yield Advice(
            "It learns its pictures by heart",
            f"In its kept epoch {model.name} has {percent(train, 1)} of the training pictures "
            f"right and {percent(val, 1)} of the validation pictures. More pictures, more dropout "
            "or more augmentation narrow the gap.",
            "python -m pawprint learning-curve",
        )


def _longer(judged: Judged, epochs: Mapping[str, int]) -> Iterator[Advice]:
    for model in judged.models:
        most = epochs.get(model.name, 0)
        if model.name == judged.best and judged.trainings[model.name].get("best_epoch") == most > 0:
            section = "head" if model.name == "head" else model.stage.removeprefix("train_")
            yield Advice(
                "Train longer",
                f"The kept epoch of {model.name} is its last one, {most}: it may not be done.",
                f"dvc exp run -S {section}.epochs={2 * most}",
            )


def _confusion(judged: Judged) -> Iterator[Advice]:
    confused = judged.details["models"][judged.best]["confused"]
    wrong = sum(not one.correct for one in judged.predictions[judged.best].values())
    if wrong >= 10 and confused and confused[0]["count"] > _ONE_SIDED * wrong:
        pair = confused[0]
        yield Advice(
            "One confusion is most of the errors",
            f"{pair['count']:,} of the {wrong:,} wrong pictures are {printable(pair['actual'])} "
            f"taken for {printable(pair['predicted'])}: look at these first.",
        )


def _calibration(judged: Judged) -> Iterator[Advice]:
    error = judged.details["models"][judged.best]["metrics"]["calibration_error"]
    if error > _UNCALIBRATED:
        yield Advice(
            "Do not take its probabilities at their word",
            f"How sure {judged.best} is and how often it is right differ by "
            f"{percent(error, 1)} on average. Choose a threshold by the coverage table, not by the "
            "number itself; more validation pictures would mend it.",
        )


def _width(judged: Judged) -> Iterator[Advice]:
    scores = judged.details["models"][judged.best]["metrics"]
    width = scores["accuracy_high"] - scores["accuracy_low"]
    if width > _WIDE:
        yield Advice(
            "Test on more pictures",
            f"{judged.details['pictures']:,} test pictures leave the accuracy open within "
            f"{100 * width:.1f} points. Cross-validation judges on all of train and val, without "
            "more pictures.",
            "dvc exp run crossval",
        )


def _always(judged: Judged) -> Iterator[Advice]:
    yield Advice(
        "Compare backbones",
        "Which pretrained network and which image size suit these pictures best is measured in "
        "minutes, on the folds of train and val.",
        "python -m pawprint rank",
    )
    found = judged.crossval
    yield Advice(
        "Ask what more pictures would bring",
        f"Out of fold, the head has {percent(found['accuracy'])} of "
        f"{found['pictures']:,} pictures right; the learning curve says how that grows.",
        "python -m pawprint learning-curve",
    )
    yield Advice(
        "Label what teaches most",
        "Of pictures without a label, those come first of which the model is least sure, and which "
        "are unlike each other.",
        "python -m pawprint suggest FOLDER",
    )


def _pair(judged: Judged, a: str, b: str) -> Mapping[str, Any] | None:
    return next(
        (pair for pair in judged.details["mcnemar"] if (pair["a"], pair["b"]) == (a, b)), None
    )
