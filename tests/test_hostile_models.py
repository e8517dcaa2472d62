"""Model files that somebody made to do harm: each is refused in one line, in little memory."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from classifiers import COLOURS, colours_models, run_code, run_python
from PIL import Image

# covers: R10, R18

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")

MOST_MB = 500  # these take 240; read without care, most files here would take far more
CHILD = """
import contextlib, io, json, re, sys
from pathlib import Path
from pawprint.__main__ import main
for model in sys.argv[1:]:
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        code = main(["predict", "--model", model, "picture.png"])
    peak_mb = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024
    print(json.dumps([model, code, said.getvalue(), peak_mb]), flush=True)
"""
DEEP = b"[" * 100_000
TOO_LARGE = 3_000_000_000

Members = dict[str, bytes]


def refuse(directory: Path, models: dict[str, str]) -> None:
    """See that ``predict`` refuses models, in one process.

    Args:
        directory: where they are.
        models: name → a pattern of the reason.
    """
    Image.new("RGB", (40, 40)).save(directory / "picture.png")
    done = run_python("-c", CHILD, *models, cwd=directory)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith(b"[")]
    assert [line[0] for line in lines] == list(models), done.stderr.decode()[-3000:]
    wrong = [
        (model, code, said, peak_mb)
        for model, code, said, peak_mb in lines
        if code != 2
        or not re.fullmatch(rf"error: \S*{model}[^\n]*(?:{models[model]})[^\n]*\n", said)
        or len(said) > 500
        or peak_mb > MOST_MB
    ]
    assert not wrong, "\n".join(map(str, wrong))


def sparse(path: Path) -> None:
    """A file that says it is large, and takes no room on the disk."""
    with open(path, "wb") as file:
        file.truncate(TOO_LARGE)


# ---- .keras files


def unpack(path: Path) -> Members:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(members: Members, method: int = zipfile.ZIP_STORED, comment: bytes = b"") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.comment = comment
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


ZIPS: dict[str, tuple[Callable[[Members], bytes], str]] = {
    "empty": (lambda m: b"", "not a zip"),
    "html": (lambda m: b"<html>not found</html>" * 10, "not a zip"),
    "compressed": (lambda m: pack(m, zipfile.ZIP_DEFLATED), "'config.json' in its zip is compress"),
    "bomb": (
        lambda m: pack(m | {"model.weights.h5": bytes(600_000_000)}, zipfile.ZIP_DEFLATED),
        "compressed",
    ),
    "many": (lambda m: pack(m | {f"{i}": b"" for i in range(3000)}), "list of members of more"),
    "further": (lambda m: pack(m | {"assets/x": b""}), "found config.json, .*, assets/x"),
    "absolute": (lambda m: pack(m | {"/etc/x": b""}), "found .*, /etc/x"),
    "upwards": (lambda m: pack(m | {"../../x": b""}), r"found .*, \.\./\.\./x"),
    "fewer": (lambda m: pack({"metadata.json": m["metadata.json"]}), "found metadata.json"),
    "comment": (lambda m: pack(m, comment=b"x" * 100), "comment"),
    "twice": (
        lambda m: pack(m | {"Metadata.json": b""}).replace(b"Metadata.json", b"metadata.json"),
        "two members of its zip have one name",
    ),
    "encrypted": (
        lambda m: re.sub(rb"(?s)(?<=PK\x01\x02....)\0\0", b"\1\0", pack(m)),
        "encrypted",
    ),
    "other name": (
        lambda m: pack(m).replace(b"metadata.json", b"metadata.jsoN", 1),
        "damaged zip: File name",
    ),
    "zip64": (lambda m: zip64(pack(m)), "list of members of more"),
}


def zip64(content: bytes) -> bytes:
    """Announce another end of the zip, of which only Zip64 knows."""
    return content[:-22] + b"PK\x06\x07" + bytes(16) + content[-22:]


def metadata(**changes: Any) -> bytes:
    info = {"class_names": COLOURS, "image_size": 32} | changes
    return json.dumps({"keras_version": "3", "pawprint": info}).encode()


METADATA: dict[str, tuple[bytes, str]] = {
    "none": (b"", "Expecting value"),
    "list": (b"[]", "lacks"),
    "deep": (DEEP, "more than 50 levels"),
    "deeper than needed": (b'{"a":' * 60 + b"1" + b"}" * 60, "more than 50 levels"),
    "large": (b'"' + bytes(5_000_000).replace(b"\0", b"x") + b'"', "5,000,002 bytes, more"),
    "bytes": (b'{"pawprint": "\xff"}', "codec"),
    "further": (metadata(more=1), "lacks"),
    "million names": (metadata(class_names=[f"{i}" for i in range(1_000_000)]), "bytes, more than"),
    "many names": (metadata(class_names=[f"{i}" for i in range(70_000)]), "at most 65,536 names"),
    "one name": (metadata(class_names="red"), "class_names: expected a list"),
    "numbers": (metadata(class_names=[1, 2, 3]), "class_names: .* found 1"),
    "nested names": (metadata(class_names=[["x"] * 9999]), "class_names: expected names"),
    "no letters": (metadata(class_names=["", "a", "b"]), "1 to 1000 characters"),
    "long name": (metadata(class_names=["a" * 1001, "b"]), "1 to 1000 characters"),
    "same names": (metadata(class_names=["a", "b", "a"]), "twice"),
    "half a letter": (metadata(class_names=["\ud800", "b", "c"]), "surrogates"),
    "large image": (metadata(image_size=10**9), "image_size: .*1000000000"),
    "huge image": (metadata(image_size=10**900), "image_size"),
    "no image": (metadata(image_size=0), "image_size"),
    "image of text": (metadata(image_size="32"), "image_size"),
    "true image": (metadata(image_size=True), "image_size.*True"),
    "image of no number": (metadata(image_size=float("nan")), "NaN"),
    "other resizing": (metadata(resize="squash"), "resize: expected .*crop; found 'squash'"),
    "no resizing": (metadata(resize=None), "resize: expected .*crop; found None"),
    "nested resizing": (metadata(resize=[["x"] * 9999]), "resize: expected .*crop; found .{50}"),
    "fewer names": (metadata(class_names=["red", "green"]), "2 classes at 32 px .*3"),
    "other image": (metadata(image_size=33), "3 classes at 33 px .*32"),
}


def layer(config: Any, name: str) -> Any:
    return next(layer for layer in config["config"]["layers"] if layer["name"] == name)


def set_(name: str, **changes: Any) -> Callable[[Any], Any]:
    """Change a layer's own configuration."""
    return lambda config: layer(config, name)["config"].update(changes)


