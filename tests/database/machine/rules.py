"""Everything that can happen, as rules: who does what is drawn among those who can do it now."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.database.machine.database import Database
from tests.database.machine.driver import Driver
from tests.database.machine.healing import heal
from tests.database.machine.invariants import Invariants
from tests.database.machine.outside import Process, Run
from tests.database.machine.prefect import reconcile
from tests.database.machine.rows import TICK, Job

T = TypeVar("T")
Among = Callable[["SchedulerMachine"], Sequence[Any]]

# The model's clock stands still between ticks. An example that takes longer than this says nothing and is dropped.
LONGEST_EXAMPLE_SECONDS = TICK / 2
MOST_JOBS, MOST_RUNS = 8, 10

heard = st.sampled_from([True, True, True, False])
priorities = st.sampled_from(["MEDIUM", "HIGH", "LOW"])
keys = st.sampled_from([None, None, "k", "l"])
gates = st.sampled_from(["crawl", "crawl", None])
max_runs = st.sampled_from([None, 120, 30])
words = st.booleans()


def happens_to(name: str, among: Among, **more: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A rule about one of those that `among` finds, as long as it finds any."""
    one = st.runner().flatmap(lambda machine: st.sampled_from(list(among(machine))))

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        rule_of: Any = rule  # its overloads know no keywords that are named at run time
        ruled: Callable[..., None] = rule_of(**{name: one}, **more)(function)
        return precondition(lambda machine: bool(among(machine)))(ruled)

    return decorate


def processes(fits: Callable[[Process], object]) -> Among:
    return lambda machine: [process for process in machine.outside.processes if fits(process)]


def runs(fits: Callable[[Run], object]) -> Among:
    return lambda machine: [run for run in machine.outside.runs if fits(run)]


def jobs(fits: Callable[[Job], object]) -> Among:
    return lambda machine: [job for job in machine.driver.rows.jobs.values() if fits(job)]


working = processes(lambda p: p.can_move and p.has_lease)
can_begin = runs(lambda run: run.state in ("scheduled", "awaiting retry"))


