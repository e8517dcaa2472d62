"""Turns the figures of all repeats into ratios, checks them against the bars, and renders them."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench.measure import Summary, summarize
from bench.parts import PARTS, Sides

Measurement = dict[str, dict[str, Summary]]
PACKAGES = ("tensorflow", "keras", "openvino", "numpy", "opencv-python-headless", "pillow", "dvc")
INSTRUCTION_SETS = ("avx2", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16", "amx_int8")


@dataclass(frozen=True)
class Bar:
    """What is aimed at.

    Attributes:
        part: whose figure it is about.
        bar: to be met.
        moonshot: what would be excellent; None: nothing beyond the bar.
        higher: whether more is better.
    """

    part: str
    bar: float
    moonshot: float | None
    higher: bool = True

    def met(self, value: float, limit: float) -> bool:
        return value >= limit if self.higher else value <= limit


BARS = {
    "features_f32": Bar("features_f32", 2.5, 3.5),
    "features_bf16": Bar("features_bf16", 5, 9),
    "head_experiment": Bar("head_experiment", 20, 60),
    "finetune_epoch": Bar("finetune_epoch", 2.5, 5),
    "baseline_epoch": Bar("baseline_epoch", 2, 3),
    "first_run": Bar("first_run", 4, 8),
    "preprocess_images_per_s": Bar("preprocess", 500, 1000),
    "noop_repro": Bar("noop_repro", 1.5, 1.1, higher=False),
    "memory": Bar("memory", 1.2, 1.0, higher=False),
    "memory_of_a_stage_mb": Bar("memory", 2500, None, higher=False),
    "features_scaling": Bar("features_scaling", 1.05, None, higher=False),
}


def summarize_repeats(repeats: list[Sides]) -> Measurement:
    """side → figure → values of all repeats, summarized."""
    return {
        side: {key: summarize(sides[side][key] for sides in repeats) for key in figures}
        for side, figures in repeats[0].items()
    }


def compute_ratios(measurements: Mapping[str, Measurement]) -> dict[str, dict[str, float]]:
    """part → figure → ratio of the two sides' medians; what is above and below: see ``PARTS``."""
    ratios = {}
    for name, sides in measurements.items():
        part = PARTS[name]
        if part.over:
            over, under = sides[part.over], sides[part.under]
            keys = part.keys or tuple(over)
            ratios[name] = {key: over[key].median / under[key].median for key in keys}
    return ratios


def check_bars(
    measurements: Mapping[str, Measurement], ratios: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, Any]]:
    """The value of each bar whose part was measured, and whether it is met.

    Wall clock decides; of the stages, the worst.
    """
    checked = {}
    for name, bar in BARS.items():
        if bar.part not in measurements:
            continue
        sides = measurements[bar.part]
        if name == "memory":
            value = max(ratios[name].values())
        elif name == "memory_of_a_stage_mb":
            value = max(peak.median for peak in sides["full"].values())
        elif name == "preprocess_images_per_s":
            value = sides["pawprint"]["images_per_s"].median
        else:
            value = ratios[name][PARTS[name].keys[0]]
        checked[name] = {
            "value": value,
            "better": "higher" if bar.higher else "lower",
            "bar": bar.bar,
            "met": bar.met(value, bar.bar),
            "moonshot": bar.moonshot,
            "moonshot_met": None if bar.moonshot is None else bar.met(value, bar.moonshot),
        }
    return checked


def describe_machine() -> dict[str, Any]:
    cpu = Path("/proc/cpuinfo").read_text("utf-8")
    memory = Path("/proc/meminfo").read_text("utf-8")
    model = re.search(r"^model name\s*:\s*(.*)$", cpu, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", cpu, re.MULTILINE)
    total = re.search(r"^MemTotal:\s*(\d+) kB", memory, re.MULTILINE)
    found = set(flags[1].split()) if flags else set()
    return {
        "cpu": model[1] if model else platform.machine(),
        "cores": os.cpu_count(),
        "instruction_sets": {name: name in found for name in INSTRUCTION_SETS},
        "memory_gb": round(int(total[1]) * 1024 / 1e9, 1) if total else None,
        "os": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def to_json(measurements: Mapping[str, Measurement], steps: int) -> dict[str, Any]:
    """Measurements as plain values; the plain side says from how many steps it was extrapolated."""
    result: dict[str, Any] = {}
    for name, sides in measurements.items():
        result[name] = {
            side: {key: asdict(summary) for key, summary in figures.items()}
            for side, figures in sides.items()
        }
        if PARTS[name].extrapolated:
            result[name]["plain"]["extrapolated_from_steps"] = steps or None
    return result


def render_markdown(results: Mapping[str, Any], measurements: Mapping[str, Measurement]) -> str:
    """The tables of ``results.md``."""
    machine, data, settings = results["machine"], results["data"], results["settings"]
    lines = [
        "# Pawprint against the plain way",
        "",
        f"{data['name']}: {data['pictures']} pictures "
        f"({', '.join(f'{n} {split}' for split, n in data['splits'].items())}). "
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB. "
        f"Medians of {settings['repeats']} (lowest to highest)"
        + (
            f"; the plain way extrapolated from {settings['steps']} batches of each kind."
            if settings["steps"]
            else "."
        ),
        "",
        "Ratios compare wall clock, the last column CPU-seconds. Seconds include the start of each",
        "process, but for the wall clock of the features, and for a fine-tuning epoch.",
        "",
        "| bar | value | to meet | met | moonshot | met | CPU-seconds |",
        "| --- | ---: | ---: | --- | ---: | --- | ---: |",
    ]
    for name, row in results["bars"].items():
        sign = "≥" if row["better"] == "higher" else "≤"
        cells = [
            name,
            f"{row['value']:.4g}",
            f"{sign} {row['bar']:g}",
            _answer(row["met"]),
            "" if row["moonshot"] is None else f"{sign} {row['moonshot']:g}",
            _answer(row["moonshot_met"]),
            _number(results["ratios"].get(name, {}).get("cpu_s")),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "| part | figure | side | median | lowest to highest |"]
    lines += ["| --- | --- | --- | ---: | --- |"]
    for name, sides in measurements.items():
        for side, figures in sides.items():
            for key, value_of in figures.items():
                spread = f"{value_of.lowest:.4g} to {value_of.highest:.4g}"
                lines.append(f"| {name} | {key} | {side} | {value_of.median:.4g} | {spread} |")
    for name, message in results["failed"].items():
        lines += ["", f"{name} failed: {message}"]
    return "\n".join(lines) + "\n"


def _answer(met: bool | None) -> str:
    return "" if met is None else "yes" if met else "no"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
