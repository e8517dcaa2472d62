"""data/raw/images.zip → data/split.csv: every picture gets its split, once; data/report/."""

from pathlib import Path

from pawprint.cluster.engine import on_cluster
from pawprint.data.decisions import (
    apply_decisions,
    check_decided,
    check_unchanged,
    describe_decided,
    read_decisions,
)
from pawprint.data.groups import read_groups, unite
from pawprint.data.manifest import (
    assign_splits,
    describe_leaks,
    read_archive_index,
    read_archive_sizes,
    summarize,
    write_manifest,
)
from pawprint.inspection.comparisons import Similarities
from pawprint.inspection.data_report import write_data_report, write_facts
from pawprint.inspection.duplicates import group_near_duplicates
from pawprint.inspection.kept import THUMBNAILS, open_kept, write_kept
from pawprint.inspection.remarks import list_remarks
from pawprint.inspection.thumbnails import write_thumbnails
from pawprint.runner.class_counts import check_all_class_weights
from pawprint.runner.files import atomic_directory, move_directory
from pawprint.runner.params import Params
from pawprint.runner.stage import run_stage, unfinished_work
from pawprint.storage.tables import write_json


def main(params: Params) -> None:
    archive, kept = Path("data/raw/images.zip"), Path("data/thumbnails")
    max_pixels, max_value = params.preprocess.max_pixels, params.preprocess.max_value
    pictures = sorted(read_archive_index(archive), key=lambda picture: picture.path)
    class_names = sorted({picture.class_name for picture in pictures})
    check_all_class_weights(params, class_names)
    groups, decided_in = read_groups(params.split, pictures), Path(params.split.decisions)
    decisions = read_decisions(class_names, decided_in)
    with unfinished_work("split", params) as work:
        made, journal = work / "thumbnails", work / "journal"
        old = open_kept(kept, max_pixels, max_value)
        thumbnails = write_thumbnails(
            archive, pictures, max_pixels, made / THUMBNAILS, journal, max_value, old.thumbnails
        )
        similarities = Similarities(old.similarities)
        grouped, links = group_near_duplicates(
            pictures, thumbnails, made / THUMBNAILS, params.split, similarities
        )
        write_kept(made, pictures, thumbnails, similarities, old.thumbnails.rows.recipe)
        move_directory(made, kept)
    together = unite(grouped, groups) if groups else {}
    assigned = assign_splits(grouped, params.split, together)
    decided = apply_decisions(assigned, decisions)
    divided = decided.pictures  # by the labels that came: a decision moves no other picture
    check_decided(assigned, decided, together, decided_in)
    seen = {p.path: look for p, look in zip(pictures, thumbnails, strict=True)}
    thumbnails = [seen[picture.path] for picture in divided]
    remarks = list_remarks(divided, thumbnails, max_value, groups, together)
    write_manifest(Path("data/split.csv"), divided)
    with atomic_directory(Path("data/report")) as report:
        write_data_report(report, divided, thumbnails, links, remarks, groups, decided)
        write_facts(report / "pictures.csv", divided, thumbnails, read_archive_sizes(archive))
    summary = summarize(divided) | ({"groups": len(groups.names)} if groups else {})
    if decided.decided:
        summary |= {"relabelled": decided.counts["relabel"], "dropped": decided.counts["drop"]}
    write_json(Path("metrics/data.json"), summary)
    check_unchanged(decisions, class_names, decided_in)
    print(", ".join(f"{count} {name}" for name, count in summary.items()))
    for line in describe_decided(decided, decided_in):
        print(line)
    remarks += [f"{s}; see data/report/across_splits.csv" for s in describe_leaks(divided)]
    for remark in remarks:
        print(f"warning: {remark}")


if __name__ == "__main__":
    run_stage(main, on_cluster)
