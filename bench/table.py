"""The figures as a person reads them in a terminal, or in the log of a machine: plain lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bench.goals import against_others
from bench.page import number, spread
from bench.parts import PARTS
from bench.results import Figure, Run

_HEADINGS = ("", "ours", "limit", "ratio", "wanted", "")


def table(runs: Mapping[str, Run]) -> str:
    """Columns as wide as what is in them, a heading for each part."""
    rows: list[tuple[str, ...] | str] = [_HEADINGS]
    for part in PARTS:
        if run := runs.get(part.name):
            rows.append(part.title)
            rows += [_row(figure) for figure in run.figures]
    against = list(against_others(runs, {part.name: part.title for part in PARTS}))
    if against:
        rows += ["Beside other systems", *map(_row, against)]
    return "\n".join(_lines(rows))


def _row(figure: Figure) -> tuple[str, ...]:
    if figure.failure:
        return f"  not measured: {figure.failure}", "", "", "", "", ""
    state = ""
    if figure.goal and figure.ratio is not None:
        state = "MISSED" if figure.is_missed else "met"
    return (
        f"  {figure.name}",
        f"{spread(figure.value)} {figure.unit}" if figure.value else "",
        spread(figure.limit) if figure.limit else "",
        number(figure.ratio) if figure.ratio is not None else "",
        figure.goal,
        state,
    )


def _lines(rows: list[tuple[str, ...] | str]) -> Iterator[str]:
    cells = [row for row in rows if not isinstance(row, str) and row[1]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(_HEADINGS))]
    for row in rows:
        if isinstance(row, str):
            yield f"\n{row}"
            continue
        first, *others = row
        padded = [cell.rjust(width) for cell, width in zip(others[:-1], widths[1:-1], strict=True)]
        yield "  ".join((first.ljust(widths[0]), *padded, others[-1])).rstrip()
