# covers: R18, B13
"""Whether pictures are still like those of validation: limits, windows, alarms, dashboard."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from pawprint.answers.unlikeness import tell_unlikeness
from pawprint.deciding.reference import make_reference, make_shape
from pawprint.deciding.rule import read_reference
from pawprint.deciding.watch import SIGNALS, Counts, Reference, Shape, Watch
from pawprint.inference.classifier import ModelCard
from pawprint.runner.errors import ModelError
from pawprint.serving.drift import DriftMonitor
from pawprint.serving.monitoring import Monitor

MONITORING = Path(__file__).resolve().parent.parent / "monitoring"
SMALL = Reference(
    window=4,
    false_alarms=0.01,
    pictures=100,
    unlike=Counts([0.01], [0], [1]),
    unlikeness=Shape([0.5, 1.0], [0.5, 1.0], 0.6),
    confidence=Shape([0.8, 0.9], [0.5, 1.0], 0.6),
    classes=Counts([0.5, 0.5], [0, 0], [3, 3]),
    brightness=Shape([100.0, 200.0], [0.5, 1.0], 0.6),
)
Drawn = tuple[np.ndarray, np.ndarray, np.ndarray]


def draw(rng: np.random.Generator, count: int, shift: float = 0.0) -> Drawn:
    """Probabilities of two classes, unlikeness, and brightness, of so many pictures."""
    sure = rng.beta(8, 1 + 4 * shift, count) / 2 + 0.5
    first = rng.random(count) < 0.5
    probs = np.stack([np.where(first, sure, 1 - sure), np.where(first, 1 - sure, sure)], axis=1)
    ratios = rng.gamma(4, 0.1 * (1 + shift), count).astype(np.float32)
    return probs.astype(np.float32), ratios, rng.normal(120, 30, count)


def refer(drawn: Drawn, window: int, false_alarms: float) -> Reference:
    probs, ratios, brightness = drawn
    return make_reference(probs, ratios, ratios > 1, brightness, window, false_alarms)


def compare(reference: Reference, drawn: Drawn) -> dict[str, float]:
    probs, ratios, brightness = drawn
    return reference.compare(
        ratios > 1, ratios, probs.max(axis=1), probs.argmax(axis=1), brightness
    )


def test_a_window_by_hand():
    """Of 4, one is unlike, none is below the first edge, 3 are of the first class and 3 dark."""
    found = SMALL.compare(
        np.array([False, False, False, True]),
        np.array([0.6, 0.7, 0.8, 1.5]),
        np.array([0.75, 0.85, 0.7, 0.8]),
        np.array([0, 0, 0, 1]),
        np.array([40.0, 90.0, 100.0, 101.0]),
    )
    assert found == pytest.approx(
        {
            "unlike": (1 - 0.04) / (1.5 - 0.04),
            "unlikeness": 0.5 / 0.6,  # at the edge 0.5, no picture instead of half of them
            "confidence": 0.25 / 0.6,  # at 0.8, three of four instead of half of them
            "classes": (3 - 2) / (3.5 - 2),
            "brightness": 0.25 / 0.6,
        }
    )


def test_a_count_beyond_its_limit_is_above_one():
    zeros, classes = np.zeros(4), np.array([0, 0, 0, 0])
    one, two = np.array([True, False, False, False]), np.array([True, True, False, False])
    assert SMALL.compare(one, zeros, zeros, classes, zeros)["unlike"] < 1
    found = SMALL.compare(two, zeros, zeros, classes, zeros)
    assert found["unlike"] > 1
    assert found["classes"] > 1  # 4 of one class, 3 are allowed
    few = Counts([0.5, 0.5], [2, 0], [4, 4])
    reference = Reference(4, 0.01, 9, None, None, SMALL.confidence, few)
    rest = one, zeros, zeros, np.array([0, 1, 1, 1]), zeros
    assert reference.compare(*rest)["classes"] > 1


def test_a_window_is_compared_once_it_is_full():
    watch, probs = Watch(SMALL), np.array([0.9, 0.1], np.float32)
    answers = [watch.add(probs, 2.0, unlike=True, brightness=120.0) for _ in range(9)]
    assert [bool(answer) for answer in answers] == [False, False, False, True] * 2 + [False]
    assert (watch.windows, watch.alarms["unlike"]) == (2, 2)


def test_a_reference_comes_back_from_json():
    drawn = draw(np.random.default_rng(0), 200)
    reference = refer(drawn, 50, 0.01)
    assert Reference.parse(json.loads(json.dumps(asdict(reference)))) == reference
    blind = make_reference(drawn[0], None, np.zeros(200, bool), None, 50, 0.01)
    assert Reference.parse(json.loads(json.dumps(asdict(blind)))) == blind
    assert blind.signals == ["confidence", "classes"]


@pytest.mark.parametrize(
    "change",
    [
        {"window": 0},
        {"window": 10**9},
        {"window": True},
        {"false_alarms": "x"},
        {"confidence": None},
        {"confidence": {"edges": [1, 0], "shares": [0, 1], "limit": 1}},
        {"confidence": {"edges": [1], "shares": [0, 1], "limit": 1}},
        {"confidence": {"edges": [1], "shares": [1], "limit": 0}},
        {"classes": {"shares": [0.5], "fewest": [-1], "most": [3]}},
        {"classes": {"shares": [0.5], "fewest": [0], "most": [1]}},
        {"unlike": []},
        {"brightness": {"edges": [1], "shares": [1], "limit": 0}},
        {"brightness": {"edges": [10**400], "shares": [1], "limit": 1}},
        {"classes": {"shares": [1 / 3] * 3, "fewest": [0] * 3, "most": [4] * 3}},  # the card has 2
        {"classes": {"shares": [0.5, 0.5], "fewest": [0, 0], "most": [3, 10**400]}},
    ],
)
def test_a_hostile_reference_is_refused_in_one_line(change: dict[str, Any]):
    drift = json.loads(json.dumps(asdict(SMALL))) | change
    card = ModelCard("m", ["a", "b"], 8, 100, {}, {}, {}, {}, deciding={"drift": drift})
    with pytest.raises(
        ModelError, match=r"^model m: deciding\.drift: expected what .*; found .*; run dvc repro$"
    ):
        read_reference(card)


@pytest.mark.parametrize("false_alarms", [1e-6, 0.1, 0.5])
@pytest.mark.parametrize("count", [20, 20_000])
def test_a_server_takes_the_limits_of_kinds_that_are_rare(count: int, false_alarms: float):
    """One picture is unlike, and one of a third class: among many, few windows have any."""
    probs = np.tile(np.array([[0.6, 0.3, 0.1], [0.3, 0.6, 0.1]], np.float32), (count // 2, 1))
    probs[0] = [0, 0, 1]
    ratios = np.linspace(1.01, 0, count).astype(np.float32)
    of = probs, ratios, np.arange(count) == 0, ratios * 100
    for window in (20, 200):
        reference = make_reference(*of, window, false_alarms)
        assert Reference.parse(json.loads(json.dumps(asdict(reference)))) == reference
        usual = reference.compare(
            *(np.zeros(window, bool), np.linspace(0, 1, window)),
            *(np.full(window, 0.6), np.arange(window) % 2, np.linspace(0, 100, window)),
        )
        assert max(usual["unlike"], usual["classes"]) < 1


def test_the_limit_of_a_distribution_has_a_part_for_each_sample():
    """1.36 / √n is the 95 % point of Kolmogorov's distribution, for large n."""
    shape = make_shape(np.linspace(0, 1, 1000, dtype=np.float32), 400, rate=0.05, unlucky=0.05)
    assert shape.limit == pytest.approx(1.36 / np.sqrt(1000) + 1.36 / np.sqrt(400), rel=0.02)