def many_layers(config: Any) -> None:
    config["config"]["layers"] *= 101


def outer_product(config: Any) -> None:
    """Two layers whose weights are few by themselves, and many between them."""
    layers = config["config"]["layers"]
    first = json.loads(json.dumps(layer(config, "logits")))
    layer(config, "logits")["config"]["units"] = 100_000
    first["name"] = first["config"]["name"] = "second"
    first["config"]["units"] = 100_000
    first["build_config"]["input_shape"] = [None, 100_000]
    first["inbound_nodes"][0]["args"][0]["config"]["keras_history"][0] = "logits"
    layers.append(first)


def pad(config: Any) -> None:
    """The first layer surrounds each picture by many pixels."""
    first = layer(config, "choose")
    first.update(class_name="ZeroPadding2D", build_config=None)
    common = {"name": "choose", "data_format": "channels_last"}
    first["config"] = common | {"padding": [[10**6, 0], [10**6, 0]]}


CONFIGS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "sequential": (lambda c: c.update(class_name="Sequential"), "class 'Sequential'"),
    "no layers": (lambda c: c["config"].pop("layers"), "tells of no network"),
    "layers of text": (lambda c: c["config"].update(layers="abc"), "tells of no network"),
    "many layers": (many_layers, "of 606 layers"),
    "lambda": (lambda c: layer(c, "logits").update(class_name="Lambda"), "'Lambda'"),
    "nested": (lambda c: layer(c, "logits").update(class_name="Functional"), "'Functional'"),
    "function": (
        set_("logits", activation={"class_name": "function", "config": "x", "module": "os"}),
        "'function'",
    ),
    "array": (
        set_(
            "logits",
            kernel_initializer={
                "class_name": "__numpy__",
                "module": "keras.initializers",
                "config": {"value": "x", "dtype": "S2000000000"},
            },
        ),
        "'__numpy__'",
    ),
    "many units": (set_("logits", units=10**9), "layers of 4,000,000,"),
    "units of text": (set_("logits", units="9" * 1000), "whole number"),
    "units below zero": (set_("logits", units=-1), "whole number"),
    "many filters": (set_("choose", filters=10**8), "layers of 4,900,000,"),
    "large kernel": (set_("choose", kernel_size=[10**5, 10**5]), "layers of 90,000,"),
    "no kernel": (set_("choose", kernel_size=None), "not told in full"),
    "channels first": (set_("choose", data_format="channels_first"), "channels_last"),
    "low rank": (set_("logits", lora_rank=10**9), "weights that no model here has"),
    "not built": (lambda c: layer(c, "logits").pop("build_config"), "not told in full"),
    "outer product": (outer_product, "layers of 10,000,"),
    "padding": (pad, "numbers held at a time for one picture"),
    "other units": (set_("logits", units=4), "cannot be loaded"),
    "other shape": (
        lambda c: layer(c, "logits")["build_config"].update(input_shape=[None, 5]),
        "cannot be loaded",
    ),
    "no source": (lambda c: layer(c, "probs").update(inbound_nodes=[]), "cannot be loaded"),
    "name of a number": (lambda c: layer(c, "probs").update(name=3), "cannot be loaded"),
}


