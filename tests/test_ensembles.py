# covers: R1, R3, R16, R18, B1
"""Ensembles: which models join in, one network of them, what is said where they know too much."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from classifiers import run_code

from pawprint.data.manifest import Picture, write_manifest
from pawprint.ensembles.library import find_candidates
from pawprint.ensembles.selection import choose_members, mean_loss
from pawprint.inference.classifier import Classifier
from pawprint.inference.gradcam import TailLayer, compute_heatmaps, parse_tail, save_tail
from pawprint.inference.members import MEMBER, SHARE, check_tails, mean_heatmaps
from pawprint.runner.errors import DataError, ModelError, ParamsError
from pawprint.runner.params import Params
from pawprint.runner.params_file import load_params

ROOT = Path(__file__).parents[1]


def said(*right: float) -> np.ndarray:
    """Probabilities of two classes; given is that of class 0, which is the right one."""
    return np.array([[p, 1 - p] for p in right])


def test_a_model_that_no_other_helps_is_alone():
    good, bad = said(0.9, 0.8, 0.9), said(0.6, 0.7, 0.2)
    assert choose_members([bad, good], np.zeros(3, int), size=5) == [0, 1]


def test_picks_are_those_of_the_best_mean_on_the_way():
    """By hand: the product of the right probabilities is 0.36, then 0.39, 0.3911, 0.39, 0.392."""
    a, b = said(0.9, 0.4), said(0.4, 0.8)
    y_true = np.zeros(2, int)
    assert choose_members([a, b], y_true, size=1) == [1, 0]
    assert choose_members([a, b], y_true, size=2) == [1, 1]
    for size in (3, 4):
        assert choose_members([a, b], y_true, size) == [2, 1]
    assert choose_members([a, b], y_true, size=5) == [3, 2]
    assert choose_members([b, a], y_true, size=4) == [1, 2]  # the order of the models is no matter
    assert choose_members([a, a], y_true, size=4) == [1, 0]  # of equal means that of fewer picks


PICTURES = [
    Picture(f"a/{i}.png", "a", split, f"{i}" * 64, f"{i}" * 16)
    for i, split in enumerate(("train", "train", "val", "test"))
]


def write_model(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_files_are_found_and_what_is_left_out_is_said(tmp_path):
    own = {"head": write_model(tmp_path / "head.keras", b"head")}
    folder = tmp_path / "members"
    write_model(folder / "b/lite2.keras", b"lite2")
    write_model(folder / "a.keras", b"a")
    write_model(folder / "again.keras", b"head")
    write_model(folder / "weights.h5", b"")
    write_model(folder / "README.md", b"")
    write_manifest(folder / "a.csv", PICTURES)
    found, left_out = find_candidates(own, folder, PICTURES)
    assert [model.name for model in found] == ["head", "a.keras", "b/lite2.keras"]
    assert [bool(model.remark) for model in found] == [False, False, True]
    assert re.search("Nothing tells .*b/lite2.keras learned .*lite2.csv", found[2].remark)
    assert len(left_out) == 2
    assert left_out[0].endswith("again.keras: left out, as it is the same model as head")
    assert "weights.h5: not read" in left_out[1]
    with pytest.raises(ParamsError, match=r"ensemble.files: expected a folder .*'.*nowhere'"):
        find_candidates(own, folder / "nowhere", PICTURES)


@pytest.mark.parametrize(
    ("place", "split", "told"),
    [
        (2, "train", "1 of the validation pictures and 0 of the test"),
        (3, "train", "0 of the validation pictures and 1 of the test"),
        (3, "val", "0 of the validation pictures and 1 of the test"),
        (2, "val", ""),
        (0, "test", ""),  # it is judged on what is trained on here: no harm
    ],
)
@pytest.mark.parametrize("same", ["bytes", "group"])
def test_a_model_that_knows_pictures_of_val_or_test_is_refused(tmp_path, place, split, told, same):
    write_model(tmp_path / "x.keras", b"x")
    theirs = list(PICTURES)
    theirs[place] = replace(theirs[place], split=split, path="other/name.png")
    other = {"group": "f" * 16} if same == "bytes" else {"sha256": "f" * 64}
    theirs[place] = replace(theirs[place], **other)
    write_manifest(tmp_path / "x.csv", theirs)
    if told:
        with pytest.raises(ModelError, match=f"x.keras: it learned from {told}"):
            find_candidates({}, tmp_path, PICTURES)
    else:
        assert find_candidates({}, tmp_path, PICTURES)[0][0].remark == ""


def test_a_copy_is_checked_by_its_list_and_may_have_the_list_that_the_first_lacks(tmp_path):
    for name in ("a.keras", "b.keras"):
        write_model(tmp_path / name, b"same")
    write_manifest(tmp_path / "b.csv", PICTURES)
    (tmp_path / "gone.keras").symlink_to(tmp_path / "nowhere.keras")
    (found,), left_out = find_candidates({}, tmp_path, PICTURES)
    assert (found.name, found.remark) == ("a.keras", "")
    assert "b.keras: left out, as it is the same model as a.keras" in left_out[0]
    assert "gone.keras: not read, as it is a link to nothing" in left_out[1]
    write_manifest(tmp_path / "b.csv", [replace(p, split="train") for p in PICTURES])
    with pytest.raises(ModelError, match=r"b\.keras: it learned from 1 of the val"):
        find_candidates({}, tmp_path, PICTURES)


@pytest.mark.parametrize(
    "text", ["", "a,b\n1,2\n", "path,class_name,split,sha256,group\n", "long" * 50_000]
)
def test_a_list_of_something_else_is_refused(tmp_path, text):
    write_model(tmp_path / "x.keras", b"x")
    (tmp_path / "x.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"x.csv: expected the data/split.csv of the experiment"):
        find_candidates({}, tmp_path, PICTURES)


def test_exporting_an_ensemble_that_is_not_made_is_refused():
    content = load_params(ROOT / "params.yaml").model_dump()
    content["export"]["model"] = "ensemble"
    with pytest.raises(ValueError, match=r"export.model: found ensemble, but ensemble.picks is 0"):
        Params(**content)
    content["ensemble"]["picks"] = 1
    assert Params(**content).export.model == "ensemble"


def tail_of(share: float, kernel: np.ndarray) -> list[TailLayer]:
    dense = TailLayer("dense", {"kernel": kernel, "bias": np.zeros(2, np.float32)})
    share_of = TailLayer(MEMBER, {SHARE: np.array([share], np.float32)})
    return [share_of, TailLayer("average_pool"), dense]


def test_heatmaps_are_the_weighted_mean_of_the_members(tmp_path):
    """The larger map is that of the result; each member counts by its share, not by its logits."""
    first, second = np.array([[1, -1]], np.float32), np.array([[50, -50]], np.float32)
    small = np.array([[[[1.0], [0.0]], [[0.0], [0.0]]]], np.float32)  # one place of 2 x 2
    large = np.zeros((1, 4, 4, 1), np.float32)
    large[0, 3, 3] = 8
    layers = tail_of(0.75, first) + tail_of(0.25, second)
    check_tails(layers, [(2, 2, 1), (4, 4, 1)], 2)
    (found,) = mean_heatmaps(layers, [small, large], np.array([0]))
    assert found.shape == (4, 4)
    assert found[0, 0] == 1
    assert found[3, 3] == pytest.approx(1 / 3)
    assert not mean_heatmaps(layers, [small, large], np.array([1])).any()
    (alone,) = mean_heatmaps(layers[1:3], [small], np.array([0]))
    assert alone.tolist() == compute_heatmaps(layers[1:3], small, np.array([0]))[0].tolist()
    save_tail(tmp_path / "tail.npz", layers)
    read = parse_tail((tmp_path / "tail.npz").read_bytes())
    assert (mean_heatmaps(read, [small, large], np.array([0])) == found).all()


@pytest.mark.parametrize(
    ("layers", "shapes", "told"),
    [
        (tail_of(1.0, np.ones((1, 2))), [(2, 2, 1), (2, 2, 1)], "1 tails .* 2 feature maps"),
        (tail_of(1.0, np.ones((1, 2)))[1:], [(2, 2, 1)] * 2, "1 tails .* 2 feature maps"),
        (tail_of(0.5, np.ones((1, 2))), [(2, 2, 1)], "sum to 0.5"),
        (tail_of(np.nan, np.ones((1, 2))), [(2, 2, 1)], "sum to nan"),
        (tail_of(1.0, np.ones((3, 2))), [(2, 2, 1)], "does not fit an input"),
        ([TailLayer(MEMBER, {SHARE: np.zeros(0)})], [(2, 2, 1)], "expected a share"),
        ([TailLayer(MEMBER)], [(2, 2, 1)], "expected a share"),
        ([*tail_of(1.0, np.ones((1, 2))), TailLayer(MEMBER)], [(2, 2, 1)], "expected a share"),
        ([], [(2, 2, 1)], "give"),
    ],
)
def test_tails_that_do_not_fit_are_refused(layers, shapes, told):
    with pytest.raises(ValueError, match=told):
        check_tails(layers, shapes, 2)


# Two heads on one backbone, and a model of half its image size, joined, saved twice and exported
JOIN = """
from pawprint.networks.runtime import start_engine
start_engine("openvino", 1)
import keras, numpy as np
from dataclasses import replace
from pathlib import Path
from pawprint.ensembles.build import build_ensemble, measure, run_candidates
from pawprint.ensembles.joining import JoinedModel, join_models
from pawprint.ensembles.library import LibraryModel, find_candidates
from pawprint.inference.classifier import ModelCard, save_classifier
from pawprint.networks.architectures import *
from pawprint.networks.model_files import ModelInfo, load_model, save_model
from pawprint.networks.predictor import average_views, build_predictor
from pawprint.runner.errors import ModelError
from pawprint.runner.params_file import load_params
from pawprint.unlikeness.fit import Unlikeness
from pawprint.unlikeness.likeness import Likeness
from pawprint.unlikeness.network import add_unlikeness
params, names = load_params(ROOT / "params.yaml"), ["cat", "dog", "emu"]
def backbone(size):
    pixels = keras.Input((size, size, 3), name="pixels")
    x = keras.layers.Rescaling(1 / 64, offset=-2.0, name="scale")(pixels)
    x = keras.layers.Conv2D(4, 5, strides=4, activation="relu", name="conv")(x)
    return add_pooling(keras.Model(pixels, x), "avg")
