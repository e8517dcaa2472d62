# covers: B6, B14, C6
"""``python -m pawprint compare`` on real experiments of a small project, and its page."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from chromium import expect, needs_chromium
from project import Outcome, Project, environment

from pawprint.__main__ import main

# Makes what the pipeline makes, of 20 pictures of cats; `head.wrong` of them are taken for dogs
SCRIPT = """
import hashlib, io, zipfile
from pathlib import Path
import yaml
from PIL import Image
params = yaml.safe_load(Path("params.yaml").read_text())
first, count = params["data"]["first"], 20
rows, said, folds = ["path,class_name,split,sha256,group"], [], []
for folder in ("data/raw", "metrics/evaluate", "metrics/crossval"):
    Path(folder).mkdir(parents=True, exist_ok=True)
with zipfile.ZipFile("data/raw/images.zip", "w") as archive:
    for i in range(first, first + count):
        file, path = io.BytesIO(), f"cat/{i:02}.png"
        Image.new("RGB", (30, 20), (12 * i % 256, 200, params["data"]["blue"])).save(file, "PNG")
        archive.writestr(zipfile.ZipInfo(path), file.getvalue())
        digest = hashlib.sha256(file.getvalue()).hexdigest()
        rows.append(f"{path},cat,test,{digest},{digest[:16]}")
        wrong = i < params["head"]["wrong"]
        answer = "dog,0.800000,0.200000,False" if wrong else "cat,0.900000,0.900000,True"
        said.append(f"{path},cat,{answer},cat,0.700000,0.700000,True")
        folds.append(f"{path},train,0,cat,{'dog,0.2,0.8' if wrong else 'cat,0.9,0.1'}")
rows.append(f"{params['data']['other']}/1.png,{params['data']['other']},train,0,0")
columns = [f"{m}_{c}" for m in ("head", "baseline")
           for c in ("predicted", "probability", "actual_probability", "correct")]
tables = {
    "data/split.csv": rows,
    "metrics/evaluate/predictions.csv": [",".join(["path", "actual", *columns]), *said],
    "metrics/crossval/predictions.csv":
        ["path,split,fold,actual,predicted,probability_cat,probability_dog", *folds],
}
for name, lines in tables.items():
    Path(name).write_text("\\n".join(lines) + "\\n")
"""
PIPELINE = """
stages:
  evaluate:
    cmd: python make.py
    deps: [make.py]
    params: [data, head]
    outs: [data/raw/images.zip, data/split.csv, metrics/evaluate, metrics/crossval]
"""
PARAMS = """
data: {first: 0, blue: 0, other: dog}
evaluate: {confidence: 0.95}
head: {wrong: 7, lr: 1.0e-3}
preprocess: {max_pixels: 1000, max_value: 0}
"""


# DVC's own, of a library that it uses
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value will soon:DeprecationWarning")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """One commit and its experiments, each by real DVC."""
    home = tmp_path_factory.mktemp("home")
    made = Project(tmp_path_factory.mktemp("project"), home)
    for name, text in {"make.py": SCRIPT, "dvc.yaml": PIPELINE, "params.yaml": PARAMS}.items():
        (made.root / name).write_text(text, encoding="utf-8")
    made.run("git", "init", "--quiet", "--initial-branch=main")
    made.dvc("init", "--quiet")
    made.dvc("repro", "--quiet")
    made.commit()
    for name, value in {"fewer": "head.wrong=1", "more": "head.wrong=9"}.items():
        made.dvc("exp", "run", "--quiet", "--name", name, "-S", value, "-S", "head.lr=1e-5")
    made.dvc(
        "exp", "run", "--quiet", "--name", "shifted", "-S", "head.wrong=7", "-S", "data.first=5"
    )
    made.run("git", "checkout", "--quiet", ".")
    made.dvc("checkout", "--quiet")
    return made


@pytest.fixture
def inside(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The project as the current directory, with an environment of its own."""
    for name in [name for name in os.environ if name.startswith(("GIT_", "DVC"))]:
        monkeypatch.delenv(name)
    for name, value in environment(project.home).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(project.root)
    return project


