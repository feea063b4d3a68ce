"""A fork of the fork server becomes a run: a clean process first, then what `python -m prefect.engine` does.

Nothing of the fork server may show: no descriptor, signal handler, environment variable, random state or module that
was imported under another environment. What ends it, and with which exit code, is what would end an engine of its own.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import os
import signal
import sys
import traceback
import types
from typing import Any, NoReturn
from uuid import UUID

from prefect import engine
from prefect._internal.control_listener import configure_from_env
from prefect.client.schemas.objects import FlowRun, State
from prefect.flows import load_flow_from_flow_run
from prefect.runner._hook_runner import HookRunner

from worker import answers, clean, shortcuts
from worker.engine import code_of, finish
from worker.engine import run as run_in_engine
from worker.requests import ForkRequest


def become_run(descriptors: list[int], ours: list[str]) -> NoReturn:
    """Runs the request in the first descriptor; the others are stdout, stderr and what it waits for to begin."""
    code = 1
    try:
        request = _prepare(descriptors, ours)
        _work(request)
        code = 0
    except SystemExit as end:
        code = code_of(end)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        finish()
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:  # noqa: BLE001  # what the interpreter would do with it
        traceback.print_exc()
    finish()
    os._exit(code)


def _prepare(descriptors: list[int], ours: list[str]) -> ForkRequest:
    payload, stdout, stderr, permission = descriptors
    request = ForkRequest.from_memory_file(payload)
    clean.own_session()
    if not os.read(permission, 1):
        # The worker has ended, or has given the run back, before it knew of this process.
        os._exit(0)
    clean.descriptors(stdout, stderr)
    clean.signals()
    # Into the groups while still root, and before there is anything to count.
    clean.enter_groups(request.cgroups)
    clean.limits(request.limits)
    os.chdir(request.working_dir)
    sys.path.insert(0, request.working_dir)
    if request.user is not None:
        clean.become_user(request.user, request.working_dir, request.environment)
    clean.environment(request.environment, forget=ours)
    clean.random_state()
    gc.enable()
    faulthandler.enable(all_threads=False)
    # What a flow's own subprocesses (multiprocessing's spawn) would import again as their main module.
    sys.modules["__main__"] = types.ModuleType("__main__")
    return request


def _work(request: ForkRequest) -> None:
    if request.kind == "run":
        _engine(request)
    else:
        asyncio.run(_hooks(request))


def _engine(request: ForkRequest) -> None:
    """The body of prefect/engine.py (3.8.8), with the flow run already read by the worker."""
    sys.argv = [engine.__file__]
    shortcuts.take_in_run()
    # The runner's token must not reach a subprocess of the flow.
    configure_from_env()
    with engine.handle_engine_signals(UUID(request.flow_run["id"])):
        flow_run = FlowRun.model_validate(request.flow_run)
        answers.take_in_run(
            flow_run, no_default_storage=request.no_default_storage, reports_version=request.reports_version
        )
        run_in_engine(flow_run, request.entrypoint)


async def _hooks(request: ForkRequest) -> None:
    """The hooks of a run whose process is gone. A hook's failure is logged and is not ours."""
    flow_run = FlowRun.model_validate(request.flow_run)
    state = State[Any].model_validate(request.state)
    runner = HookRunner(resolve_flow=load_flow_from_flow_run)
    if request.kind == "crashed hooks":
        await runner.run_crashed_hooks(flow_run, state)
    else:
        await runner.run_cancellation_hooks(flow_run, state)
