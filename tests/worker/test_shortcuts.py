"""Prefect still has what the shortcuts reach for: a version that moves it makes runs slower, and this says why."""

from __future__ import annotations

import inspect

from prefect import flow_engine
from prefect._internal import version_checking
from prefect.client import orchestration

from flows.clients import tls
from worker import shortcuts


def test_prefect_opens_its_clients_with_a_context_of_the_ssl_module() -> None:
    assert "ssl.create_default_context(" in inspect.getsource(orchestration.SyncPrefectClient.__init__)
    assert "ssl.create_default_context(" in inspect.getsource(orchestration.PrefectClient.__init__)


def test_prefect_remembers_the_version_check_by_address_and_version() -> None:
    key = version_checking._api_version_check_key("http://localhost/api/", "3.8.8")
    version_checking._cache_api_version_check(key)
    assert version_checking._is_api_version_check_cached(key)


def test_the_engine_observes_suspensions_by_the_name_that_is_replaced() -> None:
    source = inspect.getsource(flow_engine.BaseFlowRunEngine.setup_flow_run_suspension_request)
    assert "observe_flow_run_suspension(" in source
    assert "observe_flow_run_suspension" in vars(flow_engine)


def test_the_engine_sends_heartbeats_by_the_name_that_is_replaced() -> None:
    for engine in (flow_engine.FlowRunEngine, flow_engine.AsyncFlowRunEngine):
        assert "_send_heartbeats(" in inspect.getsource(engine.run_context)


def test_the_certificates_of_the_flows_clients_are_read_before_the_fork() -> None:
    tls.trusted.cache_clear()
    shortcuts._certificates_of_flows()
    assert tls.trusted.cache_info().currsize == 1
