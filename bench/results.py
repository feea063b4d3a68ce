"""What was measured, kept as JSON lines in docs/benchmarks.jsonl: for each part its run, then its figures.

A part is what is measured in one go. A run of some parts replaces what was known of these, and nothing else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.figures import is_met


@dataclass(frozen=True)
class Spread:
    """A median with its quartiles, which are the median itself where it is a single measurement."""

    median: float
    low: float
    high: float
    count: int = 1


@dataclass(frozen=True)
class Figure:
    """`value` is that of `system`, ours where that is empty; a system that gave none says why in `failure`."""

    name: str
    value: Spread | None
    unit: str = ""
    system: str = ""
    limit: Spread | None = None
    goal: str = ""
    peak_mb: float | None = None
    failure: str = ""

    @property
    def ratio(self) -> float | None:
        if self.value is None or self.limit is None or not self.limit.median:
            return None
        return self.value.median / self.limit.median

    @property
    def is_missed(self) -> bool:
        return self.ratio is not None and not is_met(self.goal, self.ratio)


@dataclass(frozen=True)
class Run:
    """When, where and how a part was measured. `load` is the least and the most of the load average meanwhile."""

    part: str
    at: str
    seconds: float
    load: tuple[float, float]
    arguments: str
    revision: str
    machine: Mapping[str, str]
    figures: tuple[Figure, ...] = field(default=())


def named(figures: Iterable[Figure], begin: str) -> Figure | None:
    """The figure of that name, else the first whose name begins so; {} in it stands for any size."""
    known = list(figures)
    exact = [figure for figure in known if figure.name == begin]
    pattern = re.compile(re.escape(begin).replace(r"\{\}", r"\S+"))
    return next(iter(exact or [figure for figure in known if pattern.match(figure.name)]), None)


def figure_of(line: str) -> Figure | None:
    """The figure that a line of a benchmark's output tells; None where it tells something else."""
    try:
        told = json.loads(line)
    except ValueError:
        return None
    if not isinstance(told, dict) or "name" not in told:
        return None
    return Figure(
        name=told["name"],
        value=_spread(told, "ours"),
        unit=told.get("unit", ""),
        system=told.get("system", ""),
        limit=_spread(told, "limit"),
        goal=told.get("goal", ""),
        peak_mb=told.get("peak_mb"),
        failure=told.get("failure", ""),
    )


def _spread(told: Mapping[str, Any], name: str) -> Spread | None:
    if name not in told:
        return None
    median = float(told[name])
    low, high = told.get(f"{name}_quartiles", (median, median))
    return Spread(median, float(low), float(high), int(told.get(f"{name}_count", 1)))


def load(file: Path) -> dict[str, Run]:
    """Part to its latest run. Empty where nothing was measured yet."""
    runs: dict[str, Run] = {}
    figures: dict[str, list[Figure]] = {}
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    for number, line in enumerate(filter(None, lines), 1):
        try:
            told = json.loads(line)
            part = told.pop("part")
            if "at" in told:
                runs[part] = Run(part=part, **{**told, "load": tuple(told["load"])})
            else:
                spreads = {name: Spread(**told[name]) if name in told else None for name in ("value", "limit")}
                figures.setdefault(part, []).append(Figure(**{**told, **spreads}))
        except (ValueError, TypeError, KeyError) as error:
            raise SystemExit(f"{file}, line {number}: this is no figure and no run ({error})") from error
    if orphans := figures.keys() - runs.keys():
        raise SystemExit(f"{file}: there are figures of {', '.join(sorted(orphans))} without a run")
    return {part: replace(run, figures=tuple(figures.get(part, ()))) for part, run in runs.items()}


def save(file: Path, runs: Mapping[str, Run]) -> None:
    """Writes all of them anew, a line each, so that a diff tells which figure has changed."""
    lines = []
    for part, run in runs.items():
        lines.append({name: value for name, value in asdict(run).items() if name != "figures"})
        lines += [{"part": part, **_said(figure)} for figure in run.figures]
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(".unfinished")
    unfinished.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    unfinished.replace(file)


def merged(known: Mapping[str, Run], new: Iterable[Run], order: Iterable[str]) -> dict[str, Run]:
    """The known runs with the new ones in place of those of the same parts, in the order of the parts."""
    together = {**known, **{run.part: run for run in new}}
    wanted = [part for part in order if part in together]
    # What no part measures any longer is forgotten: nobody could measure it again.
    return {part: together[part] for part in wanted}


def _said(figure: Figure) -> dict[str, Any]:
    return {name: value for name, value in asdict(figure).items() if name == "name" or value not in ("", None)}
