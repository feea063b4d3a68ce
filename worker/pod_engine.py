"""The run of a pod, from the moment Prefect is imported: the engine, and what SIGTERM makes of the run.

It reaches into Prefect 3.8.8; tests/worker/test_pod.py tells when a new version has moved what it reaches for.
"""

from __future__ import annotations

import os
import signal
import time
import traceback
from types import FrameType
from typing import NoReturn
from uuid import UUID

import httpx
from prefect import engine
from prefect._internal import control_listener
from prefect.client.orchestration import get_client
from prefect.exceptions import Abort, PrefectException, TerminationSignal
from prefect.flow_engine import load_flow_run
from prefect.logging.loggers import get_logger
from prefect.states import AwaitingRetry
from prefect.utilities import engine as engine_utilities
from prefect.utilities.engine import propose_state_sync

from flows.core import heartbeat
from worker import shortcuts
from worker.engine import code_of, finish, run
from worker.pod import Termination

# With the 8 s in which a job gives its lease up, this ends well within a pod's grace of 30 s.
_PATIENCE_SECONDS = 10.0
# What a shell says of a process that SIGTERM ended: the Job has failed then, and Prefect's worker looks into it.
_TERMINATED = 128 + signal.SIGTERM

logger = get_logger("worker.pod")


def leave(flow_run_id: UUID, termination: Termination) -> NoReturn:
    """Executes the run and ends the process."""
    code = 1
    try:
        code = 0 if _execute(flow_run_id, termination) else _TERMINATED
    except SystemExit as end:
        code = code_of(end)
    except BaseException:  # noqa: BLE001  # what the interpreter would do with it
        traceback.print_exc()
    # What is left is to send logs and events, which ends by itself.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    finish()
    os._exit(code)


def _execute(flow_run_id: UUID, termination: Termination) -> bool:
    """Runs it to its end or until SIGTERM. False where SIGTERM came and Prefect could not be told."""
    shortcuts.take_before_fork()
    shortcuts.take_in_run()
    try:
        _raise_on_sigterm(termination)
        with engine.handle_engine_signals(flow_run_id):
            run(load_flow_run(flow_run_id))
    except (SystemExit, TerminationSignal):
        if not termination.asked:
            raise
    return not termination.asked or _schedule_again(flow_run_id)


def _raise_on_sigterm(termination: Termination) -> None:
    """From here on SIGTERM ends whatever is being done; raises TerminationSignal where it has come already.

    Prefect's engine puts a handler of its own in place while a flow runs, by the name that is replaced here. It makes
    the run Crashed, unless a supervisor has let it know its intent: this one is the run's own supervisor.
    """

    def end(number: int, _frame: FrameType | None) -> None:
        if heartbeat.is_ending_its_process():
            # A job that was cancelled, or is over its time: Prefect's engine says Crashed, and the row says the rest.
            raise TerminationSignal(number)
        if not termination.asked:
            termination.asked = True
            control_listener._set_intent("reschedule")  # noqa: SLF001
            raise TerminationSignal(number)

    vars(engine_utilities)["_prefect_sigterm_handler"] = end
    signal.signal(signal.SIGTERM, end)
    if termination.asked:
        raise TerminationSignal(signal.SIGTERM)


def _schedule_again(flow_run_id: UUID) -> bool:
    """Whether Prefect knows what becomes of the run: it has ended, is being cancelled, or is to begin again."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return _propose_retry(flow_run_id)
        except Abort as refusal:
            logger.warning("Flow run '%s' is not scheduled again: %s", flow_run_id, refusal)
            return False
        except (httpx.HTTPError, PrefectException) as error:
            logger.warning("Flow run '%s' could not be scheduled again: %s", flow_run_id, type(error).__name__)
            if time.monotonic() > deadline:
                return False
        time.sleep(1)


def _propose_retry(flow_run_id: UUID) -> bool:
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(flow_run_id).state
        if state is not None and (state.is_final() or state.is_cancelling()):
            logger.info("Flow run '%s' is %s: it is not scheduled again", flow_run_id, state.name)
            return True
        proposed = propose_state_sync(client, AwaitingRetry(), flow_run_id)
    logger.info("Flow run '%s' was told to end and is %s", flow_run_id, proposed.name)
    return proposed.is_scheduled()
