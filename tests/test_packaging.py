"""What `pip install .` gives: the command, in a virtual environment of its own, from anywhere."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from served import ROOT, colours, picture

from pawprint.__main__ import COMMANDS
from pawprint.version import VERSION

# covers: R10, R18

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def asked(name: str) -> set[str]:
    """The packages that a file of requirements names."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    names = [re.split(r"[ <>=#]", line)[0] for line in lines if not line.startswith(("#", "-c"))]
    return {canonicalize_name(name) for name in names if name}


def declared(requirements: list[str]) -> dict[str, Requirement]:
    return {canonicalize_name(parsed.name): parsed for parsed in map(Requirement, requirements)}


def test_dependencies_are_those_of_the_locked_requirements():
    needed = declared(PROJECT["dependencies"])
    train = declared(PROJECT["optional-dependencies"]["train"])
    assert set(needed) == asked("requirements-serve.in")
    assert set(needed) | set(train) == asked("requirements.in")
    locked = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    for name, version in re.findall(r"(?m)^([\w.-]+)==(\S+)", locked):
        wanted = {**needed, **train}.get(canonicalize_name(name))
        assert wanted is None or version in wanted.specifier, f"{wanted}, but {version} is locked"


def test_what_a_cluster_needs_changes_no_package_of_the_pipeline():
    def pins(name: str) -> set[tuple[str, str]]:
        text = (ROOT / name).read_text(encoding="utf-8")
        return set(re.findall(r"(?m)^([\w.-]+)(?:\[.*?\])?==([^\s;]+)", text))

    more = pins("requirements-ray.txt") - pins("requirements.txt")
    assert sorted(name for name, _ in more) == ["msgpack", "ray"]
    assert more <= pins("requirements-dev.txt")


def test_the_licence_and_the_authors_are_said_alike():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["license"] == PROJECT["license"] == "MIT"
    assert citation["authors"] == PROJECT["authors"]
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").startswith("MIT License\n")


def test_what_is_inlined_has_its_licence():
    page = (ROOT / ".dvc/plots.html").read_text(encoding="utf-8")
    notices = (ROOT / "LICENSES/README.md").read_text(encoding="utf-8")
    texts = (ROOT / "LICENSES/plots-page.txt").read_text(encoding="utf-8")
    libraries = re.findall(r"<!-- ([\w-]+ [\d.]+), ", page)
    assert len(libraries) == page.count("<script>") == 3
    for library in libraries:
        assert library in notices
        assert library in " ".join(texts.split())


# How the text of a licence begins; where a package brings it, the table says so
LICENCE_TEXTS = {
    "Apache-2.0": ("Apache-2.0.txt", "Apache License Version 2.0, January 2004"),
    "LGPL-3.0": ("LGPL-3.0.txt", "GNU LESSER GENERAL PUBLIC LICENSE Version 3"),
    "GPL-3.0": ("GPL-3.0.txt", "GNU GENERAL PUBLIC LICENSE Version 3"),
    "CC0-1.0": ("CC0-1.0.txt", "Creative Commons Legal Code CC0 1.0 Universal"),
    "Bitstream Vera": ("DejaVu.txt", "Fonts are (c) Bitstream"),
}


def licence_rows() -> list[list[str]]:
    """What, where, licence and text of each line of the tables of LICENSES/README.md."""
    lines = (ROOT / "LICENSES/README.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    return [row for row in rows if row[2] not in ("licence", "---")]


def test_each_licence_has_its_text():
    rows, linked = licence_rows(), set()
    assert len(rows) > 8
    for what, _, licence, text in rows:
        files = re.findall(r"\]\(([\w.-]+)\)", text)
        linked |= set(files)
        if text == "in its package":
            package = metadata.distribution(what.strip("`"))
            texts = [file for file in package.files or () if "LICENSE" in file.name.upper()]
            assert texts, f"{what}: expected its licence in its package"
            continue
        words = set(re.findall("|".join(map(re.escape, LICENCE_TEXTS)), licence))
        if files != ["plots-page.txt"]:
            assert {LICENCE_TEXTS[word][0] for word in words} == set(files) != set(), what
    assert linked == {path.name for path in (ROOT / "LICENSES").iterdir()} - {"README.md"}
    for name, beginning in LICENCE_TEXTS.values():
        content = (ROOT / "LICENSES" / name).read_text(encoding="utf-8")
        assert " ".join(content.split()).startswith(beginning)


def test_what_a_package_of_the_container_leaves_out_is_in_the_table():
    """Each brings the text of its licence, or a line of the table links to it."""
    names = asked_locked("requirements-serve.txt")
    told = {canonicalize_name(row[0].strip("`")) for row in licence_rows()}
    lacking = set()
    for name in names:
        with suppress(metadata.PackageNotFoundError):  # of other systems
            files = metadata.distribution(name).files or ()
            if not any(re.search("LICEN[CS]E|COPYING", str(file).upper()) for file in files):
                lacking.add(canonicalize_name(name))
    assert lacking <= told
    assert {"openvino", "pi-heif", "fastapi-offline"} <= told & names


def asked_locked(name: str) -> set[str]:
    text = (ROOT / name).read_text(encoding="utf-8")
    return {canonicalize_name(found) for found in re.findall(r"(?m)^([\w.-]+)==", text)}


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "HOME": str(cwd)},
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if importlib.util.find_spec("setuptools") is None:
        pytest.skip("setuptools is not installed")
    work = tmp_path_factory.mktemp("wheel")
    source = work / "source"
    shutil.copytree(
        ROOT / "pawprint", source / "pawprint", ignore=shutil.ignore_patterns("__pycache__")
    )
    for name in ("stages", "studies", "tests", "bench", "verify"):  # none of them is to be packed
        (source / name).mkdir()
        (source / name / "__init__.py").touch()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "LICENSES", source / "LICENSES")
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index"]
    done = run(*pip, "--wheel-dir", work, source, cwd=work)
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = work.glob("*.whl")
    return file


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as packed:
        names = {name for name in packed.namelist() if ".dist-info/" not in name}
        licences = {name.partition("/licenses/")[2] for name in packed.namelist()} - {""}
    files = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "pawprint").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names == files
    assert "pawprint/serving/static/page.js" in names
    assert licences == {
        "LICENSE",
        *(path.relative_to(ROOT).as_posix() for path in (ROOT / "LICENSES").iterdir()),
    }


