# covers: C1, C5, C7, B8, R17
"""What dvc.yaml, params.yaml and the requirements promise about the code, checked against it."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from dataclasses import asdict
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from pawprint.cli.compare import PLACES
from pawprint.cli.rank import DECODED, FEATURES, MANIFEST, NETWORK, PREDICTIONS, SETTLED
from pawprint.cli.rank import STAGES as RANKED_BY
from pawprint.registry.models import MODELS, TRAINED
from pawprint.review.server import SHOWN
from pawprint.runner.files import file_digest
from pawprint.runner.params import Params, Section
from pawprint.runner.params_file import load_params

ROOT = Path(__file__).parents[1]
DVC_YAML = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
PIPELINE = DVC_YAML["stages"]
STAGES = list(PIPELINE)
TRACKS_ALL = "params"  # watches all of params.yaml: what no other stage reads does not go unnoticed

# Lower layers never import higher ones; folders of one layer never import each other.
LAYERS = (
    {"pawprint/registry"},  # tables of names
    {"pawprint/runner"},  # how a stage runs
    {"pawprint/cluster"},  # where shards are worked on
    {"pawprint/sources", "pawprint/storage", "pawprint/pictures"},
    {"pawprint/versions"},
    {"pawprint/data", "pawprint/backbones", "pawprint/networks", "pawprint/evaluation"},
    {"pawprint/inspection", "pawprint/inference", "pawprint/unlikeness"},
    {
        "pawprint/baseline",
        "pawprint/training",
        "pawprint/transfer",
        "pawprint/export",
        "pawprint/answers",
    },
    {"pawprint/choosing", "pawprint/ensembles"},
    {
        "pawprint/comparison",
        "pawprint/deciding",
        "pawprint/learning_curve",
        "pawprint/suggestions",
        "pawprint/suspects",
    },
    {"pawprint/report", "pawprint/workplaces"},
    {"pawprint/ranking", "pawprint/search"},
    {"pawprint/cli", "pawprint/serving", "stages"},
    {"pawprint/review"},
    {"pawprint"},  # __main__: names the commands
)

# What no stage depends on, since it makes none of the bytes that a stage writes, and why that is so
PLUMBING = {
    "bounds": "refuses files, or hands on their bytes as they are",
    "class_counts": "refuses numbers that do not fit the classes; what fits is not changed",
    "errors": "words for the user; an ImageError hands on words that pictures/images.py chose",
    "files": "moves bytes that others made; its digests are the standard ones",
    "fingerprint": "names the place of unfinished work",
    "lock": "refuses outputs that are out of date; no stage asks it",
    "limits": "ends what costs too much; the stage then stops with the name of it",
    "journal": "calls a function for each shard; what is kept is checked by its digest",
    "machine": "tells what is no function of the inputs: on which machine this is",
    "params": "holds values, which dvc.lock has too; their types are pinned below",
    "params_file": "reads them, as they are written; how numbers are read is pinned below",
    "requirements": "words for the user where packages are missing; nothing runs",
    "processes": "starts and ends processes",
    "schema": "tells editors what params.yaml may hold; no stage imports it",
    "stage": "what comes before and after main",
    "times": "writes down how long a stage took, beside its results",
}


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


def is_plumbing(path: Path) -> bool:
    """Of ``pawprint/runner/``; or of the cluster, which hands on bytes that others made."""
    return path.parent in (ROOT / "pawprint/runner", ROOT / "pawprint/cluster")


def all_imports(path: Path) -> set[Path]:
    """The same, directly or not, without the plumbing and what that imports."""
    found: set[Path] = set()
    pending = [path]
    while pending:
        new = {p for p in own_imports(pending.pop()) if not is_plumbing(p)} - found
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
        timeout=600,
    )


def test_stage_is_script_is_command():
    scripts = {path.stem for path in (ROOT / "stages").glob("*.py")} - {"__init__"}
    assert set(STAGES) == scripts
    assert {name: stage["cmd"] for name, stage in PIPELINE.items()} == {
        name: f"python -m stages.{name}" for name in STAGES
    }


def is_code(dep: str) -> bool:
    return dep.endswith(".py") or (ROOT / dep / "__init__.py").is_file()


def is_docstring(file: Path) -> bool:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return ast.get_docstring(tree) is not None and len(tree.body) == 1


def expected_code(stage: str) -> list[str]:
    """What must stand among a stage's deps: its script, and all that it imports, by folders.

    A folder stands for its modules where the stage imports all of them.
    """
    files = all_imports(script(stage))
    folders = {
        folder
        for folder in {file.parent for file in files}
        if {f for f in folder.glob("*.py") if f.name != "__init__.py"} <= files
        and len(list(folder.glob("*.py"))) > 2
    }
    files = {file for file in files if file.parent not in folders and not is_docstring(file)}
    return [f"stages/{stage}.py", *sorted(relative(files | folders))]


@pytest.mark.parametrize("stage", STAGES)
def test_deps_are_the_modules_that_a_stage_imports(stage):
    declared = [dep for dep in PIPELINE[stage]["deps"] if is_code(dep)]
    expected = expected_code(stage)
    lines = "\n".join(f"      - {dep}" for dep in expected)
    assert declared == expected, f"dvc.yaml: {stage}: its deps of code must be\n{lines}"


def test_every_folder_is_told_by_its_docstring():
    for folder in (ROOT / "pawprint").rglob("__init__.py"):
        assert is_docstring(folder), f"{folder}: expected a docstring, and no code"


def test_plumbing_is_what_the_list_says():
    found = {path.stem for path in (ROOT / "pawprint/runner").glob("*.py")} - {"__init__"}
    assert found == set(PLUMBING)


def test_params_are_read_as_they_are_written(tmp_path):
    """The way in which plumbing, on which no stage depends, could change a result."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    assert load_params(ROOT / "params.yaml").model_dump() == yaml.safe_load(text)
    for written, value in {"1e-05": 0.00001, "5.0e-4": 0.0005, "1": 1.0, ".5": 0.5}.items():
        (tmp_path / "params.yaml").write_text(
            re.sub(r"(?m)^  head_lr: \S+", f"  head_lr: {written}", text), encoding="utf-8"
        )
        found = load_params(tmp_path / "params.yaml").finetune.head_lr
        assert (found, type(found)) == (value, float)