def head(hidden):
    changed = params.head.model_copy(update={"hidden": hidden})
    return build_head(changed, 4, 3)
keras.utils.set_random_seed(1)
shared = backbone(32)
small = params.baseline.model_copy(update={"image_size": 12, "filters": [4, 4], "dense": 3})
networks = {
    "first": chain(shared, head([]), "first"),
    "second": chain(shared, head([5]), "second"),
    "third": chain(build_resizing(16, 12), build_baseline(small, 3), "third"),
}
own_px = {"first": 32, "second": 32, "third": 16}
likeness = Likeness(np.full(4, 0.3), np.ones((4, 1)), 0.1)
for name, network in networks.items():
    model = add_probs(network)
    if name != "third":  # which has no features of a backbone
        threshold = {"first": 2.0, "second": 5.0}[name]
        model = add_unlikeness(model, Unlikeness(likeness, threshold, (9, 9)))
    save_model(model, Path(f"{name}.keras"), ModelInfo(names, own_px[name]))
pictures, labels = np.load("pictures.npy"), np.array([0, 1, 2, 0, 1, 2])
class Images:  # in memory, as a ShardedArray is on the disk
    def __len__(self):
        return len(pictures)
    def batches(self, size):
        return (pictures[i : i + size] for i in range(0, len(pictures), size))
