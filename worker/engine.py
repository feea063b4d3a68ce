"""What `python -m prefect.engine` (3.8.8) does once it has read its flow run, and how such a process ends."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any, cast

from prefect import engine
from prefect._internal.metrics import RunMetrics
from prefect.client.schemas.objects import FlowRun
from prefect.flow_engine import load_flow, run_flow
from prefect.logging.loggers import flow_run_logger

if TYPE_CHECKING:
    import logging


def run(flow_run: FlowRun, entrypoint: str | None = None) -> None:
    """Loads the flow and runs it to its end, on a loop of this thread. `entrypoint` goes before the deployment's."""
    logger = flow_run_logger(flow_run=flow_run)
    if entrypoint is not None:
        os.environ["PREFECT__FLOW_ENTRYPOINT"] = entrypoint
    try:
        flow = load_flow(flow_run)
    except Exception:
        logger.exception("Unexpected exception encountered when trying to load flow")
        raise
    finally:
        os.environ.pop("PREFECT__FLOW_ENTRYPOINT", None)
    with RunMetrics(flow_run, flow):
        result: Any = run_flow(flow, flow_run=flow_run, error_logger=cast("logging.Logger", logger))
        engine._drive_run_flow_result(flow, result)  # noqa: SLF001  # the engine's own main does no more


def code_of(end: SystemExit) -> int:
    """The exit code of a process that ends so."""
    if end.code is None or isinstance(end.code, int):
        return (end.code or 0) & 0xFF
    sys.stderr.write(f"{end.code}\n")
    return 1


def finish() -> None:
    """What the interpreter does at its end and a run needs: threads joined, logs and events sent, stdio flushed.

    Whoever calls this leaves with `os._exit`. Taking the interpreter apart is left out: it takes time, and in a fork it
    would copy every page that is shared with the fork server.
    """
    try:
        threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001
        atexit._run_exitfuncs()  # noqa: SLF001
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except BaseException:  # noqa: BLE001  # the exit code is decided already
        traceback.print_exc()
