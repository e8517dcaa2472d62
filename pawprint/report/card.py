"""The model card: what a model is for, what it was made from, how it was judged and made.

Source: Mitchell et al. 2019, Model Cards for Model Reporting, section 4, whose parts these are; the
header is that of the model cards of the Hugging Face hub.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from pawprint.deciding.words import say_coverage, say_rejection, say_sets
from pawprint.registry.models import find_model
from pawprint.report.run import Judged, RunPictures
from pawprint.report.shown import (
    NOT_DEFINED,
    PER_CENT,
    ShownTable,
    bounds,
    counted,
    interval,
    level,
    make_table,
    percent,
)
from pawprint.runner.params import ModelParams, ReportParams
from pawprint.storage.tables import printable

_SPLITS = {"train": "training", "val": "validation", "test": "test"}
_MOST_NAMES = 8  # of classes in a sentence
_PATHS = {"weights_file", "files"}  # keys whose value may be a path of somebody's machine
# What a model's numbers follow from, besides the sections of its own training
_SECTIONS = {
    "baseline": ("preprocess", "augment", "baseline"),
    "head": ("preprocess", "augment", "model", "features", "head"),
    "finetuned": ("preprocess", "augment", "model", "features", "head", "finetune"),
}
_FORMATS = {"openvino": "OpenVINO", "saved_model": "SavedModel", "onnx": "ONNX", "tflite": "TFLite"}


@dataclass(frozen=True)
class Made:
    """How a model was made.

    Attributes:
        backbone: the pretrained network, of which models other than the baseline are made.
        exported: the card of the exported model, ``models/export/model.json``.
        sections: name of a section of params.yaml → the section.
    """

    backbone: ModelParams
    exported: Mapping[str, Any]
    sections: Mapping[str, BaseModel]


@dataclass(frozen=True)
class CardPart:
    """A part of a card: a heading, sentences, points, tables."""

    title: str
    sentences: tuple[str, ...] = ()
    points: tuple[str, ...] = ()
    tables: tuple[ShownTable, ...] = ()


@dataclass(frozen=True)
class Card:
    """A card; ``header`` is what hubs read, fit for YAML."""

    title: str
    header: Mapping[str, Any]
    parts: tuple[CardPart, ...]


def describe_model(
    data: RunPictures,
    judged: Judged,
    made: Made,
    config: ReportParams,
    decided: Mapping[str, Any],
) -> Card:
    """The card of the model that was exported.

    Args:
        data: the pictures.
        judged: the models.
        made: how it was made.
        config: the words of the person who made it.
        decided: of ``metrics/deciding/details.json``.
    """
    name = judged.exported["model"]
    classes = _enumerate(data.class_names)
    title = printable(config.name) or f"A classifier of pictures: {classes}"
    parts = (
        _model(name, classes, data, made),
        _use(classes, config),
        _limits(name, data, judged, config),
        _data(data),
        _figures(name, judged),
        *_deciding(name, decided),
        _making(name, judged, made),
    )
    return Card(title, _header(name, title, judged, made, config), parts)


def _enumerate(names: Sequence[str]) -> str:
    shown = ", ".join(map(printable, names[:_MOST_NAMES]))
    more = len(names) - _MOST_NAMES
    return f"{shown} and {more:,} more" if more > 0 else shown


def _header(
    name: str, title: str, judged: Judged, made: Made, config: ReportParams
) -> dict[str, Any]:
    scores = judged.details["models"][name]["metrics"]
    kinds = {"accuracy": "accuracy", "f1": "f1", "roc_auc": "roc_auc"}
    kept = {key: kind for key, kind in kinds.items() if key not in judged.details["undefined"]}
    formats = sorted(judged.exported.keys() & _FORMATS.keys())
    result = {
        "task": {"type": "image-classification", "name": "Image classification"},
        "dataset": {"type": "imagefolder", "name": "test split of its own data", "split": "test"},
        "metrics": [
            {"type": kind, "value": scores[key], "name": kind} for key, kind in kept.items()
        ],
    }
    return {
        "license": config.license,
        "library_name": "keras",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "dvc", "pawprint", *formats],
        "metrics": list(kept.values()),
        "model-index": [{"name": title, "results": [result]}],
    }


def _model(name: str, classes: str, data: RunPictures, made: Made) -> CardPart:
    model = find_model(name)
    kind, side = model.title if model else name, made.exported["image_size"]
    basis = "" if name == "baseline" else f", {made.backbone.backbone}{_origin(made.backbone)}"
    return CardPart(
        "The model",
        (
            f"{kind} ({name}){basis}. It takes a picture of {side} by {side} pixels, as raw RGB "
            "values from 0 to 255, and gives a probability "
            f"for each of {counted(len(data.class_names), 'class', 'classes')}: {classes}.",
        ),
    )


def _origin(backbone: ModelParams) -> str:
    origins = {
        "imagenet": ", pretrained on ImageNet",
        "file": ", with weights of a file",
        "none": ", from random weights",
    }
    return origins[backbone.weights]


def _use(classes: str, config: ReportParams) -> CardPart:
    words = printable(config.intended_use) or (
        f"To tell pictures of these classes apart ({classes}) where they are like those that it "
        "was trained on: of the same kind of camera, light and subject. The person who made it "
        "has said no more (report.intended_use)."
    )
    return CardPart("Intended use", (words,))


def _limits(name: str, data: RunPictures, judged: Judged, config: ReportParams) -> CardPart:
    found = judged.details
    scores = found["models"][name]["metrics"]
    wrong = sum(not one.correct for one in judged.predictions[name].values())
    points = [
        "It knows its own classes alone: of a picture of anything else it names one of them, often "
        "with a high probability.",
        f"{wrong:,} of {counted(found['pictures'], 'test picture', 'test pictures')} "
        f"{'is' if wrong == 1 else 'are'} wrong. On new pictures of the same kind the accuracy "
        f"should be within {interval(scores['accuracy_low'], scores['accuracy_high'])}{PER_CENT} "
        f"({level(found['confidence'])} interval); of other kinds nothing is known.",
        "The test pictures were divided from the same data as those for training. What all of the "
        "data have in common, such as a camera or a place, was not tested.",
    ]
    classes = found["models"][name]["report"]["classes"]
    untested = [of for of, scores in classes.items() if not scores["support"]]
    if untested:
        points.append(f"Not tested, for want of test pictures: {_enumerate(untested)}.")
    points += [f"{printable(leak)}." for leak in data.leaks]
    if config.limits:
        points.insert(0, printable(config.limits))
    return CardPart("Limits", points=tuple(points))


def _data(data: RunPictures) -> CardPart:
    summary = data.summary
    sentences = [
        f"{counted(summary['pictures'], 'picture', 'pictures')} of "
        f"{counted(summary['classes'], 'class', 'classes')}. Exact copies of another one: "
        f"{summary['exact_duplicates']:,}; near copies: {summary['near_duplicates']:,}; "
        + ("each group of copies is in one split." if not data.leaks else "see Limits.")
    ]
    unread = sum(data.quarantined.values())
    if unread:
        sentences.append(f"{counted(unread, 'picture', 'pictures')} could not be read.")
    if data.decided:
        done = data.decided
        sentences.append(
            f"A person relabelled {done['relabel']:,} pictures and dropped {done['drop']:,}."
        )
    return CardPart("Data", tuple(sentences), tables=(count_pictures(data),))


def count_pictures(data: RunPictures) -> ShownTable:
    """Pictures of each class and split."""
    rows: list[list[object]] = []
    for name in data.class_names:
        counts = [data.count(split, name) for split in _SPLITS]
        rows.append([name, *counts, sum(counts)])
    totals = [data.count(split) for split in _SPLITS]
    rows.append(["all", *totals, sum(totals)])
    header = ("class", *_SPLITS.values(), "all")
    return make_table("Pictures of each class and split", header, rows, marked=len(rows) - 1)


def _figures(name: str, judged: Judged) -> CardPart:
    found = judged.details
    scores, intervals = found["models"][name]["metrics"], found["models"][name]["intervals"]
    undefined = found["undefined"]
    rows = [
        [
            "accuracy",
            percent(scores["accuracy"]),
            f"{interval(scores['accuracy_low'], scores['accuracy_high'])}{PER_CENT}",
        ],
        ["F1, weighted", f"{scores['f1']:.4f}", bounds(intervals["f1"])],
        ["log loss", f"{scores['log_loss']:.4f}", bounds(intervals["log_loss"])],
        [
            "ROC AUC",
            NOT_DEFINED if "roc_auc" in undefined else f"{scores['roc_auc']:.4f}",
            bounds(intervals["roc_auc"]),
        ],
        ["calibration error", f"{scores['calibration_error']:.4f}", NOT_DEFINED],
    ]
    header = ("measure", "value", f"{level(found['confidence'])} interval")
    test = counted(found["pictures"], "test picture", "test pictures")
    return CardPart(
        "Figures",
        (f"On {test}, which chose nothing.", *_views(found)),
        tables=(
            make_table("All classes together", header, rows),
            figures_by_class(name, found),
        ),
    )


def _deciding(name: str, decided: Mapping[str, Any]) -> list[CardPart]:
    """Nothing where that was measured of another model, the best one."""
    if decided["model"] != name:
        return []
    said = (say(decided) for say in (say_coverage, say_rejection, say_sets))
    return [CardPart("Deciding alone", tuple(filter(None, said)))]


def _views(found: Mapping[str, Any]) -> tuple[str, ...]:
    if found["tta"] == 1:
        return ()
    return ("Each answer is the mean of that for a picture and that for its mirror image.",)


def figures_by_class(name: str, found: Mapping[str, Any]) -> ShownTable:
    """Recall, precision and F1 of each class.

    Args:
        name: of the model.
        found: of ``metrics/evaluate/details.json``.
    """
    rows: list[list[object]] = []
    for class_name, scores in found["models"][name]["report"]["classes"].items():
        if not scores["support"]:
            rows.append([class_name, 0, *[NOT_DEFINED] * 3])
            continue
        recall, precision = scores["recall_interval"], scores["precision_interval"]
        rows.append(
            [
                class_name,
                scores["support"],
                (percent(scores["recall"]), interval(*recall)),
                (percent(scores["precision"]), interval(*precision)) if precision else NOT_DEFINED,
                f"{scores['f1']:.4f}",
            ]
        )
    header = ("class", "test pictures", "recall", "precision", "F1")
    caption = f"Each class, by {name}, with {level(found['confidence'])} intervals"
    return make_table(caption, header, rows)


def _making(name: str, judged: Judged, made: Made) -> CardPart:
    names = _SECTIONS.get(name, tuple(made.sections))
    settings = [
        [f"{section}.{key}", value]
        for section in names
        for key, value in made.sections[section].model_dump().items()
        if key not in _PATHS
    ]
    hashes, files = (list(made.exported[key].items()) for key in ("hashes", "files"))
    machine = [line.partition(": ")[::2] for line in judged.machine]
    return CardPart(
        "How it was made",
        (
            "By one DVC pipeline: the same pictures, parameters and machine give the same bytes. "
            "dvc.lock has the hashes of everything between the source and this card.",
        ),
        tables=(
            make_table(
                "What it was made from", ("file", "MD5, as in dvc.lock"), hashes, words=(1,)
            ),
            make_table(
                "Exported files that predict and serve open", ("file", "SHA-256"), files, words=(1,)
            ),
            make_table("Parameters", ("key", "value"), _as_texts(settings), words=(1,)),
            make_table("Machine and libraries", ("what", "value"), machine, words=(1,)),
        ),
    )


def _as_texts(rows: Sequence[Sequence[object]]) -> list[list[str]]:
    """Values as params.yaml has them: no separators in numbers."""
    return [[str(cell) for cell in row] for row in rows]
