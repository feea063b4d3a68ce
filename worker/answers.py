"""Questions that a run's engine puts to Prefect before the first line, answered from what is known here already.

Each is a request of 10 to 30 ms, one after the other. Like `worker.shortcuts` this reaches into Prefect 3.8.8, and
tests/worker/test_answers.py tells when a new version has moved what it reaches for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prefect import results
from prefect.client.orchestration import PrefectClient, SyncPrefectClient
from prefect.client.schemas.objects import FlowRun

_OF_THE_ENGINE = {"flow_run_id", "flow_version", "empirical_policy"}


def take_in_run(flow_run: FlowRun, *, no_default_storage: bool, reports_version: bool) -> None:
    """In a run, before the engine starts with this object."""
    if no_default_storage:
        _no_default_storage()
    if not reports_version:
        _first(flow_run, "update_flow_run", _is_the_version, None)
    _first(flow_run, "read_flow_run", lambda **_: _runs_first(flow_run), lambda: _as_it_is_now(flow_run))


def _no_default_storage() -> None:
    """The worker has asked whether there is one, half a minute ago at most."""

    async def ask_nobody() -> None:
        return None

    vars(results)["_aread_server_default_result_storage_block_id"] = ask_nobody
    vars(results)["_read_server_default_result_storage_block_id"] = lambda: None


def _is_the_version(**options: Any) -> bool:
    """Whether this is the engine's note of the flow's version, with no retries that Prefect has to know of."""
    if options.keys() != _OF_THE_ENGINE:
        return False
    policy = options["empirical_policy"]
    return not (policy.retries or policy.retry_delay)


def _runs_first(flow_run: FlowRun) -> bool:
    """Whether it is running, for the first time: what Prefect makes of a second one only Prefect knows."""
    return flow_run.run_count == 0 and flow_run.state is not None and flow_run.state.is_running()


def _as_it_is_now(flow_run: FlowRun) -> FlowRun:
    """The run with what Prefect has noted of it when it accepted that it is running."""
    assert flow_run.state is not None  # noqa: S101  # it is running
    noted = {"run_count": 1, "start_time": flow_run.state.timestamp, "state_id": flow_run.state.id}
    return flow_run.model_copy(update={**noted, "next_scheduled_start_time": None})


def _first(flow_run: FlowRun, name: str, applies: Callable[..., bool], answer: Callable[[], Any] | None) -> None:
    """Answers the clients' first call of this name that is of the run, and is not asked again after it."""
    is_over = False

    def takes(given: tuple[Any, ...], options: dict[str, Any]) -> bool:
        nonlocal is_over
        asked = {**dict(zip(("flow_run_id",), given, strict=False)), **options}
        if is_over or asked.get("flow_run_id") != flow_run.id:
            return False
        is_over = applies(**asked)
        return is_over

    plain, plain_sync = getattr(PrefectClient, name), getattr(SyncPrefectClient, name)

    async def ask(client: PrefectClient, *given: Any, **options: Any) -> Any:
        return (answer and answer()) if takes(given, options) else await plain(client, *given, **options)

    def ask_sync(client: SyncPrefectClient, *given: Any, **options: Any) -> Any:
        return (answer and answer()) if takes(given, options) else plain_sync(client, *given, **options)

    setattr(PrefectClient, name, ask)
    setattr(SyncPrefectClient, name, ask_sync)