def edit_weights(content: bytes, edit: Callable[[h5py.File], Any]) -> bytes:
    stream = io.BytesIO(content)
    with h5py.File(stream, "r+") as file:
        edit(file)
    return stream.getvalue()


def replace(file: h5py.File, **options: Any) -> None:
    del file["layers/dense/vars/0"]
    file.create_dataset("layers/dense/vars/0", **options)


def not_a_number(file: h5py.File) -> None:
    file["layers/dense/vars/0"][1, 1] = np.nan


def infinite(file: h5py.File) -> None:
    file["layers/dense/vars/0"][0, 2] = np.inf


def link(to: Any) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        del file["layers/dense/vars/0"]
        file["layers/dense/vars/0"] = to

    return edit


def in_itself(file: h5py.File) -> None:
    file["layers/dense/vars/again"] = file["layers"]


def virtual(file: h5py.File) -> None:
    del file["layers/dense/vars/0"]
    layout = h5py.VirtualLayout((3, 3), "<f4")
    layout[:] = h5py.VirtualSource("/etc/hostname", "x", (3, 3))
    file.create_virtual_dataset("layers/dense/vars/0", layout)


WEIGHTS: dict[str, tuple[Callable[[h5py.File], Any], str]] = {
    "nan": (not_a_number, "not a finite number"),
    "infinity": (infinite, "not a finite number"),
    "elsewhere": (link(h5py.ExternalLink("/etc/hostname", "/x")), "link to another place"),
    "aside": (link(h5py.SoftLink("/layers")), "link to another place"),
    "in itself": (in_itself, "too many objects, or too deep"),
    "virtual": (virtual, "numbers from another file"),
    "raw file": (
        lambda f: replace(f, shape=(3, 3), dtype="<f4", external=[("/etc/hostname", 0, 36)]),
        "numbers from another file",
    ),
    "bomb": (
        lambda f: replace(f, shape=(10**9,), dtype="<f4", chunks=(10**6,), compression="gzip"),
        "unpacks to 4,000,000,",
    ),
    "text": (lambda f: replace(f, data=np.array([b"a", b"b"])), "no number"),
    "type": (lambda f: f.__setitem__("type", np.dtype("<f4")), "no array"),
}


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return colours_models(tmp_path_factory)


def test_hostile_keras_files(colours: Path, tmp_path: Path) -> None:
    """Those that are known before Keras is imported."""
    members, expected = unpack(colours / "colours.keras"), {}
    contents = {f"zip {name}": (make(members), said) for name, (make, said) in ZIPS.items()}
    last = ("fewer names", "other image")  # Keras must look into these
    for name, (text, said) in METADATA.items():
        if name not in last:
            contents[f"metadata {name}"] = (pack(members | {"metadata.json": text}), said)
    for name, (content, said) in contents.items():
        (tmp_path / f"{name}.keras").write_bytes(content)
        expected[f"{name}.keras"] = said
    sparse(tmp_path / "large.keras")
    expected["large.keras"] = "3,000,000,000 bytes, more than"
    (tmp_path / "folder.keras").mkdir()
    os.mkfifo(tmp_path / "pipe.keras")
    expected |= dict.fromkeys(["folder.keras", "pipe.keras"], "no such model")
    refuse(tmp_path, expected)


