"""An exported model gives what the pipeline's stages give, to the bit, without Keras."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
from collections import Counter
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest
from classifiers import (
    COLOURS,
    COLOURS_SIZE,
    colour_probs,
    colours_models,
    run_code,
    run_python,
    tell_ratios,
)
from PIL import Image

from pawprint.inference.classifier import Classifier
from pawprint.networks.graph_files import MIRROR_OPERATIONS
from pawprint.pictures.images import decode_image
from pawprint.registry.resizing import RESIZES, Resize
from pawprint.runner.errors import ImageError, ModelError

# covers: R7, R10, R11, B1, B6

SIZE = 64
PICTURES = np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE, 3)).astype(np.uint8)
CLASSES = np.array([0, 2, 1, 2, 0])
# A fine-tuned kind of model and the baseline, both with random weights, each saved as the pipeline
# does, exported twice, and run by the code of stages evaluate and gradcam
MODELS = """
from pawprint.networks.runtime import start_engine
start_engine("openvino", 2)
import keras, numpy as np
from dataclasses import replace
from pathlib import Path
from pawprint.backbones.build import build_backbone
from pawprint.inference.classifier import Classifier, ModelCard, save_classifier
from pawprint.runner.errors import ModelError
from pawprint.networks.model_files import ModelInfo, load_model, save_model
from pawprint.networks.architectures import *
from pawprint.runner.params_file import load_params
from pawprint.networks.predictor import average_views, build_predictor
params = load_params(ROOT / "params.yaml")
SIZE, names = 64, ["cat", "dog", "käfer"]
keras.utils.set_random_seed(7)
backbone = add_pooling(build_backbone("EfficientNetLite0", SIZE, "none"), "avg")
rng = np.random.default_rng(0)
for layer in backbone.layers:  # without training a picture's traces would fade away
    if isinstance(layer, keras.layers.BatchNormalization):
        _, _, mean, variance = layer.get_weights()
        gamma, beta = rng.uniform(2, 6, mean.shape), rng.uniform(-0.5, 0.5, mean.shape)
        layer.set_weights([gamma, beta, mean, variance])
head = build_head(params.head.model_copy(update={"hidden": [16], "batch_norm": True}), 1280, 3)
small = params.baseline.model_copy(update={"image_size": 48, "filters": [8, 16], "dense": 12})
resized = chain(build_resizing(SIZE, 48), build_baseline(small, 3), "baseline")
networks = {"finetuned": chain(backbone, head, "finetuned"), "baseline": resized}
pictures, classes = np.load("pictures.npy"), np.load("classes.npy")
for name, network in networks.items():
    file = Path(f"{name}.keras")
    save_model(add_probs(network), file, ModelInfo(names, SIZE))
    card = ModelCard(name, names, SIZE, 10_000, {"flip": True}, {"a": "0" * 32}, {"acc": 0.5}, {})
    for copy in ("first", "second"):
        save_classifier(load_model(file), card, Path(copy, name))
    save_classifier(load_model(file), replace(card, tta=2), Path("averaged", name))
    predictor = build_predictor(load_model(file))  # as stage evaluate's
    (probs,), (means,) = predictor(pictures), average_views(predictor, 2)(pictures)
    heatmaps = Classifier.open(file).heatmaps(pictures, classes)  # stage gradcam
    np.savez(f"{name}.npz", probs=probs, means=means, heatmaps=heatmaps)
refused = []
for class_names in ([], names):
    save_model(backbone, Path("backbone.keras"), ModelInfo(class_names, SIZE))
    try:
        Classifier.open(Path("backbone.keras"))
    except ModelError as error:
        refused.append(f"{error}\\n")