@pytest.mark.parametrize("usual", [1.0, 0.1, 0.0])
def test_a_window_on_either_side_of_what_nearly_all_pictures_have_is_far_away(usual: float):
    """As where a model is as good as sure of all, or all pictures are white."""
    kept = np.full(1000, usual, np.float32)
    shape = make_shape(kept, 200, rate=0.001, unlucky=0.05)
    assert shape.limit < 0.25
    assert shape.distance(kept[:200].astype(float)) == 0
    assert shape.distance(np.full(200, float(kept[0]) - 1e-3)) == 1
    assert shape.distance(np.full(200, float(kept[0]) + 1e-3)) == 1


def test_signals_that_can_raise_no_alarm_are_named():
    """Of 20 pictures all may be of one class of two, by chance; of 5 all may be anything."""
    drawn = draw(np.random.default_rng(0), 1000)
    assert refer(drawn, 200, 0.001).blind == []
    assert refer(drawn, 20, 1e-9).blind == ["classes"]
    assert refer(drawn, 5, 1e-9).blind == list(SIGNALS)
    older = replace(SMALL, confidence=Shape([1.0], [1.0], 0.2))  # which looks at no number below
    assert older.blind == ["confidence"]


def test_ratios_that_are_told_are_those_of_validation():
    """Of which 0.7 is below 0.7 in float64, as are others above."""
    for ratio in np.array([0.7, 0.1, 1.1, 1 / 3], np.float32):
        shape = make_shape(np.full(1000, ratio), 4, rate=0.5, unlucky=0.05)
        watch = Watch(replace(SMALL, unlikeness=shape))
        told = tell_unlikeness(ratio, 1.0)
        assert told is not None
        answers = [
            watch.add(np.array([0.9, 0.1], np.float32), told.ratio, told.unlike, 100.0)
            for _ in range(4)
        ]
        assert answers[-1]["unlikeness"] == 0


def test_false_alarms_are_as_seldom_as_stated_for_nearly_all_references():
    """Each of 40 samples for validation is kept for 200 windows of other pictures."""
    rng, rates = np.random.default_rng(0), []
    for _ in range(40):
        reference = refer(draw(rng, 150), 30, 0.05)
        alarms = 0
        for _ in range(200):
            alarms += max(compare(reference, draw(rng, 30)).values()) > 1
        rates.append(alarms / 200)
    assert np.mean([rate > 0.05 for rate in rates]) <= 0.05
    assert max(rates) > 0  # it is a test that can fail