def test_hostile_networks_in_keras_files(colours: Path, tmp_path: Path) -> None:
    members, expected = unpack(colours / "colours.keras"), {}
    contents: dict[str, tuple[Members, str]] = {
        "config deep": ({"config.json": DEEP}, "more than 50 levels"),
        "config large": ({"config.json": b" " * 5_000_000}, "5,000,000 bytes, more than"),
        "weights garbled": ({"model.weights.h5": b"garbage"}, "damaged HDF5"),
    }
    for name in ("fewer names", "other image"):
        text, said = METADATA[name]
        contents[f"metadata {name}"] = ({"metadata.json": text}, said)
    for name, (edit, said) in CONFIGS.items():
        config = json.loads(members["config.json"])
        edit(config)
        contents[f"config {name}"] = ({"config.json": json.dumps(config).encode()}, said)
    for name, (change, said) in WEIGHTS.items():
        weights = edit_weights(members["model.weights.h5"], change)
        contents[f"weights {name}"] = ({"model.weights.h5": weights}, said)
    for name, (changes, said) in contents.items():
        (tmp_path / f"{name}.keras").write_bytes(pack(members | changes))
        expected[f"{name}.keras"] = said
    refuse(tmp_path, expected)


LONG_CONVOLUTION = """
from pawprint.networks.runtime import start_engine
start_engine("openvino", 1)
import keras
from pathlib import Path
from pawprint.networks.architectures import LOGITS, add_pooling, add_probs
from pawprint.networks.model_files import ModelInfo, save_model
pixels = keras.Input((1024, 1024, 3), name="pixels")
features = keras.layers.Conv2D(16, 301, padding="same", kernel_initializer="zeros")(pixels)
backbone = add_pooling(keras.Model(pixels, features), "avg")
logits = keras.layers.Dense(2, name=LOGITS)(backbone.output)
model = add_probs(keras.Model(pixels, logits))
save_model(model, Path("long convolution.keras"), ModelInfo(["a", "b"], 1024))
"""


def test_networks_that_would_take_hours(tmp_path: Path) -> None:
    run_code(LONG_CONVOLUTION, tmp_path)
    refuse(tmp_path, {"long convolution.keras": "multiplications for one picture, more than"})


NEEDED = """
from pawprint.networks.runtime import start_engine
start_engine("openvino", 1)
import keras, sys
from pawprint.backbones.build import build_backbone
from pawprint.networks.config_bounds import check_outputs
from pawprint.networks.graph_files import check_graph
from pawprint.networks.openvino_graph import average_mirrored, build_graph
from pawprint.networks.architectures import LOGITS, add_pooling, add_probs
from pawprint.registry.backbones import BACKBONES
for backbone in BACKBONES:
    size_px = 1024 if backbone.name == "VGG16" else 2048
    features = build_backbone(backbone.name, size_px, "none")
    pooled = add_pooling(features, "avg")
    logits = keras.layers.Dense(1000, name=LOGITS)(pooled.output)
    model = add_probs(keras.Model(pooled.input, logits))
    check_outputs(model)
    network = keras.Model(model.input, [model.output, features.output])
    check_graph(build_graph(network, 1), size_px, 1)
    if backbone.name in ("VGG16", "ResNet50"):  # whose costs are the highest
        check_graph(average_mirrored(build_graph(network, 2)), size_px, 2)
"""


def test_no_backbone_is_refused_at_any_size_of_use(tmp_path: Path) -> None:
    run_code(NEEDED, tmp_path)


# ---- exported models


