"""How early stage suspects lists labels that were made wrong on purpose.

    python -m bench.suspects --shares 0 0.01 0.02 0.05 0.1 --seeds 5

Run it where ``dvc repro train_head crossval`` has run: pixels and features are read, nothing is
written. For each share of labels and each seed, other labels are drawn for pictures of all splits,
and the heads of stage crossval are trained again. The head that judges test is trained on train, as
in stage train_head, but its epoch is chosen on val and test together. How unlike the others a
picture is does not depend on labels, and is measured once. The last two columns are of heads on all
of train, and on train without the pictures that are listed first, by the labels as they came.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
from tqdm import tqdm

from pawprint.choosing.folds import assign_folds
from pawprint.choosing.pictures import CHOOSING_SPLITS, group_pictures
from pawprint.data.manifest import read_manifest
from pawprint.evaluation.markdown import markdown_table
from pawprint.evaluation.metrics import picture_losses
from pawprint.networks.runtime import start_engine
from pawprint.runner.params import Params
from pawprint.runner.params_file import load_params
from pawprint.storage.shards import ShardedArray
from pawprint.suspects.copies import find_conflicts
from pawprint.suspects.labels import doubt_labels
from pawprint.suspects.pictures import JudgedPictures, join_pictures
from pawprint.suspects.ranking import rank_suspects
from pawprint.suspects.reasons import Reason
from pawprint.suspects.strangers import find_strangers, measure_pictures
from pawprint.unlikeness.likeness import Likeness

EARLY = 0.03  # of all pictures: where wrong labels should stand
HEADER = (
    *("labels made wrong", "estimated", "among the first 3 %"),
    *("the same, always in turn", "of the first 50, as in turn"),
    *("log loss on test", "without the first 3 %"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shares", type=float, nargs="+", default=[0, 0.01, 0.02, 0.05, 0.1])
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    params, processed = load_params(Path("params.yaml")), Path("data/processed")
    start_engine("tensorflow", params.runtime.threads)
    from pawprint.suspects.judging import judge_test_pictures

    head, pooled, manifest = (
        Path("models/head.keras"),
        Path("data/features/pooled"),
        Path("data/split.csv"),
    )
    features, probs = judge_test_pictures(processed, head, "float32", params.suspects.batch_size)
    table = Path("metrics/crossval/predictions.csv")
    judged = join_pictures(processed, pooled, manifest, table, features, probs)
    raw = np.concatenate([*map(_read_plain, (pooled / s for s in CHOOSING_SPLITS)), features])
    group_of = group_pictures(read_manifest(manifest), params.split)
    groups = [group_of[path] for path in judged.paths]
    distances, likeness = measure_pictures(judged)
    strangers = find_strangers(distances, params.suspects.unlike)
    rows = []
    for share in options.shares:
        found = []
        for seed in tqdm(range(options.seeds), desc=f"{share:.0%} wrong", unit="seed"):
            found.append(measure(judged, raw, groups, strangers, likeness, params, share, seed))
        wrong = round(share * len(judged))
        rows.append([f"{wrong} ({share:.0%})", *map(_spread, zip(*found, strict=True))])
    print(f"{len(judged)} pictures, {options.seeds} seeds; least, median, greatest\n")
    print(markdown_table(HEADER, rows))


def _spread(values: Sequence[float]) -> str:
    return f"{min(values):g}, {median(values):g}, {max(values):g}"


def _read_plain(directory: Path) -> np.ndarray:
    array = ShardedArray(directory)
    return np.concatenate([batch[:, 0] for batch in array.batches(1024)])


def measure(
    judged: JudgedPictures,
    raw: np.ndarray,
    groups: Sequence[str],
    strangers: Sequence[Reason],
    likeness: Likeness,
    params: Params,
    share: float,
    seed: int,
) -> tuple[float, ...]:
    """The figures of a row of the table, without the first.

    Args:
        judged: n pictures with the labels that they have.
        raw: float32 [n, d], their features.
        groups: of each, the name of what belongs together.
        strangers: the pictures that are unlike the others.
        likeness: of what pictures are like.
        params: all of them.
        share: of the labels that are made wrong.
        seed: which ones, and of the folds and the heads.
    """
    rng, count = np.random.default_rng([seed, 1]), len(judged)
    wrong = rng.permutation(count)[: round(share * count)]
    labels, classes = judged.labels.copy(), len(judged.class_names)
    labels[wrong] = (labels[wrong] + rng.integers(1, classes, len(wrong))) % classes
    truth = judged.labels
    judged = judge_again(replace(judged, labels=labels), raw, groups, params, seed)
    doubted = doubt_labels(judged)
    conflicts = find_conflicts(judged, likeness, params.suspects.similarity)
    order = [s.row for s in rank_suspects(doubted, conflicts, strangers)]
    in_turn = [s.row for s in rank_suspects(replace(doubted, expected=0), conflicts, strangers)]
    early = int(EARLY * count)
    found = [
        round(100 * float(np.isin(wrong, rows[:early]).mean()), 1) if share else 0
        for rows in (order, in_turn)
    ]
    test = splits_of(judged) == "test"
    kept = np.setdiff1d(np.flatnonzero(splits_of(judged) == "train"), order[:early])
    losses = [
        round(float(picture_losses(truth[test], probs).mean()), 4)
        for probs in (judged.probs[test], judge_test(judged, raw, kept, params, seed))
    ]
    return (doubted.expected, *found, len(set(order[:50]) & set(in_turn[:50])), *losses)


def splits_of(judged: JudgedPictures) -> np.ndarray:
    """The split of each picture, str [n]."""
    return np.array([row.split for row in judged.rows])


def judge_again(
    judged: JudgedPictures, raw: np.ndarray, groups: Sequence[str], params: Params, seed: int
) -> JudgedPictures:
    """The same pictures with other labels, judged by heads that were trained on these."""
    from pawprint.choosing.crossval import make_tasks
    from pawprint.choosing.heads import train_heads

    names, learned = judged.class_names, np.flatnonzero(judged.is_learned)
    head = params.head.model_copy(update={"seed": seed})
    crossval = params.crossval.model_copy(update={"seed": seed})
    labels, own_groups = judged.labels[learned], [groups[row] for row in learned.tolist()]
    folds, probs = judged.folds.copy(), np.empty_like(judged.probs)
    folds[learned] = assign_folds(labels, own_groups, crossval, len(names))
    tasks = make_tasks(labels, folds[learned], head, names)
    all_said = train_heads([raw[learned]], labels, len(names), tasks, follow=_ignore)
    for task, said in zip(tasks, all_said, strict=True):
        probs[learned[task.held_out]] = said.probs
    train = np.flatnonzero(splits_of(judged) == "train")
    probs[splits_of(judged) == "test"] = judge_test(judged, raw, train, params, seed)
    return replace(judged, folds=folds, probs=probs)


def judge_test(
    judged: JudgedPictures, raw: np.ndarray, train: np.ndarray, params: Params, seed: int
) -> np.ndarray:
    """What a head that was trained on some rows says of the pictures of test, float32 [m, c]."""
    from pawprint.choosing.heads import HeadTask, train_heads

    others = np.flatnonzero(splits_of(judged) != "train")
    task = HeadTask(train, others, params.head.model_copy(update={"seed": seed}), (0,))
    classes = len(judged.class_names)
    (said,) = train_heads([raw], judged.labels, classes, [task], follow=_ignore)
    return said.probs[splits_of(judged)[others] == "test"]


def _ignore(epoch: int) -> None:
    """Instead of a progress bar."""


if __name__ == "__main__":
    main()