@pytest.fixture(scope="module")
def command(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`pawprint` in a new environment, which finds the dependencies in that of the tests."""
    home = tmp_path_factory.mktemp("installed")
    venv.create(home, with_pip=False, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--python", str(home / "bin/python")]
    done = run(*pip, "install", "--no-deps", "--no-index", wheel, cwd=home)
    assert done.returncode == 0, done.stderr
    (packages,) = home.glob("lib/python*/site-packages")
    (packages / "tests.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    return home / "bin/pawprint"


def test_the_command_says_its_version(command, tmp_path):
    done = run(command, "--version", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"pawprint {VERSION}\n")
    (found,) = metadata.distributions(
        name="pawprint", path=[str(p) for p in command.parents[1].glob("lib/*/site-packages")]
    )
    assert found.version == VERSION
    assert run(command, "--help", cwd=tmp_path).stdout.startswith("usage: pawprint [-h]")
    for name in COMMANDS:
        told = run(command, name, "--help", cwd=tmp_path).stdout
        assert told.startswith(f"usage: pawprint {name} [-h]")
    refused = run(command, "predict", cwd=tmp_path)
    assert refused.stderr.splitlines()[-1].startswith("pawprint predict: error: ")


def test_the_command_predicts_from_another_directory(command, tmp_path):
    (tmp_path / "x.png").write_bytes(picture("blue"))
    done = run(command, "predict", "x.png", "--top", "1", "--model", colours(), cwd=tmp_path)
    assert re.fullmatch(r"x\.png: blue \d\d\.\d %\n", done.stdout), done.stderr
    assert done.returncode == 0


def test_the_command_keeps_exit_codes(command, tmp_path):
    done = run(command, "predict", "x.png", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"error: [^\n]*\n", done.stderr)
    (tmp_path / "x.png").write_text("no picture", encoding="utf-8")
    done = run(command, "predict", "x.png", "--model", colours(), cwd=tmp_path)
    assert done.returncode == 1


def test_without_its_packages_it_says_what_to_do(tmp_path):
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import pawprint.__main__ as p; "
    done = run(
        tmp_path / "venv/bin/python", "-c", code + "sys.exit(p.main(['predict', 'x.png']))",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2
    assert re.fullmatch(
        r"error: needs the requirements: [^\n]*; missing: numpy\n",
        done.stderr,
    )
