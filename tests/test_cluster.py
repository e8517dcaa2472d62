# covers: B9, R20, C5
"""Work on shards by a Ray cluster: the same results, whatever is killed, and mistakes in one line.

One Ray node stands for the cluster; tests/test_scale.py has several, without a common directory.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zipfile import ZipFile

import pytest
import shard_tasks
from classifiers import ROOT, colours_models, run_python
from PIL import Image
from shard_tasks import SQUARES, Number, ray_node

from pawprint.answers.orders import Order
from pawprint.cli import predict
from pawprint.cli.sending import await_start
from pawprint.cluster import engine
from pawprint.cluster.costs import WireCosts
from pawprint.cluster.engine import Cluster, on_cluster
from pawprint.cluster.machines import Machine, find_differences, this_machine
from pawprint.cluster.messages import Done
from pawprint.cluster.session import explain
from pawprint.data.manifest import Picture
from pawprint.data.preprocess import preprocess_pictures
from pawprint.inspection.thumbnails import write_thumbnails
from pawprint.runner import machine
from pawprint.runner.errors import DataError, ImageError, ImageFault, PawprintError
from pawprint.runner.journal import ShardTask, engine_in_use, map_shards, send_shards
from pawprint.runner.params import ComputeParams, Params
from pawprint.versions.rows import write_recipe


def of_cluster(address: str, **changes: Any) -> ComputeParams:
    others: dict[str, Any] = {"mixed": False, "timeout_s": 60.0} | changes
    return ComputeParams(engine="ray", address=address, **others)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with ray_node(cpus=2) as node:
        yield node.address


@pytest.fixture(scope="module")
def cluster(address: str) -> Iterator[Cluster]:
    with closing(Cluster(of_cluster(address))) as found:
        yield found


def never(shard: Number) -> list[object]:
    raise AssertionError(shard)


def squares(out: Path, *ways: str) -> list[Number]:
    return [Number(value, out, way) for value, way in enumerate(ways)]


def test_answers_stand_in_the_order_of_their_shards(
    cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with engine_in_use(cluster):
        found = map_shards(never, squares(tmp_path, *[""] * 9), "squares", shard_task=SQUARES)
    assert found == [[i, i * i] for i in range(9)]
    assert [(tmp_path / f"{i}.txt").read_text() for i in range(9)] == [str(i * i) for i in range(9)]
    out, err = capsys.readouterr()
    assert re.search(r"^squares in [\d.]+ s: [\d.]+ [\d.e+]+ pictures/s$", out, re.M)
    assert re.search(r"^over the wire: [\d.]+ MB out, [\d.]+ MB back; ", out, re.M)
    assert "90/90" in err  # ten pictures a shard


def test_a_process_that_is_killed_changes_nothing(cluster: Cluster, tmp_path: Path) -> None:
    with engine_in_use(cluster):
        found = send_shards(SQUARES, squares(tmp_path, "dies once", "", "dies once"), "squares")
    assert found == [[0, 0], [1, 1], [2, 4]]
    assert (tmp_path / "0.mark").exists()


def test_a_shard_may_take_longer_than_the_wire_is_quiet(cluster: Cluster, tmp_path: Path) -> None:
    """gRPC's servers end a connection after 40 s of silence, if they are asked every ten."""
    with engine_in_use(cluster):
        found = send_shards(SQUARES, squares(tmp_path, "is silent", "is silent"), "squares")
    assert found == [[0, 0], [1, 1]]


def test_orders_a_second_are_counted(address: str) -> None:
    arguments = ("-m", "bench.driver", "--shards", "20", "--address", address)
    done = run_python(*arguments, cwd=ROOT)
    assert re.search(rb"^[1-9]\d* orders a second$", done.stdout, re.M), done.stderr


def test_a_tool_is_opened_once_by_each_process(cluster: Cluster, tmp_path: Path) -> None:
    offset = tmp_path / "offset.txt"
    offset.write_text(str(tmp_path))
    with engine_in_use(cluster):
        shards = squares(tmp_path, *["waits"] * 6)
        found = send_shards(shard_tasks.squares_with_tool(offset), shards, "squares")
    assert found == [[i, 1000 + i * i] for i in range(6)]
    assert 1 <= len(list(tmp_path.glob("opened by *"))) <= 2


