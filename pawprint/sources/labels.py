"""Labels pictures by the folders that they lie in. Pure functions of names and sizes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field

from pawprint.runner.errors import LayoutError
from pawprint.sources.forms import PLAIN, bare, is_derived, share_names
from pawprint.sources.mixtures import refuse_mixtures
from pawprint.sources.names import quote
from pawprint.sources.splits import read_split_name
from pawprint.sources.suspects import UNLABELLED, refuse_suspects
from pawprint.sources.tree import (
    Digest,
    Folders,
    FoundFile,
    Label,
    find_copied,
    find_division,
    find_twins,
    group,
    has_classes,
    is_copy,
    label_by_folder,
    label_by_prefix,
    names_of,
    where,
)

# A folder within val or test that is no class
WRAPPERS = PLAIN | {"all", "data", "dataset", "unclassified", "unknown"} | UNLABELLED


def _plain_split(folder: str) -> str:
    found = read_split_name(folder)
    return found.split if found and not found.rest else ""


def _wraps(folder: str, outer: list[FoundFile]) -> bool:
    """Whether a folder within val or test is no class, by its name."""
    again = folder in outer[0].parts[: outer[0].depth]
    return again or bare(folder) in WRAPPERS or read_split_name(folder) is not None


def _classes(labels: list[Label]) -> set[str]:
    return {class_name for _, _, class_name, _ in labels}


@dataclass
class LabelReader:
    """Labels the files of one source, and keeps what it sets aside.

    Attributes:
        place: what the files belong to, for messages.
        digest: reads a file, to tell copies from others of its name and size; None: neither.
        aside: folder → number of pictures in it that are in no class.
        warnings: lines about folders that are read as classes, and may be none.
        notes: other lines for the user.
    """

    place: str
    digest: Digest | None = None
    aside: Counter[str] = field(default_factory=Counter)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def read(self, files: list[FoundFile]) -> list[Label]:
        """Labels what can be labelled; nothing, if that is not clear.

        Raises:
            LayoutError: two readings fit, or a folder has no place in the one that does.
        """
        files = self._step_in(files)
        _, folders = group(files)
        if division := find_division(folders):
            return self._read_division(division, folders)
        if self._has_splits_only(folders):
            return []
        self._refuse_unclear_splits(folders)
        return self._read_undivided(files, "")

    # A division: folders of splits, with folders of classes in them

    def _read_division(self, division: dict[str, str], folders: Folders) -> list[Label]:
        parts, train = self._pick(division, folders)
        trained, inner = self._read_train(train)
        classes = _classes(trained)
        if not trained:
            return []
        for split, files in inner.items():
            if split not in parts:
                parts[split] = files
            elif is_copy(files, parts[split], self.digest):
                self._note_copy(files)
            else:
                raise LayoutError(
                    f"{self.place}: expected one folder {split}, found {where(files)!r} and "
                    f"{where(parts[split])!r} with other pictures: remove one"
                )
        labels = {split: self._read_like(files, classes, split) for split, files in parts.items()}
        labels = {split: found for split, found in labels.items() if found}
        if not labels:
            return [(index, "", class_name, name) for index, _, class_name, name in trained]
        for split, found in sorted(labels.items(), reverse=True):
            self._note_lacking(split, classes - _classes(found))
        return [*trained, *(label for found in labels.values() for label in found)]

    def _pick(self, division: dict[str, str], folders: Folders) -> tuple[Folders, list[FoundFile]]:
        """The files of val and test, by these names, and those of train; sets aside the others.

        Of several folders of one split, those without classes are set aside.
        """
        self._set_aside_rest(folders, division)
        by_split: dict[str, list[str]] = defaultdict(list)
        for name, split in division.items():
            by_split[split].append(name)
        picked: Folders = {}
        for split, names in by_split.items():
            labelled = [name for name in names if has_classes(folders[name], 1)]
            kept = labelled or names[:1]
            if len(kept) > 1:
                raise LayoutError(
                    f"{self.place}: expected one folder train, and one val or test or both, found "
                    f"the folders {quote(sorted(division))}, of which {quote(sorted(kept))} mean "
                    f"{split}: rename, merge or remove some"
                )
            for name in sorted(set(names) - set(kept)):
                self._note_unlabelled(folders[name])
            picked[split] = folders[kept[0]]
        return picked, picked.pop("train")

    def _set_aside_rest(self, folders: Folders, division: Collection[str]) -> None:
        for name in sorted(folders.keys() - set(division)):
            place = where(folders[name])
            self.aside[place] += len(folders[name])
            self.notes.append(
                f"set aside: {place!r} ({len(folders[name])} pictures) is none of train, val, test"
            )

    def _read_train(self, files: list[FoundFile]) -> tuple[list[Label], Folders]:
        """The labels of train, and the other splits where it holds a division itself."""
        files = self._step_in(files)
        _, folders = group(files)
        inner: Folders = {}
        if division := find_division(folders):
            inner, files = self._pick(division, folders)
        return self._read_undivided(files, "train"), inner

    def _read_like(self, files: list[FoundFile], classes: set[str], split: str) -> list[Label]:
        """Labels val or test by the classes of train; what lies in no class is unlabelled."""
        whole = files
        own, folders = group(self._without_copies(files))
        while len(folders) == 1 and not folders.keys() & classes:
            ((name, files),) = folders.items()
            if not (_wraps(name, whole) or group(files)[1]):
                break
            own, folders = group(self._without_copies(files))
        if unknown := sorted(folders.keys() - classes):
            raise LayoutError(
                f"{self.place}: folder {where(whole)}: expected only the classes of train "
                f"({quote(sorted(classes))}), found also {quote(unknown)}: rename or remove these "
                "folders"
            )
        if folders:
            self._check_subfolders(folders)
            return label_by_folder(folders, split)
        labels = label_by_prefix(own, split, minimum=1)
        if labels and _classes(labels) <= classes:
            return labels
        self._note_unlabelled(whole)
        return []

    def _has_splits_only(self, folders: Folders) -> bool:
        """Whether all folders are named after splits, but hold no classes."""
        named = [_plain_split(name) for name in folders]
        if len(set(named)) < 2 or not all(named):
            return False
        if len(set(named)) < len(named) or "train" not in named:
            raise LayoutError(
                f"{self.place}: expected one folder train, and one val or test or both, "
                f"found the folders {quote(sorted(folders))}: rename or remove some"
            )
        return True

    def _refuse_unclear_splits(self, folders: Folders) -> None:
        """Refuses a split beside folders that may be classes as well."""
        others = sorted(name for name in folders if not _plain_split(name))
        flat = [name for name in others if len(group(folders[name])[1]) < 2]
        unclear = []
        for name in sorted(folders.keys() - set(others)):
            if _plain_split(name) == "train":
                if others and len(flat) == len(others) and has_classes(folders[name], 2):
                    unclear.append(name)
            elif len(others) >= 2 and name.casefold() != "valid":  # valid, invalid and unsure
                unclear.append(name)
        if unclear:
            raise LayoutError(
                f"{self.place}: expected folders of classes, or train beside val or test with such "
                f"folders in them, found {quote(unclear)} beside {quote(others)}: rename what is a "
                f"class (as {'class_' + unclear[0]!r}), and move elsewhere what is none"
            )

    # An undivided set: folders of classes, or prefixes

    def _read_undivided(self, files: list[FoundFile], split: str) -> list[Label]:
        """Labels a set by its class folders or, where there are none, by prefixes."""
        own, folders = group(self._step_in(files))
        if len(folders) < 2:
            return label_by_prefix(own, split)
        refuse_suspects(folders, self.place)
        self.warnings += refuse_mixtures(folders, self.place)
        if not split and (labels := self._read_divided_classes(folders)):
            return labels
        self._check_subfolders(folders)
        return label_by_folder(folders, split)

    def _read_divided_classes(self, folders: Folders) -> list[Label]:
        """Labels `cat/train/1.jpg`; nothing, if no class is divided so."""
        inner = {name: group(files) for name, files in folders.items()}
        divisions = {name: _splits_within(name, subs) for name, (_, subs) in inner.items()}
        divided = [name for name, found in divisions.items() if len(set(found.values())) > 1]
        if not any("train" in divisions[name].values() for name in divided):
            return []
        stray = sorted(
            name
            for name, found in divisions.items()
            if inner[name][0] or "train" not in found.values()
        )
        doubled = sorted(n for n, f in divisions.items() if len(set(f.values())) < len(f))
        if stray or doubled:
            raise LayoutError(
                f"{self.place}: expected one folder train, and one val or test or both, in the "
                f"folder of each class, as some have them; found {quote(stray or doubled)} with "
                f"{'pictures outside of them' if stray else 'several for one split'}: move them, "
                "or undo the division"
            )
        labels = []
        for class_name, found in divisions.items():
            self._set_aside_rest(inner[class_name][1], found)
            for name, split in found.items():
                labels += label_by_folder({class_name: inner[class_name][1][name]}, split)
        for split in ("val", "test"):
            having = {name for _, at, name, _ in labels if at == split}
            self._note_lacking(split, folders.keys() - having if having else set())
        return labels

    def _check_subfolders(self, folders: Folders) -> None:
        """Refuses subfolders that hold the same pictures in another form; notes all others."""
        counts: dict[str, Counter[str]] = defaultdict(Counter)  # subfolder → class → pictures
        mirroring = set()  # subfolders with the names of the pictures beside them
        for class_name, files in folders.items():
            own, subs = group(files)
            if own or len(subs) > 1:
                for name, found in subs.items():
                    counts[name.casefold()][class_name] += len(found)
                    if own and share_names(names_of(found), names_of(own)):
                        mirroring.add(name.casefold())
        shown = [f"{name!r} {counts[name].total()}" for name in sorted(counts)]
        listed = ", ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")
        recurring = {
            name: found for name, found in counts.items() if len(found) > 1 or name in mirroring
        }
        if derived := sorted(name for name in recurring if is_derived(name)):
            classes = sorted({name for sub in derived for name in recurring[sub]})
            raise LayoutError(
                f"{self.place}: expected only pictures of its class in each folder, found in "
                f"{quote(classes)} subfolders that seem to hold them in other forms ({listed} "
                f"pictures): remove {quote(derived)}, or rename what is pictures of the class too"
            )
        if counts:
            classes = sorted({name for found in counts.values() for name in found})
            self.notes.append(
                f"subfolders: {listed} pictures, in {quote(classes)}: each picture is of the class "
                "of the outer folder"
                + ("; if the inner folders are the classes, swap them" if recurring else "")
            )

    # Wrappers and copies

    def _step_in(self, files: list[FoundFile]) -> list[FoundFile]:
        """Steps into the only folder, as long as there is one and no label in what is beside it."""
        files = self._without_copies(files)
        own, folders = group(files)
        while len(folders) == 1 and not label_by_prefix(own, ""):
            (files,) = folders.values()
            files = self._without_copies(files)
            own, folders = group(files)
        return files

    def _without_copies(self, files: list[FoundFile]) -> list[FoundFile]:
        """Leaves out folders that hold the whole set once more."""
        _, folders = group(files)
        if len(folders) < 2:
            return files
        gone = find_twins(folders, self.digest)
        for name in gone:
            self._note_copy(folders.pop(name))
        for name in sorted(folders, reverse=True):
            copied = find_copied(name, folders)
            if copied is None:
                continue
            again, beside = copied
            originals = [file for found in beside.values() for file in found]
            if not is_copy(again, originals, self.digest):
                raise LayoutError(
                    f"{self.place}: expected each class once, found {quote(sorted(beside))} beside "
                    f"{where(folders[name])!r}, which has such folders again with other pictures: "
                    "move it elsewhere or, if it is a split, move the others into a folder train"
                )
            self._note_copy(folders.pop(name))
            gone.append(name)
        if gone:
            files = [
                f for f in files if len(f.parts) == f.depth + 1 or f.parts[f.depth] not in gone
            ]
        return files

    # Notes

    def _note_unlabelled(self, files: list[FoundFile]) -> None:
        self.notes.append(
            f"set aside: {where(files)!r} ({len(files)} pictures) has no folders of classes"
        )

    def _note_lacking(self, split: str, lacking: set[str]) -> None:
        if lacking:
            self.notes.append(f"{split} has no pictures of {quote(sorted(lacking))}")

    def _note_copy(self, files: list[FoundFile]) -> None:
        self.aside[where(files)] += len(files)
        self.notes.append(
            f"set aside: {where(files)!r} ({len(files)} pictures) holds the set once more"
        )


def _splits_within(class_name: str, subs: Folders) -> dict[str, str]:
    """folder → split, of the folders in that of a class: `train`, or `cat_train`."""
    own = read_split_name(f"train {class_name}")
    allowed = ((), own.rest if own else ())
    named = {name: found for name in subs if (found := read_split_name(name))}
    return {name: found.split for name, found in named.items() if found.rest in allowed}
