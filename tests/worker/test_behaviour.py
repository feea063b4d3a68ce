"""What any worker must do with a run, on Prefect's process worker and on ours, with where the former cannot."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.worker import trial_flows as flows
from tests.worker.harness import Trials, is_alive, told, until

# Why the process worker fails a test, by its name.
NOT_ON_PROCESS = {
    "test_out_of_memory_is_called_that": "it sets no memory limit",
    "test_a_thousand_open_files_are_stopped": "it sets no limit on open files",
    "test_two_hundred_children_are_stopped": "it sets no limit on processes",
    "test_cpu_time_is_limited": "it sets no limit on CPU time",
    "test_a_run_that_ignores_sigterm_is_killed_after_its_grace": "its grace is 30 s and cannot be set",
    "test_cancel_while_starting_is_a_cancel": "it does not hear of a cancel before the run's process reports itself",
    "test_cancel_before_it_can_be_told_so_is_a_cancel": "the run reports the signal as a crash",
    "test_cancel_ends_everything_the_run_has_started": "it signals the run's first process alone",
    "test_a_dead_process_is_called_by_its_signal": "it names a number, and guesses at the reason",
    "test_the_last_words_of_a_process_are_reported": "it streams them and forgets them",
}


@pytest.fixture(autouse=True)
def _expect(request: pytest.FixtureRequest) -> None:
    name = request.node.originalname
    on_process = "trials" in request.fixturenames and request.getfixturevalue("trials").pool == "process"
    if on_process and name in NOT_ON_PROCESS:
        request.applymarker(pytest.mark.xfail(reason=NOT_ON_PROCESS[name], strict=True))


async def test_a_flow_that_returns_is_completed(trials: Trials, tmp_path: Path) -> None:
    run = await trials.trigger(flows.succeed, folder=tmp_path)
    assert (await trials.end(run)).is_completed()
    found = await told(tmp_path, "seen")
    assert found["sigint"]
    assert found["mask"] == 0
    assert found["argv"][0].endswith("prefect/engine.py")
    assert trials.worker is not None
    await until(lambda: "hello from stdout" in trials.worker.text(), 5, "stdout reaches the worker's own")  # type: ignore[union-attr]

    async def logged() -> bool:
        return "hello from the log" in await trials.logs(run)

    await until(logged, 10, "the log reaches Prefect")


async def test_an_async_flow_that_returns_is_completed(trials: Trials, tmp_path: Path) -> None:
    run = await trials.trigger(flows.succeed_async, folder=tmp_path)
    assert (await trials.end(run)).is_completed()


async def test_an_exception_is_a_failure(trials: Trials, tmp_path: Path) -> None:
    state = await trials.end(await trials.trigger(flows.fail, folder=tmp_path))
    assert state.is_failed()
    assert "this flow always fails" in (state.message or "")


async def test_sys_exit_is_a_crash(trials: Trials, tmp_path: Path) -> None:
    state = await trials.end(await trials.trigger(flows.leave, folder=tmp_path))
    assert state.is_crashed()


async def test_an_exit_without_goodbye_is_a_crash_with_its_code(trials: Trials, tmp_path: Path) -> None:
    state = await trials.end(await trials.trigger(flows.leave_hard, folder=tmp_path))
    assert state.is_crashed()
    assert "status code 3" in (state.message or "").replace("code:", "code")


async def test_the_last_words_of_a_process_are_reported(trials: Trials, tmp_path: Path) -> None:
    state = await trials.end(await trials.trigger(flows.leave_hard, folder=tmp_path))
    assert "these are the last words" in (state.message or "")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
async def test_a_dead_process_is_a_crash_within_a_second(trials: Trials, tmp_path: Path, number: int) -> None:
    run = await trials.trigger(flows.die_by, folder=tmp_path, number=int(number))
    state = await trials.end(run)
    assert state.is_crashed()
    dying = await told(tmp_path, "dying")
    assert state.timestamp.timestamp() - dying["at"] < 1
    hook = await told(tmp_path, "hook")
    assert hook["state"] == "Crashed"


async def test_a_dead_process_is_called_by_its_signal(trials: Trials, tmp_path: Path) -> None:
    state = await trials.end(await trials.trigger(flows.die_by, folder=tmp_path, number=int(signal.SIGSEGV)))
    assert "SIGSEGV" in (state.message or "")
    assert "in die_by" in (state.message or ""), "the line it died at"


async def test_out_of_memory_is_called_that(trials: Trials, tmp_path: Path) -> None:
    state = await trials.end(await trials.trigger(flows.eat_memory, folder=tmp_path, megabytes=400))
    assert state.is_crashed()
    assert "limit of 200 MB" in (state.message or "")


async def test_a_thousand_open_files_are_stopped(trials: Trials, tmp_path: Path) -> None:
    state = await trials.end(await trials.trigger(flows.open_files, folder=tmp_path, count=1000))
    assert state.is_failed()
    assert "Too many open files" in (state.message or "")


async def test_two_hundred_children_are_stopped(trials: Trials, tmp_path: Path) -> None:
    state = await trials.end(await trials.trigger(flows.start_children, folder=tmp_path, count=200))
    assert state.is_failed()
    assert "temporarily unavailable" in (state.message or "")


async def test_cpu_time_is_limited(trials: Trials, tmp_path: Path) -> None:
    run = await trials.trigger(flows.burn, folder=tmp_path)
    try:
        # Four seconds of CPU take longer by the clock where the machine is shared.
        state = await trials.end(run, 30)
    finally:
        await trials.cancel(run)
    assert "limit of 4 s" in (state.message or "")


async def test_a_hundred_megabytes_of_output_are_taken(trials: Trials, tmp_path: Path) -> None:
    run = await trials.trigger(flows.print_much, folder=tmp_path, megabytes=100)
    assert (await trials.end(run)).is_completed()
    assert trials.worker is not None
    assert trials.worker.log.stat().st_size > 100_000_000


async def test_a_run_that_ignores_sigterm_is_killed_after_its_grace(trials: Trials, tmp_path: Path) -> None:
    run = await trials.trigger(flows.ignore_sigterm, folder=tmp_path)
    started = await told(tmp_path, "started")
    await trials.cancel(run)
    try:
        await until(lambda: not is_alive(started["pid"]), 6, "it is dead 2 s after SIGTERM")
    finally:
        _kill([started["pid"]])
    assert (await trials.end(run, 20)).is_cancelled()


async def test_cancel_ends_an_async_run(trials: Trials, tmp_path: Path) -> None:
    run = await trials.trigger(flows.wait_async, folder=tmp_path)
    await told(tmp_path, "started")
    await trials.cancel(run)
    assert (await trials.end(run)).is_cancelled()
    assert (await told(tmp_path, "hook", 5))["state"] == "Cancelling"
    assert not (tmp_path / "ended.json").exists()


async def test_cancel_while_starting_is_a_cancel(trials: Trials, tmp_path: Path) -> None:
    run = await trials.trigger(flows.wait, folder=tmp_path, seconds=5)

    async def is_taken() -> bool:
        return not (await trials.state(run)).is_scheduled()

    await until(is_taken, 20, "a worker has it")
    await trials.cancel(run)
    assert (await trials.end(run, 12)).is_cancelled()
    assert not (tmp_path / "ended.json").exists()


async def test_cancel_before_it_can_be_told_so_is_a_cancel(trials: Trials, tmp_path: Path) -> None:
    run = await trials.trigger(flows.wait, {"env": {"CONNECT_LATE": "1"}}, folder=tmp_path, seconds=5)
    await told(tmp_path, "started")
    await trials.cancel(run)
    assert (await trials.end(run, 12)).is_cancelled()
    states = await trials.client.read_flow_run_states(run.id)
    assert not [state for state in states if state.is_crashed()]
    assert not (tmp_path / "ended.json").exists()


async def test_cancel_ends_everything_the_run_has_started(trials: Trials, tmp_path: Path) -> None:
    run = await trials.trigger(flows.start_everything, folder=tmp_path)
    pids = (await told(tmp_path, "started"))["pids"]
    await trials.cancel(run)
    assert (await trials.end(run)).is_cancelled()
    try:
        await until(lambda: not any(is_alive(pid) for pid in pids), 3, f"none of {pids} lives")
    finally:
        _kill(pids)


async def test_runs_see_nothing_of_each_other(trials: Trials, tmp_path: Path) -> None:
    first = await trials.trigger(
        flows.succeed, {"env": {"ONLY_MINE": "1", "TZ": "Asia/Tokyo"}}, folder=tmp_path, name="a"
    )
    assert (await trials.end(first)).is_completed()
    second = await trials.trigger(flows.succeed, folder=tmp_path, name="b")
    assert (await trials.end(second)).is_completed()
    a, b = await told(tmp_path, "a"), await told(tmp_path, "b")
    assert a["environment"]["ONLY_MINE"] == "1"
    assert "ONLY_MINE" not in b["environment"]
    assert a["environment"]["PREFECT__FLOW_RUN_ID"] == str(first.id)
    for what in ("random", "secret", "uuid", "pid", "cwd"):
        assert a[what] != b[what], what
    await until(lambda: not Path(a["cwd"]).exists(), 3, "its folder is gone")


def _kill(pids: list[int]) -> None:
    for pid in pids:
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)