library = [LibraryModel(n, Path(f"{n}.keras"), "beware" * (n == "first")) for n in networks]
info = ModelInfo(names, 32)
said = run_candidates(library, Images(), info, 4)
half = keras.ops.convert_to_numpy(build_resizing(32, 16)(pictures.astype("float32")))
direct = [build_predictor(add_probs(networks[n]))(pictures)[0] for n in ("first", "second")]
direct.append(keras.ops.convert_to_numpy(add_probs(networks["third"])(half)))
ratios = [one.ratios for one in said]
np.savez("members.npz", probs=[one.probs for one in said], direct=direct, ratios=ratios[:2])
assert ratios[2] is None
shares = [0.5, 0.2, 0.3]
members = [JoinedModel(n, load_model(Path(f"{n}.keras")), s) for n, s in zip(networks, shares)]
for copy in ("one", "two"):
    save_model(join_models(members, 32, 4.0), Path(f"{copy}.keras"), info)
ensemble = load_model(Path("one.keras"))
Path("layers.txt").write_text("\\n".join(layer.name for layer in ensemble.layers))
card = ModelCard("ensemble", names, 32, 10_000, {"flip": True}, {}, {}, {}, unlike_above=1.0)
save_classifier(ensemble, card, Path("exported"))
save_classifier(load_model(Path("two.keras")), replace(card, tta=2), Path("averaged"))
(probs, told), (means, _) = (
    average_views(build_predictor(ensemble), n)(pictures) for n in (1, 2)
)
np.savez("ensemble.npz", probs=probs, means=means, ratios=told[:, 0])
made = build_ensemble(library, said, labels, 4, 32, 0.4)
save_model(made.model, Path("made.keras"), info)
figures = measure(Path("made.keras"), Images(), labels, 4)
alone = join_models([replace(members[2], share=1.0)], 32)
save_model(alone, Path("alone.keras"), info)
np.savez("alone.npz", probs=build_predictor(alone)(pictures)[0])
one = build_ensemble(library[:1], said[:1], labels, 4, 32, 0.4)
of_made, of_one = (build_predictor(each.model)(pictures)[1][:, 0] for each in (made, one))
np.savez("thresholds.npz", made=of_made, one=of_one)
alike = [replace(said[0], ratios=said[0].ratios * 1e-4)]
nearly_one = build_ensemble(library[:1], alike, labels, 4, 32, 0.4)
np.savez("alike.npz", found=build_predictor(nearly_one.model)(pictures)[1][:, 0])
Path("alone.txt").write_text(build_ensemble(library[2:], said[2:], labels, 4, 32, 0.4).describe(
    figures, Path("metrics/ensemble.json")))
