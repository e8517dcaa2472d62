# covers: R18
"""The measurements of the server: their arithmetic, and short runs of each on tiny models."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from pathlib import Path
from urllib.request import Request

import httpx
import numpy as np
import pytest
from classifiers import colours_models, run_python
from hostile import CLIENTS, OPTIONS, Good, find_damage, hostile_kinds, plan, send_all
from served import colours, picture, serving

from bench.load import check_answers, find_keras_file, get_pictures, parse_options
from bench.load_report import OURS, compute_ratios, count_errors, describe_runs, render_markdown
from bench.plain_server import build_app, decode
from bench.wrk import BOUNDARY, Load, find_wrk, make_form, read_wrk
from pawprint.inference.classifier import Classifier
from pawprint.pictures.images import decode_image
from pawprint.runner.errors import PawprintError

ROOT = Path(__file__).parents[1]
WRK = """\
Running 2s test @ http://127.0.0.1:8000
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency    85.31ms    9.12ms 158.22ms   91.40%
    Req/Sec   184.00     21.77   220.00     70.00%
  370 requests in 2.01s, 113.80KB read
Requests/sec:    184.08
Transfer/sec:     56.62KB
{"duration_us": 2000000, "requests": 370, "p50_us": 84521, "p95_us": 101250, "p99_us": 150040, \
"not_200": 3, "connect": 0, "read": 0, "write": 0, "timeout": 1}
"""


def test_what_wrk_prints_is_read():
    load = read_wrk(WRK)
    assert load == Load(185.0, 84.521, 101.25, 150.04, 370, {"not_200": 3, "timeout": 1})
    with pytest.raises(PawprintError, match=r"^wrk: expected a line of JSON, found 'Running 2s"):
        read_wrk(WRK[:200])


def test_a_missing_wrk_says_how_to_get_it(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(PawprintError, match=r"^wrk: not found; .*apt-get install wrk"):
        find_wrk()


def loads(*rates: float, p50_ms: float, p99_ms: float) -> list[Load]:
    return [Load(rate, p50_ms, 50, p99_ms, round(rate), {}) for rate in rates]


def runs() -> dict[str, dict[int, list[Load]]]:
    return {
        "plain predict": {
            1: loads(10, 12, p50_ms=80, p99_ms=100),
            16: loads(30, 10, 20, p50_ms=600, p99_ms=1000),
        },
        "plain other": {
            1: loads(40, 50, p50_ms=16, p99_ms=30),
            16: loads(50, 50, 90, p50_ms=200, p99_ms=400),
        },
        OURS: {
            1: loads(60, 60, p50_ms=20, p99_ms=25),
            16: loads(110, 90, 100, p50_ms=100, p99_ms=200),
        },
    }


def test_ratios_are_pawprint_over_plain_of_the_medians():
    ratios = {"throughput_16": 100 / 20, "p99_16": 0.2, "latency_1": 0.25}
    assert compute_ratios(runs(), "plain predict") == ratios
    results = describe_runs(runs(), {"clients": [1, 16], "turns": 3, "seconds": 1})
    assert results["ratios"] == ratios
    assert results["settings"]["plain"] == "plain predict"
    assert results["ratios_to_others"]["plain other"] == {
        "throughput_16": 2,
        "p99_16": 0.5,
        "latency_1": 1.25,
    }
    assert {name: bar["met"] for name, bar in results["bars"].items()} == dict.fromkeys(
        ratios, True
    )
    assert results["measurements"][OURS]["16"]["requests_per_s"] == {
        "median": 100,
        "lowest": 90,
        "highest": 110,
        "runs": [110, 90, 100],
    }


def test_bars_fall_on_their_own_side_and_levels_may_be_missing():
    some = {side: {1: levels[1]} for side, levels in runs().items() if side != "plain predict"}
    results = describe_runs(some, {"clients": [1], "turns": 2, "seconds": 1})
    assert results["ratios"] == {"latency_1": 1.25}
    assert results["bars"]["latency_1"]["met"] is False


def test_errors_make_the_run_invalid():
    measured = runs()
    measured[OURS][16][1].errors.update(not_200=2)
    measured[OURS][1][0].errors.update(not_200=1, timeout=1)
    assert count_errors(measured) == {OURS: {"not_200": 3, "timeout": 1}}
    settings = {"pictures": "sample", "count": 9, "mean_bytes": 9, "seconds": 1, "turns": 3}
    text = render_markdown(describe_runs(measured, {**settings, "clients": [1, 16]}))
    assert "Not valid: errors of pawprint: not_200 3, timeout 1." in text
    assert "| throughput_16 | 5.00 | 2.00 | ≥ 3 | yes |" in text
    assert "| 16 | pawprint | 100.0 | 90.0 to 110.0 | 100.0 | 50.0 | 200.0 |" in text


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures in class folders."""
    root = tmp_path_factory.mktemp("pictures")
    for name in ("red", "green"):
        (root / name).mkdir()
        for i in range(4):
            (root / name / f"{i}.jpg").write_bytes(picture(name, (60 + i, 40), "JPEG"))
    return root