Path("refused.txt").write_text("".join(refused))
"""
NAMES = ["finetuned", "baseline"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that ``MODELS`` fills."""
    directory = tmp_path_factory.mktemp("models")
    np.save(directory / "pictures.npy", PICTURES)
    np.save(directory / "classes.npy", CLASSES)
    root = Path(__file__).parents[1]
    run_code(f"from pathlib import Path\nROOT = Path({str(root)!r})\n{MODELS}", directory)
    return directory


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return colours_models(tmp_path_factory)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("cores", [1, 2])
@pytest.mark.parametrize(("made", "judged"), [("first", "probs"), ("averaged", "means")])
def test_probs_are_those_of_evaluate_to_the_bit(
    models: Path, name: str, cores: int, made: str, judged: str
) -> None:
    expected = np.load(models / f"{name}.npz")[judged]
    assert np.ptp(expected, axis=0).max() > 1e-4  # pictures matter
    classifier = Classifier.open(models / made / name, cores)
    for rows in ([0, 1, 2, 3, 4], [3], [4, 0, 3]):
        probs = classifier.probs(PICTURES[rows])
        assert probs.dtype == np.float32
        np.testing.assert_array_equal(probs, expected[rows])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("made", ["first", "averaged"])  # heatmaps are of the picture alone