def replace_file(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda model: write(model, name, content)


def write(model: Path, name: str, content: bytes) -> None:
    """Write a file of a model, and its digest into the card."""
    (model / name).write_bytes(content)
    card = json.loads((model / "model.json").read_bytes())
    card["files"][name] = hashlib.sha256(content).hexdigest()
    (model / "model.json").write_text(json.dumps(card))


def edit_xml(old: str, new: str) -> Callable[[Path], None]:
    def edit(model: Path) -> None:
        text = (model / "model.xml").read_text(encoding="utf-8")
        assert old in text
        write(model, "model.xml", text.replace(old, new).encode())

    return edit


def edit_card(**changes: Any) -> Callable[[Path], None]:
    def edit(model: Path) -> None:
        path = model / "model.json"
        path.write_text(json.dumps(json.loads(path.read_bytes()) | changes))

    return edit


def edit_tail(**changes: Any) -> Callable[[Path], None]:
    """Change arrays of the tail: ``kinds``, ``1.kernel``, ``1.bias``."""

    def edit(model: Path) -> None:
        with np.load(model / "gradcam.npz") as file:
            arrays = dict(file)
        stream = io.BytesIO()
        np.savez(stream, allow_pickle=True, **(arrays | changes))
        write(model, "gradcam.npz", stream.getvalue())

    return edit


def edit_weights_file(numbers: float) -> Callable[[Path], None]:
    def edit(model: Path) -> None:
        content = (model / "model.bin").read_bytes()
        kernel = np.float32(0.25).tobytes()
        assert kernel in content
        write(model, "model.bin", content.replace(kernel, np.float32(numbers).tobytes()))

    return edit


def link_file(name: str, target: str) -> Callable[[Path], None]:
    def edit(model: Path) -> None:
        (model / name).unlink()
        (model / name).symlink_to(target)

    return edit


def make_pipe(name: str) -> Callable[[Path], None]:
    def edit(model: Path) -> None:
        (model / name).unlink()
        os.mkfifo(model / name)

    return edit


def make_sparse(name: str) -> Callable[[Path], None]:
    return lambda model: sparse(model / name)


ENTITIES = """<?xml version="1.0"?>
<!DOCTYPE net [<!ENTITY a "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa">
<!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]>
<net>&c;</net>"""
DEEP_XML = b"<net>" * 200_000
HEADER = b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '<f4', 'fortran_order': False, 'shape': (%d,), }"


def tail_of(shape: int) -> bytes:
    """A file of one array that says it is large."""
    return pack({"kinds.npy": (HEADER % shape).ljust(127) + b"\n"})


def build(size_px: int, middle: Callable[[Any, Any], Any]) -> Callable[[Path], None]:
    """Put another graph into a model, of pictures of another size.

    Args:
        size_px: side of the picture.
        middle: OpenVINO's operations, pixels float32 [1, size_px, size_px, 3] → [1, h, w, c].
    """

    def edit(model: Path) -> None:
        import openvino as ov
        from openvino import opset13 as ops

        pixels = ops.parameter([1, size_px, size_px, 3], np.uint8)
        features = middle(ops, ops.convert(pixels, "f32"))
        mean = ops.reduce_mean(features, np.array([1, 2]), False)
        kernel = ops.constant(np.zeros((features.shape[3], 3), np.float32))
        probs = ops.softmax(ops.matmul(mean, kernel, False, False), 1)
        ov.serialize(ov.Model([probs, features], [pixels], "model"), model / "model.xml")
        for name in ("model.xml", "model.bin"):
            write(model, name, (model / name).read_bytes())
        edit_card(image_size=size_px)(model)

    return edit


def hold_much(ops: Any, pixels: Any) -> Any:
    """Outputs of 256 MB each, five of which are needed at a time."""
    grey = ops.reduce_mean(pixels, np.array([3]), True)
    outputs = [
        ops.sigmoid(ops.multiply(grey, ops.constant(np.full((1, 1, 1, 16), i, np.float32))))
        for i in range(5)
    ]
    total = outputs[0]
    for output in outputs[1:]:
        total = ops.add(total, output)
    for output in outputs:
        total = ops.multiply(total, output)
    return total


def convolve_long(ops: Any, pixels: Any) -> Any:
    channels = ops.transpose(pixels, np.array([0, 3, 1, 2]))
    kernel = ops.constant(np.zeros((3, 3, 801, 801), np.float32))
    done = ops.convolution(channels, kernel, [1, 1], [400, 400], [400, 400], [1, 1])
    return ops.transpose(done, np.array([0, 2, 3, 1]))


def pool_long(ops: Any, pixels: Any) -> Any:
    from openvino import opset1

    channels = ops.transpose(pixels, np.array([0, 3, 1, 2]))
    sides = [1024, 1024]
    return opset1.max_pool(channels, [1, 1], [0, 0], [0, 0], sides, auto_pad="same_upper")


