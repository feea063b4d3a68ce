"""What `make bench` measures: the parts, in their order, and how big each is.

`tiny` only shows that a part works. `usual` is for two quiet cores and a quarter of an hour in all; a part without it
is measured by FULL=1 alone, which takes `full` where a part has it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Size(StrEnum):
    TINY = "tiny"
    USUAL = "usual"
    FULL = "full"


@dataclass(frozen=True)
class Part:
    name: str
    title: str
    module: str
    tiny: str
    usual: str | None = None
    full: str | None = None
    system: str = ""
    """Of a part that measures a system as a whole, ours too, so that all are measured alike: its name here."""

    def arguments(self, size: Size) -> str | None:
        """None where a run of this size leaves the part out."""
        if size is Size.TINY:
            return self.tiny
        return self.usual if size is Size.USUAL else self.full or self.usual


def _system(name: str, title: str, *, usual: str | None = None, full: str) -> Part:
    tiny = f"{name} runs=2 starts=1 burst=4 at_once=2 rows=200 pages=5 idle=1"
    return Part(f"system-{name}", title, "bench.peers", tiny, usual and f"{name} {usual}", f"{name} {full}", name)


_QUICK = "runs=20 starts=3 burst=32 at_once=16 rows=100000 pages=50 idle=15"
_SLOW = "runs=15 starts=1 burst=32 at_once=16 rows=100000 pages=50 idle=30"

PARTS = (
    _system("ours", "This scheduler, as a whole", usual=_QUICK, full=_QUICK.replace("runs=20", "runs=50")),
    _system("prefect", "Prefect alone, process worker tuned", full=_SLOW),
    _system("airflow", "Airflow 3, LocalExecutor", full=_SLOW),
    _system("dagster", "Dagster", full=_SLOW),
    _system("celery", "Celery and Redis", full=_QUICK),
    _system("procrastinate", "Procrastinate", full=_QUICK),
    Part(
        "api",
        "The API: trigger and reads",
        "bench.api",
        "calls=8 at_once=2 rounds=1",
        "calls=200 at_once=16 rounds=4",
        "calls=300 at_once=16 rounds=5",
    ),
    Part(
        "start",
        "From trigger to first line, on our worker and on Prefect's",
        "bench.start",
        "--runs 1 --at-once 1 --memory-runs 4 --without-default",
        "--runs 8 --at-once 8 --memory-runs 24 --without-default",
        "--runs 30 --at-once 8 --memory-runs 200",
    ),
    Part(
        "jobs",
        "Trivial jobs, many at once",
        "bench.jobs",
        "jobs=6 keys=1 at_once=2",
        "jobs=150 keys=0 at_once=16",
        "jobs=1000 keys=1 at_once=16",
    ),
    Part("pod", "A pod's flow run, from its process to its first line", "bench.pod", "runs=1", "runs=3", "runs=15"),
    Part(
        "idle",
        "The whole stack: its start, and what it needs when nothing happens",
        "bench.idle",
        "starts=1 seconds=2",
        "starts=1 seconds=30",
        "starts=5 seconds=60",
    ),
    Part(
        "streams",
        "Open streams: what they cost, how soon they tell of states and log lines",
        "bench.streams",
        "streams=5 blocks=2 triggers=16 events=2",
        "streams=200 blocks=3 triggers=48 events=20",
        "streams=200 blocks=8 triggers=64 events=50",
    ),
    Part(
        "history-100k",
        "History, 100,000 jobs",
        "bench.history",
        "rows=2000 rounds=1 small=500",
        "rows=100000 rounds=5",
        "rows=100000 rounds=10",
    ),
    Part("history-1m", "History, 1,000,000 jobs", "bench.history", "rows=2000 rounds=1 small=500", full="rows=1000000"),
    Part(
        "history-10m", "History, 10,000,000 jobs", "bench.history", "rows=2000 rounds=1 small=500", full="rows=10000000"
    ),
    Part(
        "digest",
        "The weekly digest",
        "bench.digest",
        "users=200 big=0 bare=200",
        "users=20000 big=0 bare=20000",
        "users=100000 big=1000000 bare=20000",
    ),
    Part(
        "maintenance",
        "Cleanup, trending, archive",
        "bench.maintenance",
        "cleanup=2000 trending=2000 archive=1000 runs=1",
        "cleanup=100000 trending=100000 archive=50000 runs=3",
        "cleanup=1000000 trending=1000000 archive=500000 runs=3",
    ),
)


def chosen(names: Iterable[str], size: Size) -> list[tuple[Part, str]]:
    """The parts of a run with their arguments. A name stands for all parts that begin with it: "history", "system".

    Exits with what there is where a name is none, or where the size leaves all of its parts out.
    """
    there = [(part, given) for part in PARTS if (given := part.arguments(size)) is not None]
    wanted = list(names)
    if not wanted:
        return there
    for name in wanted:
        if not any(_is(part, name) for part, _ in there):
            known = ", ".join(part.name for part, _ in there)
            raise SystemExit(f"{name!r} is no part of a {size} run; its parts are {known}")
    return [(part, given) for part, given in there if any(_is(part, name) for name in wanted)]


def _is(part: Part, name: str) -> bool:
    """`trigger` and the like are what people call them."""
    names = {part.name, part.system, *_ALSO.get(part.name, ())}
    return name in names or part.name.startswith(f"{name}-")


_ALSO = {"api": ("trigger",), "start": ("first-line",), "maintenance": ("cleanup", "trending", "archive")}