def test_pictures_are_spread_over_the_classes(folder, tmp_path):
    contents = get_pictures(str(folder), 4, tmp_path)
    expected = [folder / "green/0.jpg", folder / "green/2.jpg"]
    expected += [folder / "red/0.jpg", folder / "red/2.jpg"]
    assert contents == [path.read_bytes() for path in expected]
    assert len(get_pictures(str(folder), 99, tmp_path)) == 8
    assert len(set(get_pictures("sample", 3, tmp_path))) == 3


def test_missing_models_are_named(tmp_path):
    with pytest.raises(PawprintError, match=r"^--model: .* expected a directory with model.json"):
        find_keras_file(tmp_path, None)
    (tmp_path / "model.json").write_text('{"name": "x"}')
    with pytest.raises(PawprintError, match=r"^--keras: no file nothing; expected the model"):
        find_keras_file(tmp_path, Path("nothing"))


@pytest.mark.parametrize("wrong", ["--clients=0", "--clients=a", "--calls=fit", "--seconds=0"])
def test_wrong_options_end_it(wrong, capsys):
    with pytest.raises(SystemExit, match="2"):
        parse_options([wrong])
    assert wrong.partition("=")[0] in capsys.readouterr().err.splitlines()[-1]


def test_servers_that_answer_differently_are_not_compared(monkeypatch):
    said = {"a": 0.5004, "b": 0.5, "c": 0.5011}

    def answer(request: Request) -> bytes:
        predictions = [{"class": "cat", "probability": said[request.host]}]
        return json.dumps({"results": [{"predictions": predictions}]}).encode()

    monkeypatch.setattr("bench.load.get", answer)
    check_answers({"plain": "http://a", OURS: "http://b"}, [b"1", b"2"])
    with pytest.raises(PawprintError, match=r"^picture 0, class cat: pawprint says 0.5000, plain"):
        check_answers({"plain": "http://c", OURS: "http://b"}, [b"1", b"2"])


def test_the_plain_way_sees_and_answers_what_pawprint_does(folder):
    content = (folder / "red/0.jpg").read_bytes()
    np.testing.assert_array_equal(decode(content, 32), decode_image(content, 32, 10**6))

    def call(pixels: np.ndarray) -> np.ndarray:
        assert pixels.shape == (1, 32, 32, 3)
        return pixels.mean(axis=(1, 2)) / pixels.mean(axis=(1, 2)).sum()

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(build_app(call, ["red", "green", "blue"], 32))
        kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            form = make_form(content, "a.jpg")
            return await client.post("/v1/predict", content=form, headers=kind)

    answer = asyncio.run(ask()).json()
    result = answer["results"][0]
    assert result["name"] == "a.jpg"
    assert result["predictions"][0]["class"] == "red"
    assert sum(p["probability"] for p in result["predictions"]) == pytest.approx(1)


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_short_run_of_the_whole_measurement(folder, tmp_path, tmp_path_factory):
    models = colours_models(tmp_path_factory)
    # It tells unlikeness, and averages a picture and its mirror image, as the default does
    command = ["-m", "bench.load", "--model", str(models / "strict"), "--clients", "1,4"]
    command += ["--keras", str(models / "telling.keras"), "--pictures", str(folder)]
    command += ["--seconds", "3", "--turns", "1", "--calls", "predict", "--out", str(tmp_path)]
    done = run_python(*command, cwd=ROOT)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    results = json.loads((tmp_path / "load.json").read_text())
    assert results["ratios"].keys() == {"latency_1"}
    assert 0 < results["ratios"]["latency_1"] < 10
    assert results["errors"] == {}
    assert results["settings"]["count"] == 8
    for side in ("plain predict", OURS):
        (rate,) = results["measurements"][side]["4"]["requests_per_s"]["runs"]
        assert rate > 1
    assert (tmp_path / "load.md").read_text() in done.stdout.decode()


def test_a_tenth_of_the_plan_is_hostile_and_every_kind_occurs():
    kinds = list(hostile_kinds())
    order = plan(1000, kinds, seed=1)
    assert order.count("") == 900
    assert set(order) == {"", *kinds}
    assert order == plan(1000, kinds, seed=1) != plan(1000, kinds, seed=2)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_hostile_requests_are_refused_and_damage_is_found(monkeypatch):
    kinds = hostile_kinds()
    classifier = Classifier.open(colours())
    right = Good(classifier, seed=0, drawn=3)
    probs = classifier.probs
    monkeypatch.setattr(classifier, "probs", lambda images: probs(images) + np.float32(1e-6))
    wrong = Good(classifier, seed=0, drawn=3)
    with serving("--model", str(colours()), *OPTIONS) as server:
        order = [*kinds, *[""] * 2 * CLIENTS]
        outcomes = list(send_all(server, order, right, kinds, seed=0))
        assert [outcome for outcome in outcomes if outcome.fault] == []
        assert [outcome.kind for outcome in outcomes[: len(kinds)]] == list(kinds)
        assert {outcome.status for outcome in outcomes[len(kinds) :]} == {200}
        assert list(find_damage(server, 100, 110)) == []
        grown = "memory: 100 MB after the warm-up, 111 MB at the end"
        assert list(find_damage(server, 100, 111)) == [grown]
        faults = {outcome.fault for outcome in send_all(server, [""] * 4, wrong, kinds, seed=0)}
        assert faults == {"wrong answer"}
        server.process.kill()
        server.process.wait()
        assert any("not alive" in line for line in find_damage(server, 1, 1))