def write_much(ops: Any, pixels: Any) -> Any:
    """Outputs of 400 MB each, one after another."""
    wide = ops.multiply(pixels, ops.constant(np.ones((8, 1, 1, 1), np.float32)))
    for _ in range(200):
        wide = ops.sigmoid(wide)
    return ops.reduce_mean(wide, np.array([0]), True)


def repeat(ops: Any, pixels: Any) -> Any:
    """The picture 200 times: 10 GB."""
    return ops.reduce_mean(ops.concat([pixels] * 200, 0), np.array([0]), True)


def slice_by_pixels(ops: Any, pixels: Any) -> Any:
    """As many rows as the picture says."""
    rows = ops.convert(ops.reduce_mean(pixels, np.array([0, 2, 3]), False), "i64")
    begin, step, axis = (np.array([i]) for i in (0, 1, 1))
    some = ops.slice(pixels, ops.reduce_mean(rows, np.array([0]), True), begin, step, axis)
    return ops.reduce_mean(some, np.array([1]), True)


def fold(ops: Any, pixels: Any) -> Any:
    """Much of little: OpenVINO computes what has no input before a picture comes."""
    sides = [ops.constant(np.ones(shape, np.float32)) for shape in ((16_384, 1), (1, 16_384))]
    mean = ops.reduce_mean(ops.multiply(*sides), np.array([0, 1]), False)
    return ops.multiply(pixels, mean)


def many_operations(count: int) -> Callable[[Any, Any], Any]:
    def middle(ops: Any, pixels: Any) -> Any:
        for _ in range(count):
            pixels = ops.sigmoid(pixels)
        return pixels

    return middle


def large_weights(model: Path) -> None:
    """Weights of the size that the graph tells, but not those of the card."""
    layer = '<layer id="9999" type="Const"><data offset="0" size="590000000"/></layer>'
    edit_xml("<layers>", f"<layers>{layer}")(model)
    with open(model / "model.bin", "wb") as file:
        file.truncate(590_000_000)


def longer(model: Path) -> None:
    write(model, "model.bin", (model / "model.bin").read_bytes() + b"x")


def second_edges(model: Path) -> None:
    """Those that OpenVINO does not read may not tell that anything takes the picture."""
    edit_xml("</edges>", "</edges><edges/>")(model)