def test_heatmaps_are_those_of_stage_gradcam_to_the_bit(models: Path, name: str, made: str) -> None:
    expected = np.load(models / f"{name}.npz")["heatmaps"]
    assert expected.max() == 1
    classifier = Classifier.open(models / made / name)
    heatmaps = classifier.heatmaps(PICTURES, CLASSES)
    assert heatmaps.dtype == np.float32
    np.testing.assert_array_equal(heatmaps, expected)
    alone = classifier.heatmaps(PICTURES[3:4], CLASSES[3:4])
    np.testing.assert_allclose(alone[0], expected[3], atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_model_is_the_same_bytes(models: Path, name: str) -> None:
    files = sorted(path.name for path in (models / "first" / name).iterdir())
    assert files == ["gradcam.npz", "model.bin", "model.json", "model.xml"]
    for file in files:
        first, second = (models / copy / name / file for copy in ("first", "second"))
        assert first.read_bytes() == second.read_bytes(), file


def test_the_card_comes_back(models: Path) -> None:
    card = Classifier.open(models / "first/finetuned").card
    assert card.name == "finetuned"
    assert card.class_names == ["cat", "dog", "käfer"]
    assert (card.image_size, card.max_pixels) == (SIZE, 10_000)
    assert (card.augment, card.hashes) == ({"flip": True}, {"a": "0" * 32})
    assert (card.metrics, card.versions) == ({"acc": 0.5}, {})


def test_answers_by_hand(colours: Path) -> None:
    """Means of the channels → softmax; the evidence for red lies where red is."""
    pictures = np.zeros((3, COLOURS_SIZE, COLOURS_SIZE, 3), np.uint8)
    pictures[0, :16, :, 0] = 200  # the upper half is red: 100 on average
    pictures[1, ..., 1] = 40
    pictures[2] = np.random.default_rng(0).integers(0, 256, pictures[2].shape)
    classifier = Classifier.open(colours / "export")
    assert classifier.card.class_names == COLOURS
    np.testing.assert_allclose(classifier.probs(pictures), colour_probs(pictures), atol=1e-6)
    assert classifier.probs(pictures)[0, 0] == pytest.approx(np.exp(5) / (np.exp(5) + 2), abs=1e-6)
    heatmap = classifier.heatmaps(pictures[:1], np.array([0]))[0]
    np.testing.assert_array_equal(heatmap, np.repeat([[1.0], [0.0]], 4, axis=0).repeat(8, axis=1))


def test_means_by_hand(colours: Path) -> None:
    """Of every fourth column, which are red in the picture and black in its mirror image."""
    picture = np.zeros((1, COLOURS_SIZE, COLOURS_SIZE, 3), np.uint8)
    picture[:, :, ::4, 0] = 100
    plain, averaged = (Classifier.open(colours / name) for name in ("export", "averaged"))
    assert (plain.card.tta, averaged.card.tta) == (1, 2)
    red = np.exp(5) / (np.exp(5) + 2)
    for images in (picture, picture[:, :, ::-1]):
        assert averaged.probs(images)[0, 0] == pytest.approx((red + 1 / 3) / 2, abs=1e-6)
        assert averaged.probs(images)[0, 1] == pytest.approx(((1 - red) / 2 + 1 / 3) / 2, abs=1e-6)
    assert plain.probs(picture)[0, 0] == pytest.approx(red, abs=1e-6)
    assert plain.probs(picture[:, :, ::-1])[0, 0] == pytest.approx(1 / 3, abs=1e-6)


def test_unlikeness_by_hand(colours: Path) -> None:
    """A red picture is like the training pictures, a blue one is not, and a mean is between."""
    pictures = np.zeros((4, COLOURS_SIZE, COLOURS_SIZE, 3), np.uint8)
    for row in range(3):
        pictures[row, ..., row] = 200
    pictures[3] = np.random.default_rng(0).integers(0, 256, pictures[3].shape)
    assert tell_ratios(pictures)[:3].tolist() == [0, 1.5, 2]
    for name in ("telling", "telling.keras"):
        classifier = Classifier.open(colours / name)
        assert classifier.card.unlike_above == 1
        probs, ratios = classifier.judge(pictures)
        assert (probs == classifier.probs(pictures)).all()
        assert ratios[:, 0] == pytest.approx(tell_ratios(pictures), abs=1e-5)
    pictures[0, :, 3::4] = 0, 0, 200  # the mirror image sees blue columns alone
    averaged = Classifier.open(colours / "strict")
    assert averaged.card.unlike_above == 0.5
    assert averaged.judge(pictures[:1])[1].item() == pytest.approx((0 + 2) / 2, abs=1e-5)
    (probs,) = Classifier.open(colours / "export").judge(pictures)  # an older file tells none
    assert probs.shape == (4, 3)
    assert Classifier.open(colours / "export").card.unlike_above is None


def test_heatmaps_and_features_of_a_model_that_tells_unlikeness_are_as_before(
    colours: Path,
) -> None:
    pictures = np.random.default_rng(1).integers(0, 256, (2, COLOURS_SIZE, COLOURS_SIZE, 3))
    plain, telling = (Classifier.open(colours / name) for name in ("export", "telling"))
    images, classes = pictures.astype(np.uint8), np.array([0, 2])
    assert (plain.heatmaps(images, classes) == telling.heatmaps(images, classes)).all()
    for one, other in zip(plain.features(images), telling.features(images), strict=True):
        assert (one == other).all()


@pytest.mark.parametrize(
    ("name", "value"), [("telling", None), ("telling", -1), ("telling", "1"), ("export", 1.0)]
)
def test_a_card_must_say_from_where_on_a_picture_is_unlike(
    colours: Path, tmp_path: Path, name: str, value: object
) -> None:
    shutil.copytree(colours / name, tmp_path / "model")
    card = json.loads((tmp_path / "model/model.json").read_bytes())
    (tmp_path / "model/model.json").write_text(json.dumps(card | {"unlike_above": value}))
    with pytest.raises(ModelError, match=r"model\.json: not an exp.*unlike_above: found"):
        Classifier.open(tmp_path / "model")


@pytest.mark.parametrize("name", NAMES)
def test_weights_stand_once_and_no_unknown_operation_is_added(models: Path, name: str) -> None:
    plain, averaged = (models / made / name for made in ("first", "averaged"))
    sizes = [(path / "model.bin").stat().st_size for path in (plain, averaged)]
    assert abs(sizes[1] - sizes[0]) < 1000  # bytes
    kinds = [
        Counter(re.findall(r'<layer [^>]*type="(\w+)"', (path / "model.xml").read_text("utf-8")))
        for path in (plain, averaged)
    ]
    added = kinds[1] - kinds[0]
    assert {*added} - {"Const", "ReduceMean"} == MIRROR_OPERATIONS
    assert added["ReduceMean"] == 1


def test_an_exported_model_imports_neither_keras_nor_tensorflow(colours: Path) -> None:
    code = """
import sys
import numpy as np
from pathlib import Path
from pawprint.inference.classifier import Classifier
from pawprint.inference.overlays import blend_heatmap
classifier = Classifier.open(Path("export"))
images = np.full((1, 32, 32, 3), 99, np.uint8)
heatmaps = classifier.heatmaps(images, classifier.probs(images).argmax(axis=1))
blend_heatmap(images[0], heatmaps[0], 0.5)
heavy = {"keras", "tensorflow", "matplotlib", "cv2", "pydantic", "scipy"} & set(sys.modules)
print(sorted(heavy))
"""
    done = run_python("-c", code, cwd=colours)
    assert (done.stdout, done.returncode) == (b"[]\n", 0), done.stderr.decode()


def test_a_signal_after_models_were_closed_reaches_its_handler(colours: Path) -> None:
    """OpenVINO's plugins exchange the stack that signals are handled on: see ``openvino_core``."""
    code = """
import os, signal
from pathlib import Path
from pawprint.inference.classifier import Classifier
first, second = (Classifier.open(Path(name)) for name in ("export", "averaged"))
del first
del second
signal.signal(signal.SIGTERM, lambda number, frame: print("handled"))
os.kill(os.getpid(), signal.SIGTERM)
"""
    done = run_python("-c", code, cwd=colours)
    assert (done.stdout, done.returncode) == (b"handled\n", 0), done.stderr.decode()


@pytest.mark.parametrize("name", ["export", "colours.keras"])
def test_no_more_cores_are_used_than_may_be(colours: Path, name: str) -> None:
    code = f"""
from pathlib import Path
from pawprint.inference import classifier
from pawprint.networks import predictor
class Watched(predictor.OpenVinoPredictor):
    def __init__(self, graph, precision, cores):
        print("cores:", cores)
        super().__init__(graph, precision, cores)
predictor.OpenVinoPredictor = classifier.OpenVinoPredictor = Watched
classifier.Classifier.open(Path("{name}"), 3)
"""
    done = run_python("-c", code, cwd=colours)
    assert done.stdout == b"cores: 3\n", done.stderr


def test_decoding_is_the_pipelines(colours: Path) -> None:
    classifier = Classifier.open(colours / "export")
    with pytest.raises(ImageError, match=r"^101x100 pixels, more than 10000$"):
        classifier.decode(b"P6 101 100 255\n" + bytes(101 * 100 * 3))
    picture = b"P6 100 100 255\n" + bytes(range(200)) * 150
    decoded = decode_image(picture, COLOURS_SIZE, 10_000)
    np.testing.assert_array_equal(classifier.decode(picture), decoded)


LONG_PICTURE = b"P6 60 100 255\n" + bytes(range(180)) * 100


def test_a_card_says_how_a_picture_becomes_a_square(copy: Path) -> None:
    for resize in RESIZES:
        edit_card(copy, resize=resize)
        decoded = decode_image(LONG_PICTURE, COLOURS_SIZE, 10_000, resize=resize)
        np.testing.assert_array_equal(Classifier.open(copy).decode(LONG_PICTURE), decoded)


@pytest.fixture
def copy(colours: Path, tmp_path: Path) -> Path:
    """A copy of an exported model, to be damaged."""
    directory = tmp_path / "model"
    directory.mkdir()
    for path in (colours / "export").iterdir():
        (directory / path.name).write_bytes(path.read_bytes())
    return directory


def test_files_that_are_exchanged_while_a_model_is_opened_are_noticed(
    models: Path, tmp_path: Path
) -> None:
    """Two models take turns, file by file: what is opened is one of them, or an error."""
    sources = [models / "first" / name for name in NAMES]
    expected = {
        Classifier.open(s, 1).digest: Classifier.open(s, 1).probs(PICTURES) for s in sources
    }
    assert len(expected) == 2
    directory, done = shutil.copytree(sources[0], tmp_path / "model"), Event()

    def exchange() -> None:
        while not done.is_set():
            for source in sources:
                for file in source.iterdir():
                    shutil.copy(file, tmp_path / "new")
                    os.replace(tmp_path / "new", directory / file.name)

    other = Thread(target=exchange)
    other.start()
    refused, of_another = 0, r"SHA-256 is not that of model\.json|but model\.xml refers to"
    try:
        for _ in range(60):
            try:
                classifier = Classifier.open(directory, 1)
            except ModelError as error:
                assert re.search(of_another, str(error))  # noqa: PT017
                refused += 1
            else:
                probs = classifier.probs(PICTURES)
                np.testing.assert_array_equal(probs, expected[classifier.digest])
    finally:
        done.set()
        other.join()
    assert refused


def test_a_keras_files_digest_is_that_of_its_bytes_and_it_says_how_to_resize(
    colours: Path,
) -> None:
    code = """
import sys
from pathlib import Path
from pawprint.inference.classifier import Classifier
picture = sys.stdin.buffer.read()
for name in ("colours", "boxed"):
    classifier = Classifier.open(Path(f"{name}.keras"))
    print(classifier.digest, classifier.decode(picture).tobytes().hex())
"""
    done = run_python("-c", code, cwd=colours, stdin=LONG_PICTURE)
    lines = [line.split() for line in done.stdout.decode().splitlines()]
    ways: tuple[tuple[str, Resize], ...] = (("colours", "stretch"), ("boxed", "letterbox"))
    for (name, resize), (digest, decoded) in zip(ways, lines, strict=True):
        assert digest == hashlib.sha256((colours / f"{name}.keras").read_bytes()).hexdigest()
        expected = decode_image(LONG_PICTURE, COLOURS_SIZE, 20_000, resize=resize)
        assert decoded == expected.tobytes().hex()


def edit_card(directory: Path, **changes: object) -> None:
    path = directory / "model.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | changes))


@pytest.mark.parametrize("name", ["model.xml", "model.bin", "gradcam.npz", "model.json"])
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(ModelError, match=rf"^\S+{name}: [^\n]*No such file[^\n]*run dvc repro$"):
        Classifier.open(copy)


@pytest.mark.parametrize("name", ["model.xml", "model.bin", "gradcam.npz"])
def test_a_changed_byte_is_noticed(copy: Path, name: str) -> None:
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(ModelError, match=rf"^\S+{name}: [^\n]*SHA-256[^\n]*run dvc repro$"):
        Classifier.open(copy)


@pytest.mark.parametrize(
    ("text", "found"),
    [("{", "Expecting"), ("[]", "list"), ('{"files": {}}', "name"), ("", "Expecting")],
)
def test_a_damaged_card_is_one_line(copy: Path, text: str, found: str) -> None:
    (copy / "model.json").write_text(text)
    with pytest.raises(ModelError, match=rf"^\S+model.json: [^\n]*{found}[^\n]*run dvc repro$"):
        Classifier.open(copy)


@pytest.mark.parametrize(
    "changes",
    [
        {"class_names": []},
        {"class_names": "abc"},
        {"class_names": [1, 2, 3]},
        {"class_names": ["red", "green"]},
        {"image_size": "32"},
        {"image_size": 16},
        {"max_pixels": 0},
        {"max_value": -1},
        {"max_value": "4095"},
        {"name": None},
        {"augment": None},
        {"hashes": {"models/head.keras": 1}},
        {"metrics": [0.9]},
        {"val_log_losses": {"head": "low"}},
        {"val_log_losses": {"head": float("nan")}},
        {"versions": None},
        {"tta": 3},
        {"tta": True},
        {"resize": "squash"},
        {"files": [1]},
    ],
)
def test_a_card_of_another_model_is_refused(copy: Path, changes: dict[str, object]) -> None:
    edit_card(copy, **changes)
    with pytest.raises(ModelError, match=r"^\S+model\.(json|xml): [^\n]*; run dvc repro$"):
        Classifier.open(copy)


def test_a_card_says_which_value_of_16_bits_is_white(copy: Path) -> None:
    file = io.BytesIO()
    Image.fromarray(np.full((COLOURS_SIZE, COLOURS_SIZE), 4095, np.uint16)).save(file, "TIFF")
    card = json.loads((copy / "model.json").read_bytes())
    assert card["max_value"] == 0
    for added in ("max_value", "val_log_losses", "tta", "resize"):
        del card[added]  # as in cards from before there were such
    for value, shown in ((None, 16), (0, 16), (4095, 255)):
        given = {} if value is None else {"max_value": value}
        (copy / "model.json").write_text(json.dumps(card | given))
        decoded = Classifier.open(copy).decode(file.getvalue())
        assert np.unique(decoded).tolist() == [shown]


def test_no_model_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"models/export: no such model; expected [^\n]*dvc repro"):
        Classifier.open(tmp_path / "models/export")


def test_a_keras_file_that_is_no_classifier_is_refused(models: Path) -> None:
    without_classes, without_logits = (models / "refused.txt").read_text().splitlines()
    assert without_classes.startswith("backbone.keras: a network without classes; expected a")
    expected = "backbone.keras: model backbone: not a classifier of Pawprint (No such layer"
    assert without_logits.startswith(expected)
