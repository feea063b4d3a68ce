"""Runs and figures made up for the tests."""

from __future__ import annotations

from bench.results import Figure, Run, Spread

MACHINE = {"processor": "Example 1", "cores": "2", "Python": "3.11.7"}


def spread(median: float, low: float | None = None, high: float | None = None) -> Spread:
    if low is None or high is None:
        return Spread(median, median, median)
    return Spread(median, low, high, 9)


def run(part: str, *figures: Figure, at: str = "2026-11-27T09:00:00+00:00") -> Run:
    return Run(
        part=part,
        at=at,
        seconds=12.5,
        load=(0.1, 1.9),
        arguments="calls=300",
        revision="0123456789",
        machine=MACHINE,
        figures=figures,
    )


def figure(name: str, ours: float, limit: float, goal: str = "", unit: str = "ms") -> Figure:
    return Figure(name, spread(ours, ours * 0.9, ours * 1.2), unit=unit, limit=spread(limit), goal=goal)


def reading(name: str, value: float, system: str, unit: str = "ms") -> Figure:
    return Figure(name, spread(value), unit=unit, system=system)
