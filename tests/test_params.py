"""params.yaml: what is accepted, and how each mistake is named."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from pawprint.backbones.build import chosen_weights
from pawprint.runner.errors import DataError, ParamsError, WeightsError
from pawprint.runner.params import Params
from pawprint.runner.params_file import load_params
from pawprint.runner.stage import run_stage

# covers: C5, B8

ROOT = Path(__file__).resolve().parent.parent
COMMITTED = (ROOT / "params.yaml").read_text(encoding="utf-8")


def edited(section: str, key: str, value: str) -> str:
    """The committed file with another value for one key, written as given."""
    pattern = rf"(?ms)(^{section}:(?:(?!^\w).)*?^  {key}:)[^\n]*"
    text, count = re.subn(pattern, lambda match: f"{match[1]} {value}", COMMITTED)
    assert count == 1
    return text


def load(tmp_path: Path, text: str) -> Params:
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    return load_params(path)


def complaint(tmp_path: Path, text: str) -> str:
    """The message that refuses a file; it must be one line, without the words of a traceback."""
    with pytest.raises(ParamsError, match=r"params\.yaml") as caught:
        load(tmp_path, text)
    message = str(caught.value)
    assert "\n" not in message
    assert "pydantic" not in message
    return message


def test_committed_file_loads() -> None:
    params = load_params(ROOT / "params.yaml")
    assert params.split.train + params.split.val + params.split.test == pytest.approx(1)
    assert isinstance(params.finetune.lr, float)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-05", 1e-05),  # as DVC writes -S finetune.lr=1e-5
        ("1e-5", 1e-05),
        ("1E-5", 1e-05),
        ("1.0e-3", 0.001),
        ("1e0", 1.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("+0.5", 0.5),
        ("1", 1.0),
    ],
)
def test_floats_of_yaml_1_2_are_floats(tmp_path: Path, written: str, value: float) -> None:
    lr = load(tmp_path, edited("finetune", "lr", written)).finetune.lr
    assert lr == value
    assert isinstance(lr, float)


def test_a_large_exponent_is_a_float(tmp_path: Path) -> None:
    assert load(tmp_path, edited("features", "max_gb", "1e5")).features.max_gb == 100_000.0


@pytest.mark.parametrize(("written", "value"), [("15", 15), ("0", 0), ("0x1F", 31), ("0o17", 15)])
def test_integers_of_yaml_1_2_are_integers(tmp_path: Path, written: str, value: int) -> None:
    assert load(tmp_path, edited("split", "seed", written)).split.seed == value


# YAML 1.1 reads 010 as 8 and 1:30 as 90, while DVC, which reads YAML 1.2, shows 10 and a text.
@pytest.mark.parametrize(
    "written", ["010", "1:30", "1_000", "0b11", "1e2", "7.0", "'7'", "2020-01-01"]
)
def test_what_only_looks_like_an_integer_is_refused(tmp_path: Path, written: str) -> None:
    assert "split.seed: " in complaint(tmp_path, edited("split", "seed", written))


@pytest.mark.parametrize("written", ["'yes'", "1", "0.0", "on_", "~"])
def test_what_is_no_boolean_is_refused(tmp_path: Path, written: str) -> None:
    assert "augment.flip: " in complaint(tmp_path, edited("augment", "flip", written))


@pytest.mark.parametrize(
    ("section", "key", "written", "names"),
    [
        ("finetune", "lr", "fast", ["finetune.lr", "valid number", "'fast'"]),
        ("finetune", "lr", "'1e-5'", ["finetune.lr", "valid number", "'1e-5'"]),
        ("finetune", "lr", "-1e-5", ["finetune.lr", "greater than 0", "-1e-05"]),
        ("finetune", "lr", "true", ["finetune.lr", "True (bool)"]),
        ("finetune", "lr", ".nan", ["finetune.lr", "nan"]),
        ("finetune", "lr", ".inf", ["finetune.lr", "inf"]),
        ("features", "max_gb", ".inf", ["features.max_gb", "inf"]),
        ("features", "max_gb", ".nan", ["features.max_gb", "nan"]),
        ("finetune", "lr", "", ["finetune.lr", "None"]),
        ("finetune", "lr", "null", ["finetune.lr", "None"]),
        ("head", "epochs", "true", ["head.epochs", "True (bool)"]),
        ("head", "epochs", "2.5", ["head.epochs", "integer", "2.5"]),
        ("head", "epochs", "0", ["head.epochs", "greater than or equal to 1", "0"]),
        ("head", "hidden", "64", ["head.hidden", "list", "64"]),
        ("baseline", "filters", "[32, x]", ["baseline.filters.1", "integer", "'x'"]),
        ("model", "pooling", "max", ["model.pooling", "'avg'", "'flatten'", "'max'"]),
        ("preprocess", "max_pixels", "200000000", ["preprocess.max_pixels", "178956970"]),
        ("data", "sha256", "abc", ["data.sha256", "'abc'"]),
        ("data", "kaggle_competition", "no", ["data.kaggle_competition", "False (bool)"]),
        ("preprocess", "resize", "squash", ["preprocess.resize", "'letterbox'", "'squash'"]),
        ("preprocess", "max_value", "65536", ["preprocess.max_value", "65535", "65536"]),
        ("split", "groups_pattern", "'a'", ["split.groups_pattern", "brackets", "'a'"]),
        ("split", "groups_pattern", "'(a'", ["split.groups_pattern", "regular expres", "'(a'"]),
        ("split", "groups_file", "''", ["split.groups_file", "''"]),
        ("split", "train", "0.9", ["split.train", "0.9 + 0.15 + 0.15 = 1.2"]),
    ],
)
def test_an_impossible_value_is_named(
    tmp_path: Path, section: str, key: str, written: str, names: list[str]
) -> None:
    message = complaint(tmp_path, edited(section, key, written))
    for name in names:
        assert name in message


def data_edited(changes: dict[str, str]) -> str:
    """The committed file with other values in the section data."""
    content = yaml.safe_load(COMMITTED)
    assert set(changes) <= set(content["data"])
    content["data"] |= changes
    return yaml.safe_dump(content)


NAMED = {
    "folder": ("folder", "/pictures", "data/source"),
    "archive": ("archive", "pictures.zip", "data/source"),
    "url": ("url", "https://example.org/pets.zip", "''"),
    "kaggle_dataset": ("kaggle", "ann/pets", "''"),
    "kaggle_competition": ("kaggle", "whales", "dogs-vs-cats"),
}


@pytest.mark.parametrize("source", ["sample", "folder", "archive", "url", "kaggle"])
@pytest.mark.parametrize("key", NAMED)
def test_a_source_that_is_named_is_read_or_refused(tmp_path: Path, key: str, source: str) -> None:
    owner, value, unset = NAMED[key]
    text = data_edited({"source": source, key: value})
    if owner == source:
        assert load(tmp_path, text).data.source == source
        return
    assert complaint(tmp_path, text).endswith(
        f"data.{key}: found {value!r}, which data.source = {source} does not read: add "
        f'-S data.source={owner} to use it, or set it back: -S "data.{key}={unset}"'
    )


def test_one_may_go_back_and_forth_between_two_sources_that_are_named(tmp_path: Path) -> None:
    named = {key: value for key, (_, value, _) in NAMED.items()}
    for source in ("folder", "archive", "url", "kaggle"):
        assert load(tmp_path, data_edited({"source": source, **named})).data.source == source
    assert "data.source = sample" in complaint(tmp_path, data_edited(named))


def test_unset_sources_are_those_of_the_committed_file() -> None:
    data = yaml.safe_load(COMMITTED)["data"]
    assert {key: data[key] or "''" for key in NAMED} == {key: NAMED[key][2] for key in NAMED}


@pytest.mark.parametrize("encoding", ["klingon", "rot13", "hex"])
def test_an_encoding_that_is_none_is_refused(tmp_path: Path, encoding: str) -> None:
    message = complaint(tmp_path, edited("data", "names_encoding", encoding))
    assert f"such as cp932, gb18030 or cp1252, found '{encoding}'" in message


@pytest.mark.parametrize("encoding", ["''", "cp932", "Shift-JIS", "utf-8"])
def test_encodings_of_python_are_accepted(tmp_path: Path, encoding: str) -> None:
    text = edited("data", "names_encoding", encoding).replace("source: sample ", "source: kaggle ")
    assert load(tmp_path, text).data.names_encoding == encoding.strip("'")


def test_an_encoding_of_names_that_nothing_reads_is_refused(tmp_path: Path) -> None:
    message = complaint(tmp_path, edited("data", "names_encoding", "cp932"))
    assert "data.names_encoding: found 'cp932', which data.source = sample does not read" in message


def test_a_misspelled_key_is_named_with_the_known_ones(tmp_path: Path) -> None:
    text = COMMITTED.replace("\n  head_lr: ", "\n  learning_rat: ")
    message = complaint(tmp_path, text)
    assert "finetune.learning_rat: unknown key; known: epochs, batch_size, lr" in message
    assert "finetune.head_lr: missing key" in message


def test_an_unknown_section_is_named_with_the_known_ones(tmp_path: Path) -> None:
    message = complaint(tmp_path, COMMITTED + "\nx:\n  y: 1\n")  # as by -S +x.y=1
    assert "x: unknown key; known: data, split, preprocess" in message


def test_a_missing_section_is_named(tmp_path: Path) -> None:
    assert "runtime: missing key" in complaint(tmp_path, COMMITTED.split("\nruntime:")[0])


def test_a_key_that_stands_twice_is_named_with_its_line(tmp_path: Path) -> None:
    text = COMMITTED.replace("\n  seed: 42\n", "\n  seed: 42\n  seed: 43\n")
    line = text[: text.index("seed: 43")].count("\n") + 1
    assert f"line {line}: key 'seed' stands twice" in complaint(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "expected sections of keys, found NoneType"),
        ("- a\n- b\n", "expected sections of keys, found list"),
        ("split: 0.7\n", "split: "),
        ("split: {train: 0.7\n", "not valid YAML"),
        ("? [a, b]\n: 1\n", "not valid YAML"),
        ("1: 2\n", "1: keys should be strings"),
        ("a: !!python/object/apply:os.getcwd []\n", "not valid YAML"),
    ],
)
def test_what_is_no_parameter_file_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    assert reason in complaint(tmp_path, text)


def test_other_encodings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes("a: é\n".encode("latin-1"))
    with pytest.raises(ParamsError, match="save it as UTF-8"):
        load_params(path)


def test_a_missing_file_says_where_to_run(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"params\.yaml: cannot be read .*project's root"):
        load_params(tmp_path / "params.yaml")


def test_sections_are_frozen() -> None:
    params = load_params(ROOT / "params.yaml")
    with pytest.raises(ValidationError, match="frozen"):
        params.finetune.lr = 1.0


def test_validation_imports_no_tensorflow(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(edited("finetune", "lr", "fast"), encoding="utf-8")
    code = (
        "import sys, pawprint.runner.stage\n"
        "from pawprint.runner import params_file\n"
        "from pawprint.runner.errors import ParamsError\n"
        "try: params_file.load_params('params.yaml')\n"
        "except ParamsError as error: print(error)\n"
        "heavy = {'tensorflow', 'keras', 'numpy', 'dvc', 'dvclive'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    message, heavy = run.stdout.splitlines()
    assert "finetune.lr" in message
    assert heavy == "[]"


def test_a_stage_hands_over_the_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    received: list[Params] = []
    run_stage(received.append)
    assert received == [load_params()]


def test_a_stage_refuses_wrong_parameters_of_any_section_before_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "params.yaml").write_text(edited("gradcam", "worst", "many"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    received: list[Params] = []
    with pytest.raises(SystemExit, match=r"^error: params\.yaml: gradcam\.worst: [^\n]*$"):
        run_stage(received.append)
    assert not received


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (DataError("no pictures; add some"), r"error: no pictures; add some"),
        (WeightsError("x.h5: damaged"), r"error: x\.h5: damaged"),
        (OSError(28, "No space left on device", "a/b"), r"error: a/b: No space left on device"),
        (KeyboardInterrupt(), "error: interrupted"),
    ],
)
def test_a_stage_ends_in_one_line(
    error: BaseException, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def main(params: Params) -> None:
        raise error

    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit, match=f"^{line}") as caught:
        run_stage(main)
    assert "\n" not in str(caught.value)


def test_a_fault_of_the_program_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def main(params: Params) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.chdir(ROOT)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        run_stage(main)


def test_a_path_as_model_weights_names_the_key_for_it(tmp_path: Path) -> None:
    message = complaint(tmp_path, edited("model", "weights", "mine/notop.h5"))
    assert message.endswith(
        "params.yaml: model.weights: expected imagenet, none or file, found 'mine/notop.h5'; "
        "a path goes to model.weights_file: -S model.weights=file -S model.weights_file=PATH"
    )
    named = edited("model", "weights_file", "mine/notop.h5")
    assert chosen_weights(load(tmp_path, named).model) == "imagenet"
    chosen = named.replace("weights: imagenet", "weights: file")
    assert chosen_weights(load(tmp_path, chosen).model) == "mine/notop.h5"


@pytest.mark.parametrize("value", ["none", "balanced", "[1.0, 2.5]", "[1, 2]"])
@pytest.mark.parametrize("section", ["baseline", "head", "finetune"])
def test_weights_of_classes_are_a_word_or_numbers(section: str, value: str, tmp_path: Path) -> None:
    params = load(tmp_path, edited(section, "class_weights", value))
    found = getattr(params, section).class_weights
    assert found == (value if value[0] != "[" else json.loads(value))


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("balance", "'balance' (str)"),
        ("2.0", "2.0 (float)"),
        ("[]", "[] (list)"),
        ("[1, 0]", "[1, 0] (list)"),
        ("[1, -2]", "[1, -2] (list)"),
        ("[1, .inf]", "[1, inf] (list)"),
        ("[1, .nan]", "[1, nan] (list)"),
        ("[1, true]", "[1, True] (list)"),
        ("[1, two]", "[1, 'two'] (list)"),
        ("~", "None (NoneType)"),
    ],
)
def test_other_weights_of_classes_are_refused(value: str, found: str, tmp_path: Path) -> None:
    expected = "none, balanced, or a list of a positive number for each class"
    message = complaint(tmp_path, edited("head", "class_weights", value))
    assert message.endswith(f": head.class_weights: expected {expected}, found {found}")


@pytest.mark.parametrize(("value", "found"), [("auto", "auto"), ("32", 32)])
def test_the_rank_of_unlikeness_is_auto_or_a_number(
    value: str, found: object, tmp_path: Path
) -> None:
    assert load(tmp_path, edited("unlikeness", "rank", value)).unlikeness.rank == found


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("rank", "0", "expected auto, or a whole number from 1 to 4096, found 0 (int)"),
        ("rank", "large", "expected auto, or a whole number from 1 to 4096, found 'large' (str)"),
        ("rank", "true", "expected auto, or a whole number from 1 to 4096, found True (bool)"),
        ("reject", "0", "found 0"),
        ("reject", "0.9", "found 0.9"),
        ("k", "0", "found 0"),
        ("enabled", "1", "found 1"),
    ],
)
def test_wrong_values_of_unlikeness_are_named(
    key: str, value: str, message: str, tmp_path: Path
) -> None:
    told = complaint(tmp_path, edited("unlikeness", key, value))
    assert f"unlikeness.{key}: " in told
    assert message in told


@pytest.mark.parametrize("source", ["sample", "folder", "kaggle"])
def test_a_sum_that_nothing_checks_is_refused(source: str, tmp_path: Path) -> None:
    text = edited("data", "sha256", "a" * 64).replace("source: sample ", f"source: {source} ")
    message = complaint(tmp_path, text)
    assert f"data.sha256: found a sum, which data.source = {source} does not check" in message


@pytest.mark.parametrize(("value", "found"), [("3", "3 (int)"), ("true", "True (bool)")])
def test_views_are_the_picture_and_its_mirror_image(value: str, found: str, tmp_path: Path) -> None:
    for views in (1, 2):
        assert load(tmp_path, edited("evaluate", "tta", str(views))).evaluate.tta == views
    message = complaint(tmp_path, edited("evaluate", "tta", value))
    assert "evaluate.tta: input should be " in message
    assert message.endswith(f", found {found}")


def test_mirror_images_that_may_be_of_another_class_are_not_averaged(tmp_path: Path) -> None:
    text = edited("augment", "flip", "false")
    assert load(tmp_path, text.replace("  tta: 2 ", "  tta: 1 ")).evaluate.tta == 1
    message = complaint(tmp_path, text)
    assert "evaluate.tta: found 2, which averages each picture with its mirror image" in message
    assert message.endswith("set it to 1, or augment.flip to true")
