"""Turns what was measured under load into ratios, checks them against the bars, renders them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from bench.measure import Summary, summarize
from bench.report import describe_machine
from bench.wrk import Load

OURS = "pawprint"
FIGURES = ("requests_per_s", "p50_ms", "p95_ms", "p99_ms")

Runs = dict[str, dict[int, list[Load]]]
"""side → clients → what was measured in each turn; of the plain ways, the first counts."""


@dataclass(frozen=True)
class Bar:
    """What is aimed at: a ratio of pawprint's figure to the plain way's.

    Attributes:
        figure: of ``Load``.
        clients: how many.
        bar: to be met.
        moonshot: what would be excellent; None: nothing beyond the bar.
        higher: whether more is better.
    """

    figure: str
    clients: int
    bar: float
    moonshot: float | None = None
    higher: bool = False

    def met(self, value: float) -> bool:
        return value >= self.bar if self.higher else value <= self.bar


BARS = {
    "throughput_16": Bar("requests_per_s", 16, 3, 6, higher=True),
    "p99_16": Bar("p99_ms", 16, 1),
    "latency_1": Bar("p50_ms", 1, 1.2),
}


def summarize_runs(runs: Runs) -> dict[str, dict[int, dict[str, Summary]]]:
    """side → clients → figure → its median, lowest and highest value of all turns."""
    return {
        side: {
            clients: {f: summarize(getattr(load, f) for load in loads) for f in FIGURES}
            for clients, loads in levels.items()
        }
        for side, levels in runs.items()
    }


def compute_ratios(runs: Runs, plain: str) -> dict[str, float]:
    """The ratios of ``BARS`` whose number of clients was measured, of the medians."""
    ratios = {}
    for name, bar in BARS.items():
        if bar.clients in runs[OURS]:
            ours, other = (
                median(getattr(load, bar.figure) for load in runs[side][bar.clients])
                for side in (OURS, plain)
            )
            ratios[name] = ours / other
    return ratios


def count_errors(runs: Runs) -> dict[str, dict[str, int]]:
    """side → kind → how often it occurred in all runs; only sides with errors."""
    counts: dict[str, dict[str, int]] = {}
    for side, levels in runs.items():
        for loads in levels.values():
            for load in loads:
                for kind, number in load.errors.items():
                    kinds = counts.setdefault(side, {})
                    kinds[kind] = kinds.get(kind, 0) + number
    return counts


def describe_runs(runs: Runs, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The content of load.json, with the settings of the measurement."""
    sides = [side for side in runs if side != OURS]
    ratios = {side: compute_ratios(runs, side) for side in sides}
    measurements = {
        side: {
            str(clients): {name: asdict(value) for name, value in figures.items()}
            for clients, figures in levels.items()
        }
        for side, levels in summarize_runs(runs).items()
    }
    first = ratios[sides[0]]
    return {
        "machine": describe_machine(),
        "settings": {**settings, "plain": sides[0]},
        "measurements": measurements,
        "ratios": first,
        "ratios_to_others": {side: ratios[side] for side in sides[1:]},
        "bars": {
            name: {
                "value": value,
                "better": "higher" if BARS[name].higher else "lower",
                "bar": BARS[name].bar,
                "met": BARS[name].met(value),
                "moonshot": BARS[name].moonshot,
            }
            for name, value in first.items()
        },
        "errors": count_errors(runs),
    }


def render_markdown(results: Mapping[str, Any]) -> str:
    """The tables of load.md."""
    machine, settings = results["machine"], results["settings"]
    sides = [settings["plain"], *results["ratios_to_others"]]
    lines = [
        "# The server under load",
        "",
        f"{settings['count']} pictures of {settings['pictures']}, {settings['mean_bytes']} bytes "
        f"each on average. {machine['cpu']}, {machine['cores']} cores, which wrk shares. "
        f"Medians of {settings['turns']} turns of {settings['seconds']} s.",
        "",
        f"| pawprint to … | {' | '.join(sides)} | to meet | met |",
        f"| --- |{' ---: |' * len(sides)} ---: | --- |",
    ]
    for name, bar in results["bars"].items():
        others = [results["ratios_to_others"][side][name] for side in sides[1:]]
        cells = [name, *(f"{value:.2f}" for value in (bar["value"], *others))]
        sign = "≥" if bar["better"] == "higher" else "≤"
        cells += [f"{sign} {bar['bar']:g}", "yes" if bar["met"] else "no"]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "| clients | side | requests/s | lowest to highest | p50 ms | p95 ms | p99 ms |",
        "| ---: | --- | ---: | --- | ---: | ---: | ---: |",
    ]
    for clients in map(str, settings["clients"]):
        for side, levels in results["measurements"].items():
            rate, *times = (levels[clients][figure] for figure in FIGURES)
            cells = [clients, side, f"{rate['median']:.1f}"]
            cells += [f"{rate['lowest']:.1f} to {rate['highest']:.1f}"]
            cells += [f"{value['median']:.1f}" for value in times]
            lines.append(f"| {' | '.join(cells)} |")
    for side, kinds in results["errors"].items():
        found = ", ".join(f"{kind} {number}" for kind, number in kinds.items())
        lines += ["", f"Not valid: errors of {side}: {found}."]
    return "\n".join(lines) + "\n"
