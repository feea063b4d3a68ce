"""What is around the rows: Prefect with its flow runs, and the processes that work, die, freeze and come back."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from tests.database.machine.rows import Job

TRUST = 75
RUN_ENDED = frozenset({"completed", "failed", "crashed", "cancelled"})


@dataclass(eq=False, repr=False)
class Run:
    """A flow run as Prefect knows it. `begun` is Prefect's run_count; `by_hand`: a person cancelled it."""

    id: UUID
    name: str
    origin: str
    key: str | None = None
    due_at: datetime | None = None
    state: str = "scheduled"
    begun: int = 0
    by_hand: bool = False

    def __repr__(self) -> str:
        return f"<{self.name}: {self.state}>"

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:  # noqa: FBT001  # how Hypothesis prints a step
        printer.text(repr(self))

    @property
    def has_ended(self) -> bool:
        return self.state in RUN_ENDED

    def set(self, state: str, *, by_hand: bool = False) -> None:
        if self.state != "deleted":
            self.state, self.by_hand = state, by_hand


@dataclass(eq=False, repr=False)
class Process:
    """One attempt of a flow run. What it knows may be out of date: `fence` and `held` are what it believes."""

    name: str
    run: Run
    attempt: int
    job: Job | None = None
    fence: int | None = None
    is_alive: bool = True
    is_frozen: bool = False
    is_buried: bool = False
    verdict: str | None = None
    renewed_at: int = 0
    last_alive_at: int = 0
    ending: str | None = None
    held: dict[UUID, str] = field(default_factory=dict)
    round: int = 0

    def __repr__(self) -> str:
        how = "dead" if not self.is_alive else "frozen" if self.is_frozen else self.verdict or "working"
        return f"<{self.name} of {self.run.name}: {how}>"

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:  # noqa: FBT001  # how Hypothesis prints a step
        printer.text(repr(self))

    @property
    def can_move(self) -> bool:
        return self.is_alive and not self.is_frozen

    @property
    def has_lease(self) -> bool:
        """Whether it believes so."""
        return self.fence is not None and self.verdict in (None, "stop")

    def trusts_itself(self, now: int) -> bool:
        """Whether it may make a call: nobody has stopped it, and its last renewal is recent by its own clock."""
        return self.can_move and self.fence is not None and self.verdict is None and now - self.renewed_at < TRUST


@dataclass
class Outside:
    runs: list[Run] = field(default_factory=list)
    processes: list[Process] = field(default_factory=list)
    made: int = 0

    def new_id(self) -> UUID:
        """Ids are counted, so that a failure can be played again."""
        self.made += 1
        return UUID(int=self.made, version=4)

    def create_run(self, origin: str, key: str | None = None, due_at: datetime | None = None) -> Run:
        """With a key the run of an earlier call, unless it was deleted."""
        for run in self.runs if key is not None else ():
            if run.key == key and run.state != "deleted":
                return run
        run = Run(self.new_id(), f"run {len(self.runs) + 1}", origin, key, due_at)
        self.runs.append(run)
        return run

    def begin(self, run: Run, *, twice: bool = False) -> Process:
        """A process for the next attempt of a run, or one more for an attempt that was begun already."""
        if not twice:
            run.begun += 1
            run.set("running")
        process = Process(f"process {len(self.processes) + 1}", run, run.begun)
        self.processes.append(process)
        return process

    def of(self, run: Run) -> list[Process]:
        return [process for process in self.processes if process.run is run]