import json
Path("made.json").write_text(json.dumps(made.summary | figures))
Path("told.txt").write_text(made.describe(figures, Path("metrics/ensemble.json")))
refused = []
Path("members").mkdir()
Path("members/cut short.keras").write_bytes(Path("first.keras").read_bytes()[:5000])
fetched, _ = find_candidates({}, Path("members"), [])
for wrong in (
    lambda: run_candidates([LibraryModel("e", Path("one.keras"))], Images(), info, 4),
    lambda: run_candidates(library, Images(), ModelInfo(["cat", "dog", "gnu"], 32), 4),
    lambda: run_candidates(fetched, Images(), info, 4),
    lambda: run_candidates(library, Images(), replace(info, resize="crop"), 4),
    lambda: join_models(members * 60, 32),
):
    try:
        wrong()
    except ModelError as error:
        refused.append(str(error))
Path("refused.txt").write_text("\\n".join(refused))
"""
SHARES = np.array([0.5, 0.2, 0.3])
LABELS = np.array([0, 1, 2, 0, 1, 2])
IMAGES = np.random.default_rng(3).integers(0, 256, (6, 32, 32, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def joined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that ``JOIN`` fills."""
    directory = tmp_path_factory.mktemp("joined")
    np.save(directory / "pictures.npy", IMAGES)
    run_code(f"from pathlib import Path\nROOT = Path({str(ROOT)!r})\n{JOIN}", directory)
    return directory


def test_the_saved_network_gives_the_weighted_mean_and_equal_ensembles_are_equal_files(joined):
    members = np.load(joined / "members.npz")
    assert np.abs(members["probs"] - members["direct"]).max() < 1e-5  # the third one sees 16 px
    expected = np.tensordot(SHARES, members["direct"], axes=1)
    found = np.load(joined / "ensemble.npz")["probs"]
    assert np.abs(found - expected).max() < 1e-5
    assert np.ptp(found, axis=0).max() > 0.01  # pictures matter
    assert (joined / "one.keras").read_bytes() == (joined / "two.keras").read_bytes()


def test_what_members_have_in_common_stands_there_once(joined):
    names = (joined / "layers.txt").read_text().split()
    assert {"member1_conv", "member1_logits", "member2_logits", "member3_logits"} <= set(names)
    assert "member2_conv" not in names
    assert names[-1] in ("probs", "unlikeness")


