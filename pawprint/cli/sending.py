"""Answers about pictures from a Ray cluster: files go out, rankings come back."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pawprint.answers.decoders import Decoders, prepare_decoders
from pawprint.answers.orders import DecodingLimits, Order
from pawprint.cli.answering import BATCH_SIZE, answer_batch
from pawprint.cli.answers import Answer
from pawprint.cli.reading import Reader, Source, read_file
from pawprint.cluster.engine import Caller, Cluster
from pawprint.deciding.rule import Rule
from pawprint.inference.classifier import Classifier, ModelCard
from pawprint.inference.exported import CARD, GRAPH, TAIL, WEIGHTS
from pawprint.networks.predictor import average_views
from pawprint.runner.errors import ImageError, ImageFault, PawprintError
from pawprint.runner.journal import ShardTask, Tool
from pawprint.runner.params import ComputeParams

OVERDUE_S = 60.0  # as compute.timeout_s
_STARTS = 6  # of a decoder, each as long as a picture may take, before pictures are handed to it


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


PREDICT = Caller("--ray", "--mixed", "run it again", "leaving --ray away", _tell)

SentFiles = list[
    tuple[Source, bytes | str]
]  # each with its bytes, or with the reason why it has none


@dataclass(frozen=True)
class Asked:
    """What is asked of a model.

    Attributes:
        views: of each picture, see ``average_views``.
        top: classes to name.
        max_pixels: of a picture, if the model's card does not allow fewer.
        rule: by which it decides alone; None: it is not asked.
    """

    views: int
    top: int
    max_pixels: int
    rule: Rule | None


@dataclass(frozen=True)
class RemoteModel:
    """A model in a process of the cluster, and what decodes there."""

    classifier: Classifier
    reader: Reader
    asked: Asked


def predict_elsewhere(
    address: str, mixed: bool, model: Path, card: ModelCard, sources: Sequence[Source], asked: Asked
) -> Iterator[list[Answer]]:
    """Answers of all pictures, in order, some at a time; only a few files are in memory.

    Args:
        address: of the cluster, see ``compute.address``.
        mixed: see ``compute.mixed``.
        model: exported directory, or ``.keras`` file.
        card: of the model.
        sources: what to read.
        asked: of the model.
    """
    compute = ComputeParams(engine="ray", address=address, mixed=mixed, timeout_s=OVERDUE_S)
    exported = [model / name for name in (CARD, GRAPH, WEIGHTS, TAIL)]
    name, files = (model.name, [model]) if model.suffix == ".keras" else ("", exported)
    tool = Tool(tuple(files), partial(_open, name=name, asked=asked))

    def read(batch: Sequence[Source]) -> tuple[SentFiles, None]:
        return [(source, read_file(source, card, asked.max_pixels)) for source in batch], None

    shard_task = ShardTask(read, _answer, _hand_on, len, tool)
    starts = range(0, len(sources), BATCH_SIZE)
    batches = {number: sources[i : i + BATCH_SIZE] for number, i in enumerate(starts)}
    early: dict[int, list[Answer]] = {}  # that came before those in front of them
    coming = 0
    with closing(Cluster(compute, PREDICT)) as cluster:
        for number, _, answers in cluster.run(shard_task, batches, "predict"):
            early[number] = answers
            while coming in early:
                yield early.pop(coming)
                coming += 1
        PREDICT.tell(cluster.describe())


def _open(directory: Path, name: str, asked: Asked) -> RemoteModel:
    prepare_decoders()
    classifier = Classifier.open(directory / name, cores=1)
    limits = DecodingLimits.of_pixels(asked.max_pixels)
    decoders = Decoders(1, limits, classifier.card.image_size)  # they end with this process
    await_start(decoders)
    return RemoteModel(classifier, Reader(decoders, classifier.card, asked.max_pixels), asked)


def await_start(decoders: Decoders) -> None:
    """Wait until decoders work, at no picture's cost: where many start at once, that takes long.

    Raises:
        PawprintError: they do not; pictures would be refused for it.
    """
    for _ in range(_STARTS):
        found = decoders.decode(Order(b"", 1, 1, 1)).result
        if isinstance(found, ImageError) and found.fault is ImageFault.EMPTY:
            return
    raise PawprintError(
        f"--ray: a machine of the cluster could not start its decoder in {_STARTS} tries: "
        f"{found}; it may be too busy: run it again, or leave --ray away"
    )


def _answer(files: SentFiles, model: RemoteModel) -> list[Answer]:
    classifier, asked = model.classifier, model.asked
    predictor = average_views(classifier.judge, asked.views)
    batch = [
        (source, content if isinstance(content, str) else model.reader.decode(content))
        for source, content in files
    ]
    return answer_batch(batch, classifier.card, predictor, asked.top, rule=asked.rule)


def _hand_on(batch: Sequence[Source], _: None, answers: list[Answer]) -> list[Answer]:
    return answers
