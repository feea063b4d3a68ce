"""docs/benchmarks.md: the table of what was measured. It is written from docs/benchmarks.jsonl and nothing else."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from bench.goals import OURS, against_others
from bench.parts import PARTS, Part
from bench.plots import Drawn
from bench.results import Figure, Run, Spread

Reasons = Mapping[str, Mapping[str, str]]

REASONS = Path(__file__).with_name("reasons.toml")
OTHERS = "others"
NOTHING = "-"
_LONG_TABLE = 14

_HEAD = """\
# Benchmarks

Written by `make bench` from [benchmarks.jsonl](benchmarks.jsonl); `python -m bench render` writes it anew without
measuring. `make bench` measures what is ours and the limits under it, `make bench FULL=1` the large sizes and the
systems beside it as well, `make bench ONLY=trigger,history` some parts only.

A figure is a median, with the quartiles in brackets where it was measured more than once. A limit was measured in the
same run as the figure: the bare call, statement or process under it. No figure is copied from anywhere: where a system
could not be measured, the reason stands in its place.
"""


def page(runs: Mapping[str, Run], reasons: Reasons, plots: Sequence[Drawn]) -> str:
    """The whole page."""
    sections = [_HEAD, _measured_on(runs)]
    if systems := list(_systems(runs)):
        sections.append("## Beside other systems\n")
        sections.append(
            "The same trivial job, measured by the same code ([bench/peers](../bench/peers)); each system as its own"
            " documentation says to run it on one machine, on a PostgreSQL of the same kind, all processes on this"
            " machine.\n"
        )
        sections.append("\n".join(systems) + "\n")
        sections += _pictures(plots, "")
    against = list(against_others(runs, {part.name: part.title for part in PARTS}))
    if against:
        sections.append("### What is wanted of ours beside them\n")
        sections.append(_figures(against, reasons.get(OTHERS, {})))
    for part in PARTS:
        run = runs.get(part.name)
        if run is not None and not part.system:
            sections += [f"## {part.title}\n", *_pictures(plots, part.name)]
            sections.append(_folded(_figures(run.figures, reasons.get(part.name, {})), len(run.figures)))
    sections += ["## The runs\n", _runs(runs)]
    return "\n".join(sections)


def _pictures(plots: Iterable[Drawn], part: str) -> list[str]:
    return [f"![{plot.title}](img/bench/{plot.file})\n" for plot in plots if plot.part == part]


def read_reasons(file: Path = REASONS) -> Reasons:
    return tomllib.loads(file.read_text(encoding="utf-8"))


def reason_of(figure: Figure, reasons: Mapping[str, str]) -> str:
    """The longest key that the figure's name begins with says most about it."""
    fitting = [key for key in reasons if figure.name.startswith(key)]
    return reasons[max(fitting, key=len)] if fitting else ""


def missed(runs: Mapping[str, Run], reasons: Reasons) -> Iterator[tuple[str, Figure, str]]:
    """The figures that miss their goal: part, figure, reason (empty where nobody has written one)."""
    for name, run in runs.items():
        for figure in run.figures:
            if figure.is_missed:
                yield name, figure, reason_of(figure, reasons.get(name, {}))
    for figure in against_others(runs, {part.name: part.title for part in PARTS}):
        if figure.is_missed:
            yield OTHERS, figure, reason_of(figure, reasons.get(OTHERS, {}))


def _measured_on(runs: Mapping[str, Run]) -> str:
    machines: dict[str, list[str]] = {}
    for run in runs.values():
        words = ", ".join(f"{name} {value}" for name, value in run.machine.items())
        machines.setdefault(words, []).append(run.part)
    if len(machines) == 1:
        return f"Measured on: {next(iter(machines))}.\n"
    return "\n".join(f"Measured on: {words} ({', '.join(parts)}).\n" for words, parts in machines.items())


def _systems(runs: Mapping[str, Run]) -> Iterator[str]:
    """A row for each measure, a column for each system, ours first."""
    there = [(part, runs[part.name]) for part in PARTS if part.system and part.name in runs]
    if not there:
        return
    found = {part.name: {figure.name: figure for figure in run.figures} for part, run in there}
    measures = list(dict.fromkeys(name for figures in found.values() for name in figures if name))
    yield _row("", *(_heading(part, run) for part, run in there))
    yield _row("---", *("---:" for _ in there))
    for measure in measures:
        yield _row(measure, *(_cell(found[part.name].get(measure)) for part, _ in there))
    for part, run in there:
        for figure in run.figures:
            if figure.failure:
                yield f"\n{part.title} could not be measured: {figure.failure}"


def _heading(part: Part, run: Run) -> str:
    """With the version that was measured, where the system has told it."""
    said = next((figure.system for figure in run.figures if figure.system), "")
    return f"**{said or part.title}**" if part.name == OURS else said or part.title


def _cell(figure: Figure | None) -> str:
    if figure is None or figure.value is None:
        return NOTHING
    return f"{spread(figure.value)} {figure.unit}"


def _figures(figures: Iterable[Figure], reasons: Mapping[str, str]) -> str:
    lines = [
        _row("", "ours", "limit", "ours / limit", "wanted", ""),
        _row("---", "---:", "---:", "---:", "---:", "---"),
    ]
    notes = []
    for figure in figures:
        met = ""
        if figure.goal and figure.ratio is not None:
            met = "**missed**" if figure.is_missed else "met"
        if figure.is_missed:
            why = reason_of(figure, reasons) or "no reason has been written down yet."
            notes.append(f"- **Missed: {figure.name}.** {why}")
        if figure.failure:
            notes.append(f"- {figure.failure}")
        lines.append(
            _row(
                figure.name,
                f"{spread(figure.value)} {figure.unit}" if figure.value else NOTHING,
                f"{spread(figure.limit)} {figure.unit}" if figure.limit else NOTHING,
                f"{figure.ratio:.2f}" if figure.ratio is not None else NOTHING,
                figure.goal.replace("<=", "≤ ").replace(">=", "≥ "),
                met,
            )
        )
    return "\n".join(lines) + "\n" + ("\n" + "\n".join(notes) + "\n" if notes else "")


def _folded(table: str, length: int) -> str:
    if length <= _LONG_TABLE:
        return table
    return f"<details><summary>{length} figures</summary>\n\n{table}\n</details>\n"


def _runs(runs: Mapping[str, Run]) -> str:
    lines = [_row("part", "when (UTC)", "seconds", "load average", "commit", "sizes"), _row(*["---"] * 6)]
    for run in runs.values():
        low, high = run.load
        when = run.at[:16].replace("T", " ")
        sizes = f"`{run.arguments}`" if run.arguments else ""
        lines.append(_row(run.part, when, f"{run.seconds:.0f}", f"{low:.1f} to {high:.1f}", run.revision, sizes))
    return "\n".join(lines) + "\n"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def spread(value: Spread) -> str:
    """12.3 (11.9 to 13.1)."""
    if value.count == 1:
        return number(value.median)
    return f"{number(value.median)} ({number(value.low)} to {number(value.high)})"


def number(value: float) -> str:
    """As many digits as say something: three, and all of those before the point."""
    digits = next((digits for bound, digits in _DIGITS if abs(value) >= bound), 3)
    return f"{value:,.{digits}f}"


_DIGITS: Sequence[tuple[float, int]] = ((100, 0), (10, 1), (1, 2))