EXPORTED: dict[str, tuple[Callable[[Path], None], str]] = {
    "card deep": (lambda m: _put(m, DEEP), "model.json: [^\\n]*more than 50 levels"),
    "card large": (lambda m: _put(m, b" " * 5_000_000), "5,000,000 bytes, more than"),
    "card sparse": (make_sparse("model.json"), "3,000,000,000 bytes, more than"),
    "card endless": (link_file("model.json", "/dev/zero"), "not an ordinary file"),
    "card pipe": (make_pipe("model.json"), "not an ordinary file"),
    "card list": (lambda m: _put(m, b"[1]"), "found a list"),
    "files of a list": (edit_card(files=["x"]), "files: found"),
    "many names": (edit_card(class_names=[f"{i}" for i in range(70_000)]), "at most 65,536"),
    "same names": (edit_card(class_names=["a", "b", "a"]), "twice"),
    "no names": (edit_card(class_names=[]), "0 class_names"),
    "large image": (edit_card(image_size=10**9), "image_size"),
    "true image": (edit_card(image_size=True), "image_size"),
    "other image": (edit_card(image_size=2048), r"it takes .*32.*expected .*2048"),
    "many pixels": (edit_card(max_pixels=10**12), "max_pixels"),
    "name of a list": (edit_card(name=["x"] * 10_000), "name: found"),
    "three views": (edit_card(tta=3), "tta: found 3"),
    "other resizing": (edit_card(resize="squash"), "resize: expected .*crop; found 'squash'"),
    "resizing of a list": (edit_card(resize=["crop"] * 10_000), "resize: expected .*crop; found "),
    "metrics without number": (edit_card(metrics={"a": float("nan")}), "NaN in JSON"),
    "xml garbled": (replace_file("model.xml", b"<net>"), "not XML"),
    "xml entities": (replace_file("model.xml", ENTITIES.encode()), "declares its own type"),
    "xml deep": (replace_file("model.xml", DEEP_XML), "more than 8 levels"),
    "xml large": (replace_file("model.xml", b" " * 17_000_000), "17,000,000 bytes, more than"),
    "xml of nothing": (replace_file("model.xml", b"<net/>"), "model.xml"),
    "xml loop": (edit_xml('type="Convolution"', 'type="Loop"'), "the operation 'Loop'"),
    "xml wide": (edit_xml('shape="1,32,32,3"', 'shape="1,99999,99999,3"'), r"it takes .*99999"),
    "xml any size": (edit_xml('shape="1,32,32,3"', 'shape="1,?,?,3"'), "no fixed shape"),
    "xml padded": (
        edit_xml(
            'pads_begin="0, 0" pads_end="0, 0" auto_pad="valid"',
            'pads_begin="1000000, 1000000" pads_end="0, 0" auto_pad="explicit"',
        ),
        "numbers held at a time for one picture",
    ),
    "xml of much memory": (build(2048, hold_much), "numbers held at a time for one picture"),
    "xml of long convolution": (build(2048, convolve_long), "multiplications for one picture"),
    "xml of long pooling": (build(2048, pool_long), "multiplications for one picture"),
    "xml of long chain": (build(2048, write_much), "numbers in all outputs for one picture"),
    "xml of many pictures": (build(2048, repeat), "numbers held at a time for one picture"),
    "xml of many views": (
        lambda m: (build(2048, repeat)(m), edit_card(tta=2)(m))[0],
        "numbers held at a time for one picture",
    ),
    "xml of unknown rows": (build(32, slice_by_pixels), "no fixed shape"),
    "xml of constants alone": (build(32, fold), "'Multiply' of constants alone"),
    "xml of many operations": (
        build(32, many_operations(1_500)),
        r"1,5\d\d operations, more than 1,200",
    ),
    "xml of many layers": (build(32, many_operations(6_000)), "more than 4,800 layers"),
    "xml twice": (edit_xml('layer id="1"', 'layer id="0"'), "two layers of id 0"),
    "xml odd id": (edit_xml('layer id="1"', 'layer id="01"'), "id: expected a whole number"),
    "xml second edges": (second_edges, "'edges' twice"),
    "xml beyond": (edit_xml('offset="0"', 'offset="123456789"'), "model.bin.*refers to 123,456,"),
    "bin empty": (replace_file("model.bin", b""), "model.bin.*0 bytes, but model.xml refers to"),
    "bin short": (replace_file("model.bin", b"1234"), "model.bin.*4 bytes, but model.xml refers"),
    "bin longer": (longer, "model.bin.* bytes, but model.xml refers to"),
    "bin of another sum": (large_weights, "model.bin.*its SHA-256 is not that of model.json"),
    "bin sparse": (make_sparse("model.bin"), "3,000,000,000 bytes, more than"),
    "bin endless": (link_file("model.bin", "/dev/zero"), "not an ordinary file"),
    "bin pipe": (make_pipe("model.bin"), "not an ordinary file"),
    "bin nan": (edit_weights_file(np.nan), "not a finite number"),
    "bin infinity": (edit_weights_file(np.inf), "not a finite number"),
    "tail large": (replace_file("gradcam.npz", tail_of(10**11)), "array of shape"),
    "tail many": (replace_file("gradcam.npz", ZIPS["many"][0]({})), "list of members"),
    "tail bomb": (
        replace_file("gradcam.npz", pack({"kinds.npy": bytes(10**8)}, zipfile.ZIP_DEFLATED)),
        "compressed",
    ),
    "tail sparse": (make_sparse("gradcam.npz"), "3,000,000,000 bytes, more than"),
    "tail command": (edit_tail(kinds=np.array([{}, {}])), "gradcam.npz.*array of shape"),
    "tail nan": (edit_tail(**{"1.bias": np.full(3, np.nan)}), "not a finite number"),
    "tail narrow": (edit_tail(**{"1.kernel": np.zeros((2, 3))}), "does not fit"),
    "tail of others": (edit_tail(**{"1.bias": np.zeros(4)}), "does not fit"),
    "tail unknown": (edit_tail(kinds=np.array(["odd", "dense"])), "does not fit"),
}


def _put(model: Path, content: bytes) -> None:
    (model / "model.json").write_bytes(content)


def test_hostile_exported_models(colours: Path, tmp_path: Path) -> None:
    for name, (edit, _) in EXPORTED.items():
        shutil.copytree(colours / "export", tmp_path / name)
        edit(tmp_path / name)
    refuse(tmp_path, {name: reason for name, (_, reason) in EXPORTED.items()})
