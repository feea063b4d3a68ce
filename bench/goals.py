"""What is wanted of figures of different parts beside each other: of ours beside those of the systems next to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bench.results import Figure, Run, Spread, named

TRIGGER_ALONE = "trigger, alone"
TRIGGER_TOGETHER = "trigger, {} at once"
FIRST_LINE_COLD = "trigger to first line, cold"
FIRST_LINE_WARM = "trigger to first line, warm"
PAGE = "50 newest of {} runs"
MEMORY = "idle memory"
MEMORY_ALL = "idle memory, its database included"
START = "start"
THROUGHPUT = "{} jobs at once, each one's first line: rate"
PROCESSOR = "idle processor"
OURS = "system-ours"


@dataclass(frozen=True)
class Goal:
    """Ours against the same figure of `other`, or against a number."""

    name: str
    other: str
    goal: str
    part: str = OURS
    """Whose figure of ours counts, by how its name begins (`begin`; default: the same name)."""
    begin: str = ""


_OTHERS = ("system-prefect", "system-airflow", "system-dagster", "system-celery", "system-procrastinate")
GOALS = (
    Goal(TRIGGER_ALONE, "system-airflow", "<=1"),
    Goal(TRIGGER_ALONE, "system-prefect", "<=1"),
    Goal(TRIGGER_TOGETHER, "system-airflow", "<=1"),
    Goal(TRIGGER_TOGETHER, "system-prefect", "<=1"),
    Goal(FIRST_LINE_WARM, "system-airflow", "<=0.4"),
    Goal(FIRST_LINE_WARM, "system-dagster", "<=0.1"),
    Goal(MEMORY, "system-airflow", "<=1"),
    *(Goal(PAGE, other, "<=1", part="history-10m", begin="list, p50") for other in _OTHERS),
)


def against_others(runs: Mapping[str, Run], titles: Mapping[str, str]) -> Iterator[Figure]:
    """A figure for each goal of which both sides were measured."""
    for goal in GOALS:
        ours = named(_figures(runs, goal.part), goal.begin or goal.name)
        theirs = named(_figures(runs, goal.other), goal.name)
        if ours is None or theirs is None or ours.value is None or theirs.value is None:
            continue
        name = ours.name if goal.part == OURS else f"{ours.name} (ours), {theirs.name} (theirs)"
        yield Figure(
            f"{name}, against {titles[goal.other]}",
            ours.value,
            unit=ours.unit,
            limit=_in(ours.unit, theirs.unit, theirs.value),
            goal=goal.goal,
        )
    warm = named(_figures(runs, OURS), FIRST_LINE_WARM)
    if warm is not None and warm.value is not None:
        limit = Spread(400, 400, 400) if warm.unit == "ms" else Spread(0.4, 0.4, 0.4)
        yield Figure(f"{FIRST_LINE_WARM}, against 0.4 s", warm.value, unit=warm.unit, limit=limit, goal="<=1")


def _figures(runs: Mapping[str, Run], part: str) -> tuple[Figure, ...]:
    return runs[part].figures if part in runs else ()


def _in(unit: str, other: str, value: Spread) -> Spread:
    if unit != other:
        raise ValueError(f"{unit} and {other} do not compare")
    return value