def test_what_was_done_here_is_not_done_there_again(
    cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the other way round: both engines write the same notes."""
    shards, journal = squares(tmp_path, "", "", "raises"), tmp_path / "journal"
    with engine_in_use(cluster), pytest.raises(DataError, match=r"^2 cannot be squared$"):
        send_shards(SQUARES, shards, "squares", journal)
    done = len(list(journal.iterdir()))
    mended = [replace(shard, way="") for shard in shards]
    shards[0].files[0].unlink(missing_ok=True)  # what is lost is made again
    with engine_in_use(cluster):
        assert send_shards(SQUARES, mended, "squares", journal) == [[0, 0], [1, 1], [2, 4]]
    assert done <= 2
    capsys.readouterr()
    assert map_shards(never, mended, "squares", None, journal) == [[0, 0], [1, 1], [2, 4]]
    assert capsys.readouterr().out == "continuing: 3 of 3 shards were done\n"


def test_answers_to_work_that_was_given_up_are_not_taken_for_others(
    cluster: Cluster, tmp_path: Path
) -> None:
    with engine_in_use(cluster), pytest.raises(DataError, match=r"^0 cannot be squared$"):
        send_shards(SQUARES, squares(tmp_path, "raises", "waits", "waits"), "squares")
    others = [Number(value, tmp_path, "waits") for value in (7, 8, 9)]
    with engine_in_use(cluster):
        assert send_shards(SQUARES, others, "squares") == [[7, 49], [8, 64], [9, 81]]


def test_shards_that_always_end_their_process_end_the_work_in_one_line(
    cluster: Cluster, tmp_path: Path
) -> None:
    line = (
        r"^squares: what worked on a shard ended 6 times \(WorkerKilled\); what is finished is "
        r"kept, the same command goes on with it$"
    )
    with engine_in_use(cluster), pytest.raises(PawprintError, match=line):
        send_shards(SQUARES, squares(tmp_path, "dies"), "squares")


def test_a_picture_that_takes_too_long_is_named_as_here(cluster: Cluster, tmp_path: Path) -> None:
    """After the second process that it ends: not after six, each of which takes minutes."""
    line = (
        r"^squares: cat/1\.jpg took more processor time than any picture should: remove it, or "
        r"lower preprocess\.max_pixels$"
    )
    shards = squares(tmp_path, "", "burns", "")
    with engine_in_use(cluster), pytest.raises(PawprintError, match=line):
        send_shards(SQUARES, shards, "squares")
    assert (tmp_path / "1.begun").read_text() == "begun " * 2


def test_a_picture_whose_process_is_killed_again_and_again_is_named(
    cluster: Cluster, tmp_path: Path
) -> None:
    line = r"^squares: what worked on a shard ended 6 times \(WorkerKilled at cat/0\.jpg\); "
    with engine_in_use(cluster), pytest.raises(PawprintError, match=line):
        send_shards(SQUARES, squares(tmp_path, "dies at a picture"), "squares")


def test_a_full_disk_of_another_machine_is_named_with_it(cluster: Cluster, tmp_path: Path) -> None:
    line = (
        r"^machine \d+(\.\d+){3} of the cluster: /full: No space left on device; free some space$"
    )
    with engine_in_use(cluster), pytest.raises(PawprintError, match=line):
        send_shards(SQUARES, squares(tmp_path, "has no space"), "squares")


def test_processes_that_a_task_starts_do_not_import_ray(cluster: Cluster, tmp_path: Path) -> None:
    """It takes seconds, and a picture may take ten in all."""
    with engine_in_use(cluster):
        assert send_shards(SQUARES, squares(tmp_path, "has a child"), "squares") == [[0, 0]]


def test_a_fault_of_ours_is_told_with_where_it_was(cluster: Cluster, tmp_path: Path) -> None:
    with engine_in_use(cluster), pytest.raises(ZeroDivisionError) as caught:
        send_shards(SQUARES, squares(tmp_path, "divides"), "squares")
    assert 'shard_tasks.py", line' in "".join(caught.value.__notes__)


def test_an_older_clone_on_another_machine_is_not_taken_for_the_code(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may lie where this one does: a folder that was copied to all machines, and edited here."""
    (tmp_path / "pawprint").mkdir()
    (tmp_path / "pawprint/__init__.py").write_text("raise RuntimeError('an older clone')\n")
    monkeypatch.chdir(tmp_path)
    with on_cluster(of_cluster(address)):
        assert send_shards(SQUARES, squares(tmp_path, ""), "squares") == [[0, 0]]


def test_an_overdue_shard_is_handed_out_once_more(
    address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with on_cluster(of_cluster(address, timeout_s=2.0)):
        found = send_shards(SQUARES, squares(tmp_path, "sleeps once", ""), "squares")
    assert found == [[0, 0], [1, 1]]
    out = capsys.readouterr().out
    assert re.search(r"^Ray cluster of 2 cores: [\d.]+ \(2\)$", out, re.M)
    assert re.search(
        r"^[1-8] orders had no answer in time and were handed out once more$", out, re.M
    )
    told = "squares: no answer for 2 s, orders are handed out once more: `ray status` tells "
    assert out.count(f"{told}whether the cluster is at other work\n") == 1


def test_a_cluster_that_others_keep_busy_is_one_line_in_time(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had a free core at first."""
    monkeypatch.setattr(engine, "STILL_S", 5.0)
    monkeypatch.setattr(engine, "STILL_TIMES", 0)
    line = (
        rf"^compute\.address: the Ray cluster at {re.escape(address)}: squares: no answer for 5 s: "
        r"`ray status` tells whether it is at other work; what is finished is kept, the same "
        r"command goes on with it$"
    )
    shards, journal = squares(tmp_path, "", *["sleeps once"] * 2), tmp_path / "journal"
    with on_cluster(of_cluster(address)), pytest.raises(PawprintError, match=line):
        send_shards(SQUARES, shards, "squares", journal)
    assert (journal / "00000.json").exists()


DRIVER = """
import sys
from pathlib import Path
from shard_tasks import SQUARES, Number
from pawprint.cluster.engine import on_cluster
from pawprint.runner.journal import send_shards
from pawprint.runner.params import ComputeParams

if __name__ == "__main__":
    out = Path(sys.argv[2])
    compute = ComputeParams(engine="ray", address=sys.argv[1], mixed=False, timeout_s=60.0)
    shards = [Number(i, out, "waits") for i in range(12)]
    with on_cluster(compute):
        print(send_shards(SQUARES, shards, "squares", out / "journal"), flush=True)
"""


def test_a_killed_driver_goes_on_where_it_was(address: str, tmp_path: Path) -> None:
    (tmp_path / "driver.py").write_text(DRIVER)
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{shard_tasks.TESTS}"}
    command = [sys.executable, str(tmp_path / "driver.py"), address, str(tmp_path)]
    driver = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    journal, end = tmp_path / "journal", time.monotonic() + 60
    while len(list(journal.glob("*.json"))) < 2 and time.monotonic() < end:
        time.sleep(0.05)
    driver.kill()
    driver.wait()
    done = len(list(journal.glob("*.json")))
    assert 2 <= done < 12
    again = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    assert f"continuing: {done} of 12 shards were done" in again.stdout
    assert str([[i, i * i] for i in range(12)]) in again.stdout


def photos(directory: Path) -> tuple[Path, list[Picture]]:
    """An archive of ten pictures, one of which is none."""
    archive, pictures = directory / "images.zip", []
    with ZipFile(archive, "w") as file:
        for i in range(10):
            name, content = f"{'cat' if i % 2 else 'dog'}/{i}.png", io.BytesIO()
            Image.new("RGB", (40 + i, 30), (20 * i, 90, 200)).save(content, "PNG")
            file.writestr(name, content.getvalue() if i else b"no picture")
            split = "train" if i < 6 else "val" if i < 8 else "test"
            pictures.append(Picture(name, name[:3], split, f"{i:064d}", "", name[:3]))
    return archive, pictures


def contents(directory: Path) -> dict[str, bytes]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}


def test_pictures_are_decoded_and_looked_at_as_here(
    cluster: Cluster, tmp_path: Path, committed: Params
) -> None:
    archive, pictures = photos(tmp_path)
    config = committed.preprocess.model_copy(update={"max_bad": 0.5})

    def decode(out: Path) -> tuple[object, ...]:
        good = preprocess_pictures(archive, pictures, 32, config, out / "processed")
        looks = write_thumbnails(archive, pictures, 10**6, out / "thumbnails")
        return [picture.path for picture in good], [look.reason for look in looks]

    here = decode(tmp_path / "here")
    with engine_in_use(cluster):
        there = decode(tmp_path / "there")
    assert here == there
    assert len(there[0]) == 9  # type: ignore[arg-type]
    found = contents(tmp_path / "there")
    assert found == contents(tmp_path / "here")
    assert {"processed/train/00000.npy", "thumbnails/00000.npy"} <= set(found)
    assert b"not a picture" in found["processed/quarantine.csv"]


NETWORKS = """
import sys
from pathlib import Path
import numpy as np
from pawprint.cluster.engine import on_cluster
from pawprint.data.datasets import LabelledImages
from pawprint.networks.runtime import start_engine
from pawprint.runner.params import ComputeParams
from pawprint.runner.params_file import load_params
from pawprint.storage.shards import ShardedArray, shard_name, write_shard


def main():
    root = Path(sys.argv[1])
    start_engine("openvino", 2)
    import keras
    from pawprint.inference.judging import Judge
    from pawprint.transfer.cut import Cut
    from pawprint.transfer.features import extract_features, start_workers

    keras.utils.set_random_seed(0)
    inputs = keras.Input((32, 32, 3))
    maps = keras.layers.Conv2D(8, 3, activation="relu", name="cut")(inputs / 255.0)
    pooled = keras.layers.GlobalAveragePooling2D()(maps)
    network = keras.Model(inputs, pooled)
    judge = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(pooled))
    params = load_params(sys.argv[3])
    features = params.features.model_copy(update={"views": 2})
    pixels = np.random.default_rng(0).integers(0, 256, (70, 32, 32, 3)).astype(np.uint8)
    splits = {name: root / "processed" / name for name in ("train", "val")}
    for name, count in (("train", 70), ("val", 5)):
        write_shard(splits[name] / shard_name(0), pixels[:count])
    split = LabelledImages(ShardedArray(splits["train"]), np.zeros(70, int), ["a.png"] * 70)
    cut = Cut("cut", True, 2, 0, "float32")
    for engine in ("local", "ray"):
        out = root / engine
        compute = ComputeParams(engine=engine, address=sys.argv[2], mixed=False, timeout_s=60.0)
        with on_cluster(compute), start_workers("openvino") as workers:
            extract_features(network, cut, splits, params.augment, features, out, workers)
            for views in (1, 2):
                said = Judge(judge, views, 32).judge_split(split, "judging")
                np.save(out / f"probs{views}.npy", said.probs)
        print("done:", engine, flush=True)


if __name__ == "__main__":
    main()
"""


def test_networks_give_the_bits_that_they_give_here(address: str, tmp_path: Path) -> None:
    (tmp_path / "networks.py").write_text(NETWORKS)
    done = subprocess.run(
        [sys.executable, "networks.py", str(tmp_path), address, str(ROOT / "params.yaml")],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    here, there = done.stdout.split("done: local\n")
    assert "Ray cluster" not in here
    assert "features in " in there
    local = contents(tmp_path / "local")
    assert {"pooled/train/00001.npy", "boundary/val/00000.npy", "probs1.npy"} <= set(local)
    assert local["probs1.npy"] != local["probs2.npy"]
    assert local == contents(tmp_path / "ray")


def test_a_folder_is_answered_as_here(
    address: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (tmp_path / "models").symlink_to(colours_models(tmp_path_factory))
    (tmp_path / "photos").mkdir()
    for i in range(40):  # more than a batch
        Image.new("RGB", (40, 30), (5 * i, 200 - 5 * i, 30)).save(tmp_path / f"photos/{i:02d}.png")
    (tmp_path / "photos/07.png").write_bytes(b"no picture")
    outputs = []
    for options in ([], ["--ray", address]):
        done = run_python("-m", "pawprint", "predict", "--json", *options, "photos", cwd=tmp_path)
        assert done.returncode == 1, done.stderr.decode()[-2000:]
        outputs.append((done.stdout.decode(), done.stderr.decode()))
    (here, _), (there, told) = outputs
    assert here == there
    assert len(there.splitlines()) == 40
    assert "predict in " in told
    assert " pictures/s" in told


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--ray", "here"], "expected auto, or host:port of a Ray cluster, found 'here'"),
        (
            ["--ray", "ray://10.0.0.1:10001"],
            "host:port of a Ray cluster, found 'ray://10.0.0.1:10001'",
        ),
        (["--ray", "auto", "--gradcam", "x"], "leave --ray or --gradcam away"),
        (["--mixed"], "--mixed is of --ray, which is not given"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    options: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match=r"^2$"):
        predict.main([*options, "photos"], "pawprint predict")
    assert line in capsys.readouterr().err


OWN = Machine({"processor": "EPYC, instructions 1a", "numpy": "2.4"}, "abc")


@pytest.mark.parametrize(
    ("other", "found"),
    [
        (OWN, []),
        (replace(OWN, code="abd"), ["other code of Pawprint"]),
        (
            replace(OWN, facts={"processor": OWN.facts["processor"]}),
            ["numpy unknown instead of 2.4"],
        ),
        (Machine({}, "abc", "keras is not installed"), ["keras is not installed"]),
    ],
)
def test_what_differs_between_machines_is_told(other: Machine, found: list[str]) -> None:
    assert find_differences(OWN, other) == found


def another_type() -> Machine:
    facts = this_machine().facts
    return replace(this_machine(), facts={**facts, "processor": "Another, instructions 00"})


@pytest.fixture
def other_machine(monkeypatch: pytest.MonkeyPatch) -> str:
    """The driver is of another type than the node; what differs, as it is told."""
    monkeypatch.setattr(engine, "this_machine", another_type)
    monkeypatch.setattr(machine, "_others", set())
    own = this_machine().facts["processor"]
    return f"processor {own} instead of Another, instructions 00"


def test_a_machine_that_lacks_something_is_refused_even_where_types_are_mixed(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = replace(this_machine(), code="other")
    monkeypatch.setattr(engine, "this_machine", lambda: own)
    with on_cluster(of_cluster(address, mixed=True)), pytest.raises(PawprintError) as caught:
        send_shards(SQUARES, squares(tmp_path, ""), "squares")
    assert re.sub(r"\d+(\.\d+){3}", "HOST", str(caught.value)) == (
        "compute.address: machines of the cluster lack what this one has (HOST: other code of "
        "Pawprint); install requirements.txt and requirements-ray.txt there"
    )


def test_a_machine_of_another_type_is_refused_by_name(
    address: str, tmp_path: Path, other_machine: str
) -> None:
    line = (
        "compute.address: machines of the cluster could give other last bits than this one "
        f"(HOST: {other_machine}); take them out, or accept that: compute.mixed: true in "
        "params.yaml"
    )
    with on_cluster(of_cluster(address)), pytest.raises(PawprintError) as caught:
        send_shards(SQUARES, squares(tmp_path, ""), "squares")
    assert re.sub(r"\d+(\.\d+){3}", "HOST", str(caught.value)) == line
    assert not (tmp_path / "0.txt").exists()


def test_accepted_it_marks_the_results_and_those_that_go_on_with_them(
    address: str,
    tmp_path: Path,
    other_machine: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shards, journal = squares(tmp_path, ""), tmp_path / "journal"
    with on_cluster(of_cluster(address, mixed=True)):
        assert send_shards(SQUARES, shards, "squares", journal) == [[0, 0]]
    warning = rf"^warning: last bits may differ: [\d.]+: {re.escape(other_machine)}$"
    assert re.search(warning, capsys.readouterr().out, re.M)
    mark = f"made also by: {other_machine}"
    write_recipe(tmp_path, "recipe")
    assert (tmp_path / "recipe.txt").read_text() == f"recipe\n{mark}\n"
    monkeypatch.setattr(machine, "_others", set())  # as in the process of another run
    assert mark not in machine.name_maker(tmp_path / "machine.json", [tmp_path / "0.txt"])
    assert map_shards(never, shards, "squares", None, journal) == [[0, 0]]
    assert mark in machine.name_maker(tmp_path / "machine.json", [tmp_path / "0.txt"])


def refuse(address: str, out: Path, monkeypatch: pytest.MonkeyPatch, within_s: float) -> str:
    """Why there is no work on this cluster."""
    monkeypatch.setattr(engine, "CONNECT_S", within_s)
    with on_cluster(of_cluster(address)), pytest.raises(PawprintError) as caught:
        send_shards(SQUARES, squares(out, ""), "squares")
    return str(caught.value)


def test_an_address_where_nothing_answers_is_one_line_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = time.monotonic()
    assert refuse("127.0.0.1:9", tmp_path, monkeypatch, 3.0) == (
        "compute.address: the Ray cluster at 127.0.0.1:9: not ready after 3 s: nothing answers "
        "there; `ray status` tells whether it runs, and this machine must have joined it: "
        "`ray start --address=HOST:PORT`"
    )
    assert time.monotonic() - begin < 20


def test_a_cluster_that_is_at_other_work_is_one_line(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    shards = dict(enumerate(squares(tmp_path / "other", "", *["sleeps once"] * 3)))
    with closing(Cluster(of_cluster(address))) as other:
        assert next(other.run(SQUARES, shards, "other")) == (0, "kept 0", 0)
        line = refuse(address, tmp_path, monkeypatch, 20.0)
    assert line == (
        f"compute.address: the Ray cluster at {address}: not ready after 20 s: all of its 2 cores "
        "are at other work; wait, or end that"
    )


MISMATCH = """Version mismatch: The cluster was started with:
    Ray: 2.59.1
    Python: 3.11.9
This process on node 10.0.0.1 was started with:
    Ray: 2.60.0
    Python: 3.12.1
"""


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            MISMATCH,
            "it runs Ray 2.59.1 on Python 3.11.9, this machine Ray 2.60.0 on Python 3.12.1; "
            "install the same on all machines",
        ),
        (
            "Could not find any running Ray instance. Please specify",
            "no cluster runs on this machine; `ray start --head` starts one, `ray start "
            "--address=HOST:PORT` joins one",
        ),
        (
            "Failed to connect to Ray cluster at 10.0.0.1:6379",
            "it lets nobody in from here: see by `ray status` that it runs, that this machine has "
            "joined it, and that RAY_AUTH_MODE and its token are the same on all machines",
        ),
        ("something\n  else", "something else"),
    ],
)
def test_what_ray_says_becomes_what_to_do(said: str, told: str) -> None:
    """That Ray says so, tests/test_private_sides.py holds."""
    assert explain(RuntimeError(said)) == told


def test_a_token_that_ray_has_left_here_lets_us_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ray start` asks for a token where it finds one, and nobody has set anything."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    token = tmp_path / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("0" * 64)
    with (
        ray_node(cpus=1) as node,
        closing(Cluster(of_cluster(node.address))) as cluster,
        engine_in_use(cluster),
    ):
        found = map_shards(never, squares(tmp_path, "", ""), "squares", shard_task=SQUARES)
    assert found == [[0, 0], [1, 1]]


def test_without_ray_one_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "find_spec", lambda name: None)
    line = (
        r"^compute\.address: Ray is not installed here: pip install --require-hashes -r "
        r"requirements-ray\.txt, or do without: compute\.engine: local in params\.yaml$"
    )
    with pytest.raises(PawprintError, match=line), on_cluster(of_cluster("auto")):
        pass


NO_RAY = """
import sys
from concurrent.futures import ThreadPoolExecutor
sys.modules["ray"] = None  # an import of it fails
from pawprint.cluster.engine import on_cluster
from pawprint.runner.journal import map_shards
from pawprint.runner.params import ComputeParams
import stages.split, stages.preprocess, stages.features, stages.evaluate

compute = ComputeParams(engine="local", address="auto", mixed=False, timeout_s=60.0)
with on_cluster(compute):
    print(map_shards(abs, [-1, 2], "numbers", ThreadPoolExecutor(1)))
"""


def test_decoders_that_do_not_start_are_told_and_no_picture_is_refused_for_it() -> None:
    """They are played here: real ones take a minute to show it."""
    told = ["takes more than 10 s to decode"]

    class Slow:
        def decode(self, order: Order) -> SimpleNamespace:
            return SimpleNamespace(result=ImageError(told[0], ImageFault.COSTLY))

    with pytest.raises(PawprintError, match=f"{told[0]}; it may be too busy: run it again, or le"):
        await_start(Slow())  # type: ignore[arg-type]


def test_the_local_way_never_imports_ray(tmp_path: Path) -> None:
    done = run_python("-c", NO_RAY, cwd=tmp_path)
    assert done.stdout.decode() == "[1, 2]\n", done.stderr.decode()


class Twice:
    """An engine that answers for its first shard twice."""

    def run(
        self, shard_task: ShardTask, shards: Mapping[int, Any], title: str
    ) -> Iterator[tuple[int, Any, Any]]:
        for number in [*shards, *list(shards)[:1]]:
            yield number, f"kept {shards[number].value}", shards[number].value ** 2

    def describe(self) -> str:
        return ""


def test_a_second_answer_for_a_shard_is_noticed(tmp_path: Path) -> None:
    with (
        engine_in_use(Twice()),
        pytest.raises(RuntimeError, match=r"^squares: two answers for shard 0$"),
    ):
        send_shards(SQUARES, squares(tmp_path, "", ""), "squares")


def test_costs_are_told_by_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([100.0, 110.0])
    monkeypatch.setattr("time.monotonic", lambda: next(now))
    costs = WireCosts("features")
    costs.bytes_out = 30_000_000
    for node, pictures, seconds in (("10.0.0.1", 64, 8.0), ("10.0.0.2", 36, 6.0)):
        costs.add(node, pictures, Done(0, b"12" * 10**6, node, OWN, seconds))
    costs.again = 2
    assert costs.describe(cores=2).splitlines() == [
        "features in 10.0 s: 10.0.0.1 6.4 pictures/s, 10.0.0.2 3.6 pictures/s",
        "over the wire: 30.0 MB out, 4.0 MB back; the cores waited for it, and for this machine, "
        "30% of the time",
        "2 orders had no answer in time and were handed out once more",
    ]


def test_a_cluster_that_is_gone_is_one_line_and_keeps_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where its machine is this one: only the process that knows Ray ends with it."""
    line = (
        r"^compute\.address: the Ray cluster at 127\.0\.0\.1:\d+: the connection to it ended: see "
        r"that it runs; what is finished is kept, the same command goes on with it$"
    )
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "3")  # that Ray waits for its head
    shards, journal = squares(tmp_path, *["waits"] * 100), tmp_path / "journal"
    with ray_node(cpus=1) as node, on_cluster(of_cluster(node.address)):

        def write_and_end(shard: Number, kept: str, answer: int) -> list[object]:
            if len(list(journal.glob("*.json"))) == 3:
                node.end()
            return shard_tasks.write(shard, kept, answer)

        with pytest.raises(PawprintError, match=line):
            send_shards(replace(SQUARES, write=write_and_end), shards, "squares", journal)
    assert len(list(journal.glob("*.json"))) >= 3