def test_the_section_in_the_model_card_is_written_as_ever():
    """Stage export writes it as JSON: an integer for a real number would be other bytes."""
    assert json.dumps(load_params(ROOT / "params.yaml").augment.model_dump()) == (
        '{"rotation": 15.0, "shift": 0.1, "zoom": 0.1, "flip": true, "brightness": 0.1, '
        '"contrast": 0.2, "saturation": 0.2}'
    )


def test_digests_are_the_standard_ones(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert file_digest(tmp_path / "abc").startswith("ba7816bf8f01cfea")
    assert file_digest(tmp_path / "abc", "md5") == "900150983cd24fb0d6963f7d28e17f72"


def test_other_deps_are_outputs_of_other_stages_or_named_by_params():
    for stage in STAGES:
        made = {path for other in STAGES if other != stage for path in outputs(other)}
        for dep in PIPELINE[stage]["deps"]:
            inside_output = any(dep == path or dep.startswith(f"{path}/") for path in made)
            assert is_code(dep) or dep.startswith("${") or inside_output, (
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


def folder(file: str) -> str:
    return file.rpartition("/")[0]


def test_no_import_goes_up():
    height = {name: i for i, layer in enumerate(LAYERS) for name in layer}
    arrows = {
        (folder(file), folder(imported))
        for file, names in package_graph().items()
        for imported in names
        if folder(file) != folder(imported)
    }
    assert {name for arrow in arrows for name in arrow} <= set(height)
    assert {arrow for arrow in arrows if height[arrow[0]] <= height[arrow[1]]} == set()


START = """
from importlib import import_module
from pawprint.runner.stage import run_stage
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


SECTIONS: dict[str, type[Section]] = {
    name: cast(type[Section], field.annotation) for name, field in Params.model_fields.items()
}


def reads(tree: ast.AST, known: dict[str, set[str]] | None = None) -> set[tuple[str, str]]:
    """(name of a section's type, key) of all reads ``x.key`` where x is known to be a section.

    It is known by an annotation (of an argument, or of a class's field), or as ``params.section``,
    under whatever name; what one function knows, another does not.
    """
    types = {section.__name__ for section in SECTIONS.values()} | {"TrainingParams"}
    if known is None:
        known = {f"params.{name}": {section.__name__} for name, section in SECTIONS.items()}
    known = {name: set(found) for name, found in known.items()}
    inner: list[ast.AST] = []
    own: list[ast.AST] = []
    pending = list(ast.iter_child_nodes(tree))
    while pending:
        node = pending.pop(0)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            inner.append(node)
        else:
            own.append(node)
            pending += ast.iter_child_nodes(node)
    for node in own:
        if isinstance(node, ast.arg | ast.AnnAssign) and isinstance(node.annotation, ast.Name):
            name = node.arg if isinstance(node, ast.arg) else ast.unparse(node.target)
            found = {node.annotation.id} & types
            known[name] = found
            if isinstance(tree, ast.ClassDef):
                known[f"self.{name}"] = found
        elif isinstance(node, ast.arg):
            known[node.arg] = set()
    for node in sorted((n for n in own if isinstance(n, ast.Assign)), key=lambda n: n.lineno):
        target, value = node.targets[0], node.value
        pairs = [(target, value)]
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            pairs = list(zip(target.elts, value.elts, strict=True))
        for left, right in pairs:
            if found := known.get(ast.unparse(right), set()):
                known[ast.unparse(left)] = found
    result = {
        (section, node.attr)
        for node in own
        if isinstance(node, ast.Attribute)
        for section in known.get(ast.unparse(node.value), ())
    }
    return result.union(*(reads(node, known) for node in inner))


def test_every_parameter_is_read():
    """By its section and its key: that another section has a key of that name does not count."""
    found: set[tuple[str, str]] = set()
    for file in set(package_graph()) - {"pawprint/runner/params.py"}:  # which checks them only
        found |= reads(ast.parse((ROOT / file).read_text(encoding="utf-8")))
    unread = [
        f"{name}.{key}"
        for name, section in SECTIONS.items()
        for key in section.model_fields
        if not any((base.__name__, key) in found for base in section.__mro__)
    ]
    assert unread == []


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("def f(params: HeadParams):\n  return params.dropout", {("HeadParams", "dropout")}),
        ("a, b = params.head, 1\na.dropout", {("HeadParams", "dropout")}),
        ("params.gradcam.opacity", {("GradcamParams", "opacity")}),
        ("def f(settings: Other):\n  return settings.dropout", set()),
        (
            "def f(p: HeadParams):\n  return p.seed\ndef g(p: BaselineParams):\n  return p.dropout",
            {("HeadParams", "seed"), ("BaselineParams", "dropout")},
        ),
        ("def f(params: HeadParams):\n  params.dropout = 1", {("HeadParams", "dropout")}),
    ],
)
def test_reads_of_parameters_are_recognized(code, found):
    assert reads(ast.parse(code)) == found


def test_models_of_the_charts_are_those_of_the_table():
    """A further model is a line in the table, and its entries in dvc.yaml.

    DVC's charts are of the models that every run has: it takes a missing file for an error.
    """
    names = [model.name for model in TRAINED]
    stages = [model.stage for model in TRAINED]
    charts = {name: chart for entry in DVC_YAML["plots"] for name, chart in entry.items()}
    confusions = [f"Confusion of {name}" for name in names]
    assert [name for name in charts if name.startswith("Confusion")] == confusions
    for title, chart in charts.items():
        drawn = [*chart["y"], *(chart["x"] if isinstance(chart["x"], dict) else ())]
        found = {re.sub(r"plots/(?:evaluate/\w+/)?(\w+).*", r"\1", path) for path in drawn}
        wanted = set(stages) if title in ("Loss", "Accuracy") else set(names)
        assert found == ({title.rpartition(" ")[2]} if title in confusions else wanted), title
    for model in MODELS:
        made = outputs(model.stage)
        place = model.file if model in TRAINED else str(Path(model.file).parent)
        assert {place, model.figures} <= made
        for stage in ("evaluate", "gradcam", "export"):
            assert place in PIPELINE[stage]["deps"]
        for stage in ("evaluate", "export"):
            assert model.figures in PIPELINE[stage]["deps"]
    assert len({model.colour for model in MODELS}) == len(MODELS)
    templates = {chart["template"] for chart in charts.values()}
    texts = {path.stem: path.read_text("utf-8") for path in (ROOT / ".dvc/plots").iterdir()}
    assert templates == set(texts)
    for name in ("roc", "precision_recall", "reliability"):
        scale = {"domain": names, "range": [model.colour for model in TRAINED]}
        used = re.findall(r'"scale": (\{\s*"domain": \[\s*"[^}]*\})', texts[name])
        assert [json.loads(text) for text in used] == [scale] * len(used) != []
    assert json.loads(texts["training"])["facet"]["column"]["sort"] == stages


def definitions(tree: ast.Module) -> set[str]:
    """Classes and constants that a module makes, without those that it keeps to itself."""
    names = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    assigned = [node for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign)]
    for node in assigned:
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            names |= {part.id for part in ast.walk(target) if isinstance(part, ast.Name)}
    return {name for name in names if not name.startswith("_")}


def test_a_name_means_one_thing():
    found: dict[str, list[str]] = {}
    for file in package_graph():
        for name in definitions(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
            found.setdefault(name, []).append(file)
    assert {name: files for name, files in found.items() if len(files) > 1} == {}


PATHS_BELOW_THE_STAGES = {
    "pawprint/answers/staleness.py: metrics/evaluate/details.json": "what an export may be behind",
    "pawprint/cli/downloads.py: data/download": "default of an option",
    "pawprint/answers/staleness.py: metrics/deciding/service.json": "the same",
    **{
        f"pawprint/cli/compare.py: {path}": "where a revision's results are; a stage of this one"
        for path in asdict(PLACES).values()
    },
    **{
        f"pawprint/cli/learning_curve.py: {path}": "what the command reads, as stage crossval does"
        for path in ("data/processed", "data/features/pooled", "data/split.csv")
    },
    "pawprint/cli/learning_curve.py: plots/learning_curve": "default of an option",
    "pawprint/cli/predict.py: models/export": "default of an option",
    **{
        f"pawprint/cli/search.py: {path}": "what the command reads, as stage crossval does"
        for path in ("data/processed", "data/features/pooled", "data/split.csv")
    },
    **{
        f"pawprint/cli/rank.py: {path}": "what stages leave in a clone"
        for path in (PREDICTIONS, MANIFEST, NETWORK, DECODED, *FEATURES)
    },
    **{
        f"pawprint/review/server.py: {path}": "what the page shows, as stages wrote it"
        for path in map(str, asdict(SHOWN).values())
    },
    "pawprint/cli/suggest.py: data/split.csv": "which pictures have a label already",
    "pawprint/cli/suggest.py: models/export": "default of an option",
    "pawprint/serving/settings.py: models/export": "default of an option",
    "pawprint/runner/params.py: data/source": "the value that says: not set",
    **{f"pawprint/registry/models.py: {model.file}": "the table of models" for model in MODELS},
    "pawprint/registry/models.py: metrics/": "the same, where each model's figures are",
}


def test_no_path_is_hard_coded_below_the_stages():
    """What a stage reads and writes stands in its script."""
    found = set()
    for file in package_graph():
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        if file.startswith("pawprint/"):
            texts = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)]
            paths = [text for text in texts if isinstance(text, str)]
            found |= {
                f"{file}: {path}"
                for path in paths
                if re.fullmatch(r"(data|models|metrics|plots)(/[\w.<>-]*)+", path)
            }
    assert found == set(PATHS_BELOW_THE_STAGES)


def test_what_is_compared_is_what_stages_write():
    assert {PLACES.archive} <= outputs("download")
    assert {PLACES.manifest} <= outputs("split")
    assert {str(Path(PLACES.predictions).parent)} <= outputs("evaluate")
    assert {str(Path(PLACES.crossval).parent)} <= outputs("crossval")


def test_what_is_reviewed_is_what_stages_write():
    assert {str(SHOWN.archive)} <= outputs("download")
    assert {str(SHOWN.manifest)} <= outputs("split")


def test_what_is_ranked_is_what_stages_write():
    made = {stage: outputs(stage) for stage in STAGES}
    assert {DECODED} <= made["preprocess"]
    assert {NETWORK, *FEATURES} <= made["features"]
    assert {str(Path(PREDICTIONS).parent)} <= made["crossval"]
    assert {MANIFEST} <= made[SETTLED]
    assert set(RANKED_BY) <= set(STAGES)
    for stage in RANKED_BY:  # none of them reads the pixels of the test split
        assert not [dep for dep in PIPELINE[stage]["deps"] if re.search(r"processed(/test)?$", dep)]


EXAMPLES = [
    file.removesuffix(".py").replace("/", ".")
    for file in sorted(package_graph())
    if ">>>" in (ROOT / file).read_text(encoding="utf-8")
]


def test_examples_in_docstrings_are_true():
    """In one process: each would import TensorFlow, Keras or DVC anew."""
    done = run_python(
        "import doctest, importlib\n"
        f"for name in {EXAMPLES!r}:\n"
        "    found = doctest.testmod(importlib.import_module(name))\n"
        "    if found.failed or not found.attempted:\n"
        "        print(f'{name}: {found.failed} of {found.attempted} examples are wrong')\n",
        ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert "examples are wrong" not in done.stdout, done.stdout


@pytest.mark.parametrize("name", ["requirements", "requirements-dev", "requirements-ray"])
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


@pytest.mark.parametrize("name", ["requirements", "requirements-dev", "requirements-ray"])
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