def test_other_pictures_are_noticed():
    rng = np.random.default_rng(0)
    reference = refer(draw(rng, 1500), 200, 0.001)
    found = compare(reference, draw(rng, 200, shift=1.0))
    assert found["unlikeness"] > 1
    assert found["confidence"] > 1
    assert found["classes"] < 1
    assert found["brightness"] < 1


def test_pictures_of_another_light_are_noticed_by_their_brightness_alone():
    """The model finds nothing odd in them, and looks at them no further."""
    rng = np.random.default_rng(0)
    reference = refer(draw(rng, 1500), 200, 0.001)
    probs, ratios, brightness = draw(rng, 200)
    for factor in (0.5, 0.75, 1.5):
        found = compare(reference, (probs, ratios, brightness * factor))
        assert [signal for signal in found if found[signal] > 1] == ["brightness"]


def test_a_card_without_brightness_is_compared_by_the_rest():
    """One that an older version has exported."""
    older = asdict(SMALL)
    del older["brightness"]
    reference = Reference.parse(json.loads(json.dumps(older)))
    assert reference.signals == ["unlike", "unlikeness", "confidence", "classes"]
    watch, probs = Watch(reference), np.array([0.9, 0.1], np.float32)
    answers = [watch.add(probs, 0.5, unlike=False, brightness=0.0) for _ in range(4)]
    assert set(answers[-1]) == set(reference.signals)


def test_metrics_tell_of_windows_and_alarms(caplog):
    registry = CollectorRegistry()
    monitor = DriftMonitor(registry)
    monitor.follow("primary", SMALL)
    before = generate_latest(registry).decode()
    assert 'pawprint_drift_alarms_total{model="primary",signal="unlike"} 0.0' in before
    assert 'pawprint_drift_window_pictures{model="primary"} 4.0' in before
    for _ in range(4):
        monitor.add("primary", np.array([0.9, 0.1], np.float32), 2.0, unlike=True, brightness=40.0)
    after = generate_latest(registry).decode()
    assert 'pawprint_drift_windows_total{model="primary"} 1.0' in after
    assert 'pawprint_drift_alarms_total{model="primary",signal="unlike"} 1.0' in after
    assert 'pawprint_drift_alarms_total{model="primary",signal="confidence"} 0.0' in after
    assert 'pawprint_unlike_total{model="primary"} 4.0' in after
    assert 'pawprint_unlikeness_bucket{le="1.5",model="primary"} 0.0' in after
    assert 'pawprint_brightness_bucket{le="32.0",model="primary"} 0.0' in after
    assert 'pawprint_brightness_bucket{le="48.0",model="primary"} 4.0' in after
    assert "the last 4 pictures of the primary model are not as validation: unlike" in caplog.text


def test_a_model_without_a_reference_raises_no_alarm():
    registry = CollectorRegistry()
    monitor = DriftMonitor(registry)
    for _ in range(1000):
        monitor.add(
            "primary", np.array([0.9, 0.1], np.float32), None, unlike=False, brightness=40.0
        )
    assert "pawprint_drift_windows_total{" not in generate_latest(registry).decode()


def dashboard_queries() -> list[str]:
    """Each query, as Prometheus gets it from Grafana."""
    content = json.loads((MONITORING / "dashboard.json").read_text("utf-8"))
    found = [target["expr"] for panel in content["panels"] for target in panel["targets"]]
    return [e.replace("$__rate_interval", "5m").replace("$instance", ".*") for e in found]


def test_alerts_and_dashboard_ask_for_metrics_that_there_are():
    rules = yaml.safe_load((MONITORING / "alerts.yml").read_text("utf-8"))["groups"][0]["rules"]
    asked = set(
        re.findall(r"pawprint_\w+", " ".join(dashboard_queries() + [r["expr"] for r in rules]))
    )
    monitor = Monitor(lambda: 0, lambda: 0)
    known = set(re.findall(r"^# TYPE (\w+)", monitor.render().decode(), re.MULTILINE))
    parts = {f"{name}{suffix}" for name in known for suffix in ("", "_bucket", "_count", "_sum")}
    assert asked <= parts
    assert len(asked) > 8


def promtool(*arguments: str) -> str:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is missing: apt-get install prometheus")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_takes_the_alerts():
    assert "2 rules found" in promtool("check", "rules", str(MONITORING / "alerts.yml"))
    assert "SUCCESS" in promtool("test", "rules", str(MONITORING / "alerts_test.yml"))


def test_promtool_takes_the_queries_of_the_dashboard(tmp_path):
    queries = dashboard_queries()
    rules = [{"record": f"query_{i}", "expr": query} for i, query in enumerate(queries)]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}), "utf-8")
    assert f"{len(queries)} rules found" in promtool("check", "rules", str(file))
