"""Prefect still has what a pod's process reaches for: without it, a run that is told to end would be Crashed."""

from __future__ import annotations

import inspect
from typing import get_args

from prefect import flow_engine
from prefect._internal import control_listener
from prefect._internal.attempt_control import Intent
from prefect.utilities import engine


def test_the_engine_installs_its_sigterm_handler_by_the_name_that_is_replaced() -> None:
    assert "signal.SIGTERM, _prefect_sigterm_handler" in inspect.getsource(engine.capture_sigterm)
    assert "_prefect_sigterm_handler" in vars(engine)


def test_the_engine_proposes_no_state_for_a_run_that_is_scheduled_again() -> None:
    assert "reschedule" in get_args(Intent)
    assert "reschedule" in flow_engine._SUPERVISOR_OWNED_INTENTS
    try:
        control_listener._set_intent("reschedule")
        assert flow_engine._termination_intent() == "reschedule"
    finally:
        control_listener.clear_intent()