@pytest.fixture
def compare(inside: Project, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the command; leaves git, ``dvc.lock`` and the workspace as they were."""

    def run(*arguments: str) -> Outcome:
        before = state(inside.root)
        code = main(["compare", *arguments])
        said = capsys.readouterr()
        assert state(inside.root) == before
        return Outcome(code, said.out if code == 0 else said.err)

    return run


def state(root: Path) -> dict[str, Any]:
    """All files but those that DVC and git keep for themselves; HEAD and refs."""
    files = [p for p in root.rglob("*") if p.is_file() and not p.is_relative_to(root / ".dvc/tmp")]
    kept = [p for p in files if ".git" not in p.parts or "refs" in p.parts or p.name == "HEAD"]
    return {str(p): (p.stat().st_mtime_ns, p.read_bytes()) for p in kept if p.suffix != ".html"}


def table_row(outcome: Outcome, name: str) -> list[list[str]]:
    lines = [line for line in outcome.text.splitlines() if line.startswith(f"| {name} ")]
    return [[cell.strip() for cell in line.strip("|").split("|")][1:] for line in lines]


def test_an_experiment_is_better_by_hand_computed_figures(compare: Any) -> None:
    outcome = compare("main", "fewer")
    assert outcome.code == 0
    # As in tests/test_comparison.py: 7 wrong of 20, then 1; -0.35 · ln 0.2 - 0.65 · ln 0.9 = 0.6318
    accuracy = ["65.00", "95.00", "+30.00 (4.80 to 49.75)", "6", "0", "0.0312"]
    loss = ["0.6318", "0.1806", "-0.4512 (-0.7822 to -0.1203)", "0.0102"]
    assert table_row(outcome, "head") == [accuracy, loss]
    assert table_row(outcome, "crossval") == [accuracy, loss]
    assert table_row(outcome, "baseline")[0][2] == "same"
    assert "head: better by 30.00 points of accuracy (4.80 to 49.75)" in outcome.text
    assert "\n  head.lr: 0.001 → 1e-05\n  head.wrong: 7 → 1\n" in outcome.text
    assert "  wrong → right  cat/01.png  cat: was dog 0.800, now cat 0.900\n" in outcome.text
    assert "warning" not in outcome.text
    assert max(map(len, outcome.text.splitlines())) <= 100


def test_one_revision_is_compared_with_what_is_obvious(compare: Any, inside: Project) -> None:
    head = inside.run("git", "rev-parse", "--short=7", "HEAD").text.strip()
    branch, workspace, experiment = (
        json.loads(compare(name, "--json").text) for name in ("main", "workspace", "fewer")
    )
    assert branch["base"] == {"name": "main", "commit": head}
    assert branch["comparisons"][0]["name"] == "workspace"
    assert workspace["base"] == {"name": "HEAD", "commit": head}
    assert workspace["comparisons"][0]["commit"] == ""
    assert experiment["base"]["commit"] == head
    assert experiment["comparisons"][0]["parameters"]["head.wrong"] == ["7", "1"]


def test_of_several_experiments_each_is_compared_with_the_first(compare: Any) -> None:
    values = json.loads(compare("main", "fewer", "shifted", "--json").text)
    fewer, shifted = (one["models"]["head"]["accuracy"] for one in values["comparisons"])
    assert (fewer["p_value"], shifted["p_value"]) == (0.03125, 1.0)
    assert (fewer["p_value_holm"], shifted["p_value_holm"]) == (0.03125, 1.0)  # shifted: the same


def test_only_common_pictures_are_compared_and_it_is_said(compare: Any, inside: Project) -> None:
    text = compare("main", "shifted").text
    assert "Compared on 15 of 20 and 20 test pictures; 5 and 5 are in one of the two only." in text
    assert "Compared on 15 of 20 and 20 pictures of stage crossval;" in text


@pytest.fixture
def changed(inside: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A copy that a test may break."""
    copied = Project(shutil.copytree(inside.root, tmp_path / "copy", symlinks=True), inside.home)
    monkeypatch.chdir(copied.root)
    return copied


def edit(project: Project, old: str, new: str) -> None:
    text = project.read("params.yaml")
    assert old in text
    (project.root / "params.yaml").write_text(text.replace(old, new), encoding="utf-8")


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The single line of a command that is refused."""
    assert main(["compare", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    return line


def test_another_file_of_the_same_name_is_another_picture(
    changed: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(changed, "blue: 0", "blue: 9")
    changed.dvc("repro", "--quiet")
    line = fails(capsys, "HEAD", "workspace")
    assert "20 pictures, workspace 20: none are the same (20 of the same name are other" in line


def test_named_groups_count_as_one(changed: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """A CSV that git has, and one that it does not have."""
    rows = [f"cat/{i:02}.png,patient {i // 5}" for i in range(20)]
    table = changed.root / "groups.csv"
    table.write_text("\n".join(["path,group", *rows]) + "\n", encoding="utf-8")
    edit(
        changed, "preprocess:", "split: {groups_file: groups.csv, groups_pattern: ''}\npreprocess:"
    )
    changed.commit()
    assert main(["compare", "HEAD", "fewer"]) == 0
    said = capsys.readouterr().out
    assert "20 of the pictures are in one group with others" in said
    assert "not kept with it" not in said
    changed.run("git", "rm", "--quiet", "--cached", "groups.csv")
    changed.run("git", "commit", "--quiet", "--message", "without it")
    assert main(["compare", "HEAD", "fewer"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "20 of the pictures are in one group with others" in said
    assert "groups.csv is not kept with it: groups are those that are there now" in said


def test_other_classes_are_refused(changed: Project, capsys: pytest.CaptureFixture[str]) -> None:
    edit(changed, "dog}", "bird}")
    changed.dvc("repro", "--quiet")
    line = fails(capsys, "main", "workspace")
    assert "tell other classes apart: only the first has dog, only the second bird;" in line


def test_results_that_are_out_of_date_are_told(
    changed: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    with open(changed.root / "make.py", "a", encoding="utf-8") as file:
        file.write("# changed\n")
    assert main(["compare", "workspace"]) == 0
    warning = " ".join(capsys.readouterr().out.split("\n\n")[0].split())
    assert warning == (
        "warning: workspace: the results of stage evaluate are older than what they are made of "
        "(evaluate: make.py); `dvc repro` bring them up to date"
    )
    edit = (
        (changed.root / "params.yaml").read_text(encoding="utf-8").replace("wrong: 7", "wrong: 6")
    )
    (changed.root / "params.yaml").write_text(edit, encoding="utf-8")
    changed.commit()
    assert main(["compare", "fewer", "main"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "warning: main: the results of stage evaluate are older" in said
    assert "(evaluate: head.wrong); `git checkout main` and `dvc repro` bring them up" in said


def test_results_that_are_nowhere_are_told_with_the_way_out(
    changed: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(changed.root / "metrics/evaluate")
    line = fails(capsys, "main", "workspace")
    assert "workspace: metrics/evaluate/predictions.csv is missing; `dvc checkout` brings" in line
    shutil.rmtree(changed.root / ".dvc/cache")
    line = fails(capsys, "main", "fewer")
    assert "main: metrics/evaluate/predictions.csv is not in DVC's cache, and no remote" in line
    assert "`git checkout main`, then `dvc pull` where a remote has them, or `dvc repro`" in line


def test_what_is_not_needed_may_be_damaged_and_is_told(
    changed: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("metrics/crossval/predictions.csv", "data/split.csv"):
        (changed.root / name).unlink()  # it may be a link to the cache
        (changed.root / name).write_text("path\nx\n", encoding="utf-8")
    assert main(["compare", "workspace"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "workspace: metrics/crossval/predictions.csv cannot be read: expected the tab" in said
    assert "So stage crossval is not compared" in said
    assert "workspace: data/split.csv cannot be read: " in said
    assert "So pictures are told apart by their paths alone" in said
    assert "Only HEAD has predictions of stage crossval: not compared." in said


def test_results_in_a_remote_are_read_there(
    changed: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed.dvc("remote", "add", "--quiet", "--default", "shared", str(tmp_path / "remote"))
    shutil.move(changed.root / ".dvc/cache", tmp_path / "remote")  # as dvc push lays it out
    assert main(["compare", "HEAD", "workspace"]) == 0
    assert "head: the same answers." in capsys.readouterr().out


def test_a_project_may_be_a_part_of_a_repository(
    changed: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(changed.root / ".git")
    outer = Project(tmp_path, changed.home)
    outer.run("git", "init", "--quiet")
    outer.commit()
    edit(changed, "wrong: 7", "wrong: 1")
    changed.dvc("repro", "--quiet")
    (changed.root / "notes").mkdir()
    os.chdir(changed.root / "notes")
    assert main(["compare", "workspace"]) == 0
    text = capsys.readouterr().out
    assert "head: better by 30.00 points" in text
    assert "warning" not in text


@pytest.mark.parametrize(
    ("revisions", "message"),
    [
        (["nope"], "nope: no revision of this project (unknown Git revision 'nope');"),
        (["main", ""], "expected the name of a revision, found an empty one"),
        (["main", "fewer", "--html", "x"], "--html x: expected a name that ends in .html;"),
        (["--html", "main", "fewer"], "--html main: expected a name that ends in .html;"),
        (["main", "--html", "metrics"], "--html metrics: expected the name of a file, found a"),
    ],
)
def test_mistakes_are_one_line(
    inside: Project, capsys: pytest.CaptureFixture[str], revisions: list[str], message: str
) -> None:
    assert fails(capsys, *revisions).startswith(f"error: {message}")


def test_without_git_or_dvc_or_commits_it_says_what_to_do(
    inside: Project,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "expected a project with DVC, found none here or above" in fails(capsys, "main")
    empty = Project(tmp_path, inside.home)
    empty.dvc("init", "--no-scm", "--quiet")
    assert "expected a git repository, found none; revisions need git" in fails(capsys, "main")
    empty.run("git", "init", "--quiet")
    empty.dvc("config", "core.no_scm", "false")
    assert "HEAD: no revision of this project" in fails(capsys, "workspace")


def test_the_page_has_the_pictures_and_is_the_same_every_time(compare: Any, tmp_path: Path) -> None:
    pages = [tmp_path / "1.html", tmp_path / "2.html"]
    for page in pages:
        outcome = compare("main", "fewer", "shifted", "--html", str(page))
        assert outcome.text.endswith(f"\nThe pictures that changed sides: {page}\n")
    first, second = (page.read_text(encoding="utf-8") for page in pages)
    assert first == second
    assert first.count("<img ") == 2 * 6  # of head and crossval
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.html", "2.html"]


def test_pictures_that_are_nowhere_are_said_to_be(
    changed: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (changed.root / "data/raw/images.zip").unlink()
    for line in changed.read("dvc.lock").split("- path: ")[1:]:
        if line.startswith("data/raw/images.zip"):
            md5 = line.split("md5: ")[1].split()[0]
            (changed.root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]).unlink()
    page = tmp_path / "page.html"
    assert main(["compare", "main", "fewer", "--html", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "<img " not in text
    assert text.count("its picture is neither in the workspace nor in the cache") == 12


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_telephone_in_both_colours(
    compare: Any, browser: Any, tmp_path: Path, scheme: str
) -> None:
    file = tmp_path / "page.html"
    compare("main", "fewer", "--html", str(file))
    context = browser.new_context(viewport={"width": 360, "height": 700}, color_scheme=scheme)
    page, asked = context.new_page(), []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(file.as_uri())
    expect(page.get_by_role("heading", level=1)).to_have_text("fewer against main")
    expect(page.get_by_role("listitem").filter(has_text="wrong → right")).to_have_count(12)
    assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth == 160)")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    background = page.evaluate(
        "getComputedStyle(document.body).color.match(/\\d+/g).slice(0, 3).map(Number)"
    )
    assert (sum(background) > 382) == (scheme == "dark")  # the text is bright on dark
    assert all(url.startswith(("file:", "data:")) for url in asked)
    context.close()
