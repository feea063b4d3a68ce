"""The plots of docs/benchmarks.md, drawn from the same figures as its tables."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from bench.goals import FIRST_LINE_COLD, FIRST_LINE_WARM, MEMORY, MEMORY_ALL, START
from bench.parts import PARTS
from bench.results import Figure, Run, Spread, named

Group: TypeAlias = list[Spread | None]


@dataclass(frozen=True)
class Plot:
    """Bars in groups, a group for each system; `measures` are how the names of the figures begin."""

    file: str
    title: str
    measures: tuple[str, ...]
    logarithmic: bool = True


@dataclass(frozen=True)
class Against:
    """Bars in groups, a group for each figure of a part, ours beside its limit: label to how its name begins."""

    file: str
    title: str
    part: str
    figures: Mapping[str, str]
    logarithmic: bool = False


@dataclass(frozen=True)
class Drawn:
    """A plot that there is. `part` is empty where it is about whole systems."""

    file: str
    title: str
    part: str = ""


PLOTS = (
    Plot("trigger.svg", "Trigger until its answer (ms, logarithmic)", ("trigger, alone", "trigger, 16 at once")),
    Plot("first-line.svg", "Trigger to first line (ms, logarithmic)", (FIRST_LINE_WARM, FIRST_LINE_COLD)),
    Plot("history.svg", "The 50 newest runs (ms)", ("50 newest of",), logarithmic=False),
    Plot("memory.svg", "Idle memory (MB)", (MEMORY, MEMORY_ALL), logarithmic=False),
    Plot("start.svg", "Start (s)", (START,), logarithmic=False),
)
AGAINST = (
    Against(
        "pod.svg",
        "A pod's run: process start to first line (s)",
        "pod",
        {
            "flow-run execute": "a pod's run by `prefect flow-run execute`, first line",
            "prefect.engine": "a pod's run by `python -m prefect.engine`, first line",
            "worker.pod": "a pod's run by `python -m worker.pod`, first line",
        },
    ),
    Against(
        "maintenance.svg",
        "Maintenance (rows a second)",
        "maintenance",
        {"cleanup": "cleanup of", "trending": "trending of", "archive": "archive of"},
    ),
    Against(
        "digest.svg",
        "The weekly digest (mails a second)",
        "digest",
        {
            "at the same concurrency": "digest of",
            "at the best for httpx": "digest of {} users against bare httpx, 10 at",
        },
    ),
)
_HISTORY = {"history-1m": "1 million", "history-10m": "10 million"}


def draw(runs: Mapping[str, Run], folder: Path) -> list[Drawn]:
    """Writes the plots for which something was measured, removes the others."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = [
        Drawn(plot.file, plot.title)
        for plot in PLOTS
        if _write(folder / plot.file, plot, plot.measures, _systems(runs, plot))
    ]
    drawn += [
        Drawn(against.file, against.title, against.part)
        for against in AGAINST
        if _write(folder / against.file, against, ("ours", "limit"), _pairs(runs, against))
    ]
    return drawn


def _write(file: Path, plot: Plot | Against, series: Sequence[str], groups: Mapping[str, Group]) -> bool:
    """Whether there is anything to draw."""
    if not any(spread for spreads in groups.values() for spread in spreads):
        file.unlink(missing_ok=True)
        return False
    file.write_bytes(_svg(plot, series, groups))
    return True


def _systems(runs: Mapping[str, Run], plot: Plot) -> dict[str, Group]:
    """System to what it has for each measure, ours first."""
    groups: dict[str, Group] = {}
    for part in PARTS:
        run = runs.get(part.name)
        if run is None or not part.system:
            continue
        found = [_value(named(run.figures, measure)) for measure in plot.measures]
        if any(found):
            said = next((figure.system for figure in run.figures if figure.system), part.title)
            groups["ours" if part.system == "ours" else said.partition(",")[0]] = found
        if part.system == "ours" and plot.file == "history.svg":
            for large, rows in _HISTORY.items():
                if large in runs:
                    groups[f"ours, {rows}"] = [_value(named(runs[large].figures, "list, p50"))]
    return groups


def _pairs(runs: Mapping[str, Run], against: Against) -> dict[str, Group]:
    figures = runs[against.part].figures if against.part in runs else ()
    found = {label: named(figures, begin) for label, begin in against.figures.items()}
    return {label: [figure.value, figure.limit] for label, figure in found.items() if figure is not None}


def _value(figure: Figure | None) -> Spread | None:
    return figure.value if figure is not None else None


def _svg(plot: Plot | Against, series: Sequence[str], groups: Mapping[str, Group]) -> bytes:
    chart = _pygal().Bar(
        style=_pygal().style.CleanStyle(
            font_family="sans-serif",
            label_font_size=12,
            value_font_size=11,
            title_font_size=16,
            background="white",
            plot_background="white",
            guide_stroke_color="#dddddd",
            guide_stroke_dasharray="0",
        ),
        logarithmic=plot.logarithmic,
        js=(),  # its tooltips come from a server on the internet
        no_prefix=True,  # otherwise each drawing has another id, and each run another file
        explicit_size=True,
        width=900,
        height=380,
        legend_at_bottom=True,
        truncate_label=-1,
        truncate_legend=-1,
        print_values=True,
        print_values_position="center",
        value_formatter=lambda value: f"{value:,.0f}" if value >= 10 else f"{value:.2g}",  # noqa: PLR2004
        title=plot.title,
    )
    if plot.logarithmic:
        chart.y_labels = _powers_of_ten(value for spreads in groups.values() for value in spreads if value)
        chart.range = chart.y_labels[0], chart.y_labels[-1]
        chart.zero = chart.y_labels[0]
    else:
        chart.range = 0, max(value.high for spreads in groups.values() for value in spreads if value) * 1.1
    chart.x_labels = list(groups)
    for number, name in enumerate(series):
        values = [spreads[number] for spreads in groups.values()]
        chart.add(name.removesuffix(" of"), [_bar(spread) for spread in values])
    chart.add_xml_filter(_plain)
    svg: bytes = chart.render()
    return svg


def _bar(spread: Spread | None) -> Any:
    if spread is None:
        return None
    ends = {"low": spread.low, "high": spread.high}
    return {"value": spread.median, **({"ci": ends} if spread.count > 1 else {})}


def _powers_of_ten(values: Iterable[Spread]) -> list[float]:
    """Around all of them."""
    known = list(values)
    low = min(math.floor(math.log10(max(value.low, 0.001))) for value in known)
    high = max(math.ceil(math.log10(max(value.high, 0.001))) for value in known)
    return [10.0**power for power in range(low, max(high, low + 1) + 1)]


def _plain(root: Any) -> Any:
    """Without its scripts, which nothing needs in a picture, and the comment that says on which day it was drawn."""
    for element in list(root.iter()):
        for child in list(element):
            if not isinstance(child.tag, str) or child.tag.rpartition("}")[2] == "script":
                element.remove(child)
    return root


def _pygal() -> Any:
    """Imported where something is drawn: measuring does without it."""
    import pygal  # type: ignore[import-untyped]  # noqa: PLC0415
    import pygal.style  # type: ignore[import-untyped]  # noqa: PLC0415

    # It finds maps that nobody has here by a protocol that Python warns of at every later import.
    sys.meta_path[:] = [finder for finder in sys.meta_path if hasattr(finder, "find_spec")]
    return pygal
