"""The cases: each a function of a ground, found by its name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.chaos.ground import Ground

Run = Callable[[Ground], Awaitable[None]]


@dataclass(frozen=True)
class Case:
    """`lanes` are held from its start to its end; `after` names cases of the same ground that go first."""

    name: str
    ground: str
    seconds: float
    run: Run
    lanes: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        return (self.run.__doc__ or "").strip().splitlines()[0]


CASES: list[Case] = []


def case(
    name: str, *, ground: str, seconds: float, lanes: tuple[str, ...] = (), after: tuple[str, ...] = ()
) -> Callable[[Run], Run]:
    """Registers a case. `seconds` is the longest it may take once it has its lanes: a hang is a failure."""

    def register(run: Run) -> Run:
        CASES.append(Case(name, ground, seconds, run, lanes, after))
        return run

    return register
