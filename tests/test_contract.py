# covers: C1, C5, C7, B8, R17
"""What dvc.yaml, params.yaml and the requirements promise about the code, checked against it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
STAGES = list(PIPELINE)
TRACKS_ALL = "gradcam"  # the last stage watches all of params.yaml: unknown sections end there


def own_imports(path: Path) -> set[Path]:
    """The files of pawprint/ and stages/ that a file imports, within functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write the whole name"
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    own = [
        ROOT / name.replace(".", "/") for name in names if name.startswith(("pawprint.", "stages."))
    ]
    files = [p.with_suffix(".py") for p in own] + [p / "__init__.py" for p in own]
    return {file for file in files if file.is_file()} - {path}


def all_imports(path: Path) -> set[Path]:
    """The same, directly or not."""
    found: set[Path] = set()
    pending = [path]
    while pending:
        new = own_imports(pending.pop()) - found
        found |= new
        pending += new
    return found


def relative(paths: set[Path]) -> set[str]:
    return {path.relative_to(ROOT).as_posix() for path in paths}


def script(stage: str) -> Path:
    return ROOT / "stages" / f"{stage}.py"


def outputs(stage: str) -> set[str]:
    """Paths of a stage's outs, metrics and plots."""
    entries = [e for kind in ("outs", "metrics", "plots") for e in PIPELINE[stage].get(kind, [])]
    return {path for entry in entries for path in ([entry] if isinstance(entry, str) else entry)}


def package_graph() -> dict[str, set[str]]:
    files = {*(ROOT / "pawprint").rglob("*.py"), *(ROOT / "stages").glob("*.py")}
    return {file.relative_to(ROOT).as_posix(): relative(own_imports(file)) for file in files}


def run_python(code: str, directory: Path) -> subprocess.CompletedProcess[str]:
    path = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
    return subprocess.run(
        [sys.executable, "-c", path + code],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_stage_is_script_is_command():
    scripts = {path.stem for path in (ROOT / "stages").glob("*.py")} - {"__init__"}
    assert set(STAGES) == scripts
    assert {name: stage["cmd"] for name, stage in PIPELINE.items()} == {
        name: f"python -m stages.{name}" for name in STAGES
    }


def modules(stage: str) -> set[str]:
    """The modules among a stage's deps, those of packages included."""
    found = set()
    for dep in PIPELINE[stage]["deps"]:
        if is_package(dep):
            found |= relative(set((ROOT / dep).rglob("*.py")))
        elif dep.endswith(".py"):
            found.add(dep)
    return found


def is_package(dep: str) -> bool:
    return (ROOT / dep / "__init__.py").is_file()


def needed(stage: str) -> set[str]:
    """What a stage runs: all that it imports, and the packages which Python runs before that."""
    files = {script(stage), *all_imports(script(stage))}
    folders = {parent for file in files for parent in file.parents if ROOT in parent.parents}
    return relative(files | {folder / "__init__.py" for folder in folders})


def is_docstring(file: Path) -> bool:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return ast.get_docstring(tree) is not None and len(tree.body) == 1


@pytest.mark.parametrize("stage", STAGES)
def test_deps_are_the_modules_that_a_stage_imports(stage):
    """A package may stand for its modules where a stage imports all of them."""
    declared, imported = (
        {name for name in names if not is_docstring(ROOT / name)}
        for names in (modules(stage), needed(stage))
    )
    assert declared - imported == set(), f"{stage}: these deps are never imported"
    assert imported - declared == set(), f"{stage}: these modules are missing in its deps"


def test_other_deps_are_outputs_of_other_stages_or_named_by_params():
    for stage in STAGES:
        made = {path for other in STAGES if other != stage for path in outputs(other)}
        for dep in PIPELINE[stage]["deps"]:
            inside_output = any(dep == path or dep.startswith(f"{path}/") for path in made)
            is_code = dep.endswith(".py") or is_package(dep)
            assert is_code or dep.startswith("${") or inside_output, (
                f"{stage}: no stage writes {dep}"
            )


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != TRACKS_ALL])
def test_params_are_the_sections_that_a_stage_reads(stage):
    """Or single keys, where the script reads no others of a section."""
    tree = ast.parse(script(stage).read_text(encoding="utf-8"))
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    inner = {id(node.value) for node in nodes}
    chains = [ast.unparse(node).split(".") for node in nodes if id(node) not in inner]
    declared, read = set(PIPELINE[stage]["params"]), set()
    for _, section, *keys in (chain for chain in chains if chain[0] == "params"):
        read |= declared & {section, ".".join([section, *keys[:1]])} or {section}
    assert declared == read