def test_unlikeness_is_the_weighted_mean_of_the_members_that_tell_it(joined):
    """The third one does not: of 0.5 and 0.2, five sevenths and two; over a threshold of 4."""
    first, second = np.load(joined / "members.npz")["ratios"]
    found = np.load(joined / "ensemble.npz")["ratios"]
    assert found == pytest.approx((5 * first + 2 * second) / 7 / 4, rel=1e-4)
    assert np.ptp(found) > 0.01
    exported = Classifier.open(joined / "exported")
    assert (exported.judge(IMAGES)[1][:, 0] == found).all()


def test_an_ensembles_threshold_is_set_again_on_validation(joined):
    """Of six pictures with a wanted share of 0.4: the fifth smallest ratio becomes 1."""
    for found in np.load(joined / "thresholds.npz").values():
        assert np.sort(found)[4] == pytest.approx(1, rel=1e-4)
    told = (joined / "told.txt").read_text()
    if "third" in json.loads((joined / "made.json").read_text())["members"]:
        assert "unlike pictures are told by the other members than third" in told
    assert "it does not tell unlike pictures, as no member does: third" in (
        (joined / "alone.txt").read_text()
    )


def test_an_ensemble_makes_nothing_of_the_rounding_of_its_members(joined):
    """All validation pictures are nearly the same one: ratios are over 0.1, not over 0.0001."""
    of_member, _ = np.load(joined / "members.npz")["ratios"]
    found = np.load(joined / "alike.npz")["found"]
    assert found == pytest.approx(of_member / 0.1, rel=1e-4)


def test_an_exported_ensemble_gives_the_same_to_the_bit(joined):
    exported, averaged = (Classifier.open(joined / name) for name in ("exported", "averaged"))
    found = np.load(joined / "ensemble.npz")
    assert (exported.probs(IMAGES) == found["probs"]).all()
    assert (averaged.probs(IMAGES) == found["means"]).all()
    classes = LABELS
    heatmaps = exported.heatmaps(IMAGES, classes)
    assert heatmaps.shape[1:] == (7, 7)  # the larger of the members' maps
    assert (averaged.heatmaps(IMAGES, classes) == heatmaps).all()
    assert np.ptp(heatmaps, axis=0).max() > 0.01


def test_an_ensemble_of_one_is_that_model_at_the_size_of_this_run(joined):
    expected = np.load(joined / "members.npz")["direct"][2]
    assert np.abs(np.load(joined / "alone.npz")["probs"] - expected).max() < 1e-5


def test_figures_are_those_of_the_saved_file(joined):
    made = json.loads((joined / "made.json").read_text())
    found = np.load(joined / "members.npz")["probs"]
    members = dict(zip(("first", "second", "third"), found, strict=True))
    shares = made["members"]
    probs = sum(share * members[name] for name, share in shares.items())
    assert made["val_log_loss"] == pytest.approx(mean_loss(probs, LABELS), abs=2e-6)
    assert made["val_accuracy"] == pytest.approx((probs.argmax(1) == LABELS).mean(), abs=1e-6)
    assert made["candidates"] == {
        name: pytest.approx(mean_loss(one, LABELS), abs=1e-6) for name, one in members.items()
    }
    told = (joined / "told.txt").read_text()
    assert f"val_log_loss {made['val_log_loss']:.4f}" in told
    assert ("warning: beware" in told) == ("first" in shares) == bool(made["remarks"])


def test_what_cannot_join_is_refused_in_a_line(joined):
    nested, classes, short, squares, large = (joined / "refused.txt").read_text().splitlines()
    assert nested.startswith(
        "one.keras: expected a model as the trainings save it, found another network; "
    )
    assert classes.startswith("first.keras: expected the classes of the data, cat, dog, gnu; ")
    assert re.match("members/cut short.keras: not a model of Pawprint .*; fetch it again ", short)
    assert squares == (
        "first.keras: expected preprocess.resize crop, as in this run, found stretch; train it on "
        "the same squares, or remove it"
    )
    assert re.match("ensemble of first, .* layers, more than the 600 that a model file ", large)