class SchedulerMachine(RuleBasedStateMachine):
    database: ClassVar[Database]

    def __init__(self) -> None:
        super().__init__()
        self.driver = Driver(self.database)
        self.outside = self.driver.outside
        self.invariants_of_rows = Invariants(self.driver)
        self.began_at = time.monotonic()

    # Jobs come

    @precondition(lambda self: len(self.driver.rows.jobs) < MOST_JOBS)
    @rule(
        priority=priorities, gate=gates, key=st.sampled_from([None, None, "k", "l"]), fingerprint=st.sampled_from("fg")
    )
    def trigger(self, priority: str, gate: str | None, key: str | None, fingerprint: str) -> None:
        self.driver.trigger(priority, gate, key, fingerprint)

    @precondition(lambda self: len(self.outside.runs) < MOST_RUNS)
    @rule(origin=st.sampled_from(["schedule", "schedule", "prefect"]), seen=words)
    def prefect_makes_a_run(self, origin: str, seen: bool) -> None:  # noqa: FBT001  # rules are called by Hypothesis
        run = self.outside.create_run(origin, due_at=self.driver.db.now())
        if seen:
            reconcile(self.driver, run)

    @precondition(lambda self: len(self.driver.rows.jobs) < MOST_JOBS)
    @rule(gate=gates, max_run=max_runs)
    def a_job_runs(self, gate: str | None, max_run: int | None) -> None:
        """The usual way all at once, so that what comes after it is reached often."""
        self.driver.trigger("MEDIUM", gate, None, "")
        for job in self.driver.claim_dispatch(10):
            run = self.driver.create_run(job)
            self.driver.record_dispatch(job, job.dispatches, run)
            self._begin(run, max_run=max_run, later_fire=False, heard=True)

    @happens_to("job", jobs(lambda job: job.status in ("failed", "cancelled")))
    def retry(self, job: Job) -> None:
        self.driver.retry(job)

    @precondition(lambda self: self.driver.rows.due_for_recovery())
    @rule()
    def recover(self) -> None:
        self.driver.recover()

    # Dispatch

    @precondition(lambda self: any(job.is_pending and job.run is None for job in self.driver.rows.jobs.values()))
    @rule(limit=st.sampled_from([1, 10]), how=st.sampled_from(["recorded", "recorded", "late", "lost", "refused"]))
    def dispatch(self, limit: int, how: str) -> None:
        for job in self.driver.claim_dispatch(limit):
            dispatches = job.dispatches
            if how == "refused":
                self.driver.postpone_dispatch(job)
                continue
            run = self.driver.create_run(job)
            if how == "recorded":
                self.driver.record_dispatch(job, dispatches, run)
            elif how == "late":
                self.driver.unrecorded.append((job, dispatches, run))

    @precondition(lambda self: self.driver.unrecorded)
    @rule()
    def a_late_dispatch_is_recorded(self) -> None:
        self.driver.record_dispatch(*self.driver.unrecorded.pop(0))

    # Processes

    @happens_to("run", can_begin, stops_at=st.sampled_from(["birth", "adopted", "", "", ""]), max_run=max_runs,
                later_fire=st.sampled_from([False, False, False, True]), heard=heard)  # fmt: skip
    def a_process_begins(self, run: Run, stops_at: str, max_run: int | None, later_fire: bool, heard: bool) -> None:  # noqa: FBT001
        if stops_at == "birth":
            self.outside.begin(run)
        elif stops_at == "adopted":
            process = self.outside.begin(run)
            process.job = self.driver.adopt(run, process.attempt)
        else:
            self._begin(run, max_run=max_run, later_fire=later_fire, heard=heard)

    def _begin(self, run: Run, *, max_run: int | None, later_fire: bool, heard: bool) -> None:
        process = self.outside.begin(run)
        process.job = self.driver.adopt(run, process.attempt)
        self.driver.take(process, max_run=max_run, later_fire=later_fire, heard=heard)

    @happens_to("run", runs(lambda run: run.begun and run.state != "deleted"), at_once=words, heard=heard)
    def an_attempt_is_begun_twice(self, run: Run, at_once: bool, heard: bool) -> None:  # noqa: FBT001
        process = self.outside.begin(run, twice=True)
        if at_once:
            process.job = self.driver.adopt(run, process.attempt)
            self.driver.take(process, max_run=None, later_fire=False, heard=heard)

    @happens_to("process", processes(lambda p: p.can_move and p.fence is None and p.verdict is None), heard=heard)
    def a_process_goes_on(self, process: Process, heard: bool) -> None:  # noqa: FBT001
        if process.job is None:
            process.job = self.driver.adopt(process.run, process.attempt)
        else:
            self.driver.take(process, max_run=None, later_fire=False, heard=heard)

    @happens_to("process", working)
    def beat(self, process: Process) -> None:
        self.driver.beat(process)

    @happens_to("process", processes(lambda p: p.can_move and p.has_lease and p.verdict is None),
                limit=st.integers(1, 3), again=st.sampled_from([False, False, True]), heard=heard)  # fmt: skip
    def claim(self, process: Process, limit: int, again: bool, heard: bool) -> None:  # noqa: FBT001
        if not again:
            self.driver.open_crawl(process)
        self.driver.claim(process, limit, again=again, heard=heard)

    @happens_to(
        "process",
        lambda machine: [p for p in machine.outside.processes if p.held and p.trusts_itself(machine.driver.rows.now)],
        does_it=words,
    )
    def call_crawler(self, process: Process, does_it: bool) -> None:  # noqa: FBT001
        self.driver.call_crawler(process, does_it=does_it)

    @happens_to("process", processes(lambda p: p.can_move and p.has_lease and "asked" in p.held.values()),
                answered=words, again=st.sampled_from([False, False, True]))  # fmt: skip
    def settle(self, process: Process, answered: bool, again: bool) -> None:  # noqa: FBT001
        self.driver.settle(process, answered=answered, again=again)

    @happens_to("process", processes(lambda p: p.can_move and p.has_lease and p.ending != "given up"),
                status=st.sampled_from(["completed", "failed"]), heard=heard)  # fmt: skip
    def finish(self, process: Process, status: str, heard: bool) -> None:  # noqa: FBT001
        self.driver.finish(process, process.ending or status, heard=heard)

    @happens_to("process", processes(lambda p: p.can_move and p.has_lease and p.ending in (None, "given up")),
                seconds=st.sampled_from([None, 0, 20]), heard=heard)  # fmt: skip
    def give_up(self, process: Process, seconds: int | None, heard: bool) -> None:  # noqa: FBT001
        self.driver.give_up(process, seconds, heard=heard)

    @happens_to("process", processes(lambda p: p.can_move))
    def freeze(self, process: Process) -> None:
        process.is_frozen = True

    @happens_to("process", processes(lambda p: p.is_alive and p.is_frozen))
    def thaw(self, process: Process) -> None:
        process.is_frozen = False

    @happens_to("process", lambda machine: [p for p in machine.outside.processes if p.is_alive and p.fence
                                           and machine.driver.is_fenced(p)])  # fmt: skip
    def a_fenced_process_tries_everything(self, process: Process) -> None:
        verdict, ending = process.verdict, process.ending
        self.driver.open_crawl(process)
        self.driver.claim(process, 3, again=False, heard=True)
        self.driver.settle(process, answered=True, again=False)
        self.driver.beat(process)
        for status in ("completed", "failed"):
            self.driver.finish(process, status, heard=False)
        process.verdict, process.ending = verdict, ending

    # Processes end

    @happens_to("process", processes(lambda p: p.is_alive), told=words, cancelled=st.sampled_from([False, False, True]))
    def kill(self, process: Process, told: bool, cancelled: bool) -> None:  # noqa: FBT001
        """`told`: its worker lives, and tells the row and Prefect."""
        process.is_alive = False
        if told:
            process.is_buried = True
            self.driver.bury(process, process.name, by_itself=False, cancelled=cancelled)
            process.run.set("crashed")

    @happens_to("process", processes(lambda p: not p.is_alive), by_itself=words)
    def a_death_is_told_late(self, process: Process, by_itself: bool) -> None:  # noqa: FBT001
        process.is_buried = True
        self.driver.bury(process, process.name, by_itself=by_itself)

    @happens_to("process", processes(lambda p: p.can_move and p.verdict not in (None, "stop")))
    def leave(self, process: Process) -> None:
        """A process that has nothing more to do ends in good order."""
        process.is_alive = False
        job = process.job
        if job is not None and job.run == process.run.id and not job.has_ended:
            if process.verdict == "given up":
                process.run.set("cancelled" if job.cancel_asked else "failed")
        else:
            # Who lost its lease says Failed; Cancelled is the word of a process that never got one.
            otherwise = "cancelled" if process.fence is None else "failed"
            process.run.set(process.ending if process.ending in ("completed", "failed") else otherwise)
        self.driver.bury(process, process.name, by_itself=True)

    @happens_to("process", processes(lambda p: p.is_alive and p.run.state == "running"), survives=words)
    def evict(self, process: Process, survives: bool) -> None:  # noqa: FBT001
        """Its run goes on as another attempt; the process is gone, or cut off without knowing it."""
        process.is_alive, process.is_frozen = survives, survives
        process.run.set("awaiting retry")

    # People

    @happens_to("job", jobs(lambda job: job.has_ended), what=st.sampled_from(["cancel", "retry"]))
    def ask_too_late(self, job: Job, what: str) -> None:
        getattr(self.driver, what)(*((job, "admin") if what == "cancel" else (job,)))

    @happens_to("job", jobs(lambda job: not job.has_ended))
    def cancel(self, job: Job) -> None:
        self.driver.cancel(job, "admin")

    @happens_to("run", runs(lambda run: run.state in ("scheduled", "awaiting retry", "running")))
    def cancel_in_prefect(self, run: Run) -> None:
        run.set("cancelling" if run.state == "running" else "cancelled", by_hand=True)

    @happens_to("run", runs(lambda run: run.state != "deleted"))
    def delete_in_prefect(self, run: Run) -> None:
        run.set("deleted")

    @happens_to("run", runs(lambda run: run.has_ended))
    def retry_in_prefect(self, run: Run) -> None:
        run.set("scheduled")

    @rule(change=st.sampled_from(["pause", "pause for a while", "resume", "resume", "switch off", "switch on"]))
    def the_rules_change(self, change: str) -> None:
        if change.startswith("switch"):
            self.driver.switch_schedule(enabled=change == "switch on")
        else:
            self.driver.pause(paused=change != "resume", ticks=3 if change == "pause for a while" else None)

    # Time and the sweeps

    @happens_to("run", lambda machine: machine.outside.runs)
    def reconcile(self, run: Run) -> None:
        reconcile(self.driver, run)

    @precondition(lambda self: any(job.is_running for job in self.driver.rows.jobs.values()))
    @rule()
    def sweep(self) -> None:
        self.driver.sweep()

    @rule(ticks=st.sampled_from([1, 2, 4, 10]), database=st.sampled_from(["up", "up", "up", "down"]))
    def time_passes(self, ticks: int, database: str) -> None:
        assume(time.monotonic() - self.began_at < LONGEST_EXAMPLE_SECONDS)
        if database == "down":
            self.driver.let_pass(ticks * TICK)
            return
        for _ in range(ticks):
            self.driver.tick()

    @invariant()
    def the_rows_are_right(self) -> None:
        self.invariants_of_rows.check()

    def teardown(self) -> None:
        """From whatever state was reached: left alone, everything ends."""
        if sys.exc_info()[0] is None:
            heal(self.driver)
            self.invariants_of_rows.check()