def test_one_stage_watches_the_whole_of_params():
    assert PIPELINE[TRACKS_ALL]["params"] == [{"params.yaml": None}]


def test_metrics_are_kept_by_git():
    for stage in STAGES:
        for entry in PIPELINE[stage].get("metrics", []):
            assert isinstance(entry, dict), f"{stage}: {entry}: expected cache: false"
            assert all(options == {"cache": False} for options in entry.values()), entry


def test_imports_have_no_cycle():
    cycle: list[str] = []
    try:
        TopologicalSorter(package_graph()).prepare()
    except CycleError as error:
        cycle = list(reversed(error.args[1]))
    assert cycle == []


def test_lowest_modules_import_nothing_above_them():
    graph = package_graph()
    assert graph["pawprint/core/errors.py"] == set()
    assert graph["pawprint/core/files.py"] <= {"pawprint/core/errors.py"}


def test_package_never_imports_a_stage_nor_a_stage_another():
    for file, imported in package_graph().items():
        found = {path for path in imported if path.startswith("stages/")}
        assert found == set(), f"{file} imports {found}"


START = """
from importlib import import_module
from pawprint.core.stage import run_stage
main = import_module("stages.{stage}").main
heavy = {{"tensorflow", "keras", "torch"}} & set(sys.modules)
assert not heavy, f"importing imports {{heavy}}"
try:
    run_stage(main)
finally:
    heavy = {{"tensorflow", "keras", "torch"}} & set(sys.modules)
    assert not heavy, f"a wrong key imports {{heavy}}"
"""


@pytest.mark.parametrize("stage", STAGES)
def test_wrong_key_stops_each_stage_before_tensorflow(stage, tmp_path):
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    (tmp_path / "params.yaml").write_text(text + "\nlearning_rat:\n  lr: 1\n", encoding="utf-8")
    done = run_python(START.format(stage=stage), tmp_path)
    assert done.returncode == 1
    assert re.fullmatch(r"error: params\.yaml: learning_rat: unknown key; [^\n]*\n", done.stderr)
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


def test_every_parameter_is_read():
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    code = "\n".join((ROOT / file).read_text(encoding="utf-8") for file in package_graph())
    unread = [
        f"{section}.{key}"
        for section, keys in params.items()
        for key in keys
        if not re.search(rf"\.{key}\b", code)
    ]
    assert unread == []


@pytest.mark.parametrize("name", ["requirements", "requirements-dev"])
def test_requirements_are_pinned_by_version_and_hash(name):
    wanted = (ROOT / f"{name}.in").read_text(encoding="utf-8")
    locked = (ROOT / f"{name}.txt").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in locked.splitlines() if line and not line.lstrip().startswith("#")]
    pins: dict[str, Any] = {}
    for line in lines:
        match = re.match(r"([\w.-]+)(?:\[[\w,-]+\])?==\S+", line)
        assert match, f"{name}.txt: not pinned: {line[:80]}"
        assert " --hash=sha256:" in line, f"{name}.txt: no hash: {line[:80]}"
        pins[normalized(match[1])] = line
    asked = {line.split(";")[0].strip() for line in wanted.splitlines() if line.strip()}
    names = {re.split(r"[\[<>=~! ]", line)[0] for line in asked if not line.startswith(("-", "#"))}
    assert {normalized(name) for name in names} - set(pins) == set()


@pytest.mark.parametrize("name", ["requirements", "requirements-dev"])
@pytest.mark.parametrize("suffix", ["in", "txt"])
def test_requirements_name_no_registry(name, suffix):
    text = (ROOT / f"{name}.{suffix}").read_text(encoding="utf-8")
    assert re.findall(r"https?://\S+|--\S*(?:index|links)\S*.*", text) == []


def normalized(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


MACHINE_PATH = re.compile(
    r"(?<![\w.~$%}\])*/-])/(?:home|Users|root|work|mnt|tmp)/\w+|\b[A-Z]:\\+Users\b"
)
UNFINISHED = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME)\b")


def test_tracked_files_name_no_machine_and_nothing_unfinished():
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("not a git checkout")
    found = []
    for name in filter(None, listing.stdout.split("\0")):
        path = ROOT / name
        if not path.is_file():
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        for rule in (MACHINE_PATH, UNFINISHED):
            found += [f"{name}: {hit}" for hit in rule.findall(text)]
    assert found == []


@pytest.mark.parametrize(
    ("text", "found"),
    [("see /home" + "/ann/data", True), ('"/tmp' + '/x"', True), ("a/home/ann", False)],
)
def test_machine_paths_are_recognized(text, found):
    assert bool(MACHINE_PATH.search(text)) == found
