"""What models say of pictures that they have not seen, and what is odd → metrics/suspects.csv."""

from pathlib import Path

from pawprint.choosing.pictures import group_pictures
from pawprint.data.manifest import read_manifest
from pawprint.networks.runtime import start_engine
from pawprint.runner.params import Params
from pawprint.runner.stage import run_stage
from pawprint.storage.shards import ShardedArray
from pawprint.suspects.copies import find_conflicts
from pawprint.suspects.facts import collect_facts, list_properties
from pawprint.suspects.labels import doubt_labels
from pawprint.suspects.pictures import join_pictures
from pawprint.suspects.quality import find_bad_pictures
from pawprint.suspects.ranking import rank_suspects
from pawprint.suspects.shortcuts import find_shortcuts
from pawprint.suspects.strangers import find_strangers, measure_pictures
from pawprint.suspects.tables import write_suspects
from pawprint.suspects.words import describe_suspects


def main(params: Params) -> None:
    config, processed, manifest = params.suspects, Path("data/processed"), Path("data/split.csv")
    start_engine(params.runtime.engine, params.runtime.threads)
    from pawprint.suspects.judging import judge_test_pictures

    head, precision = Path("models/head.keras"), params.features.precision
    features, probs = judge_test_pictures(processed, head, precision, config.batch_size)
    pooled, crossval = Path("data/features/pooled"), Path("metrics/crossval/predictions.csv")
    judged = join_pictures(processed, pooled, manifest, crossval, features, probs)
    facts = collect_facts(processed, Path("data/report/pictures.csv"), judged)
    distances, likeness = measure_pictures(judged)

    doubted = doubt_labels(judged)
    conflicts = find_conflicts(judged, likeness, config.similarity)
    strangers = find_strangers(distances, config.unlike)
    bad, remarks = find_bad_pictures(facts, ShardedArray(processed / "test").shape[1], config)
    suspects = rank_suspects(doubted, conflicts, [*strangers, *bad])
    group_of = group_pictures(read_manifest(manifest), params.split)
    groups, properties = [group_of[path] for path in judged.paths], list_properties(facts, judged)
    shortcuts = find_shortcuts(properties, judged, groups, params.crossval, config.shortcut)

    listed = suspects[: config.most]
    write_suspects(Path("metrics"), judged, listed, shortcuts, config.neighbours)
    print(*describe_suspects(suspects, config.most, doubted, remarks, shortcuts), sep="\n")
    print("in their order: metrics/suspects.csv; what to do with them: docs/suspects.md")


if __name__ == "__main__":
    run_stage(main)
