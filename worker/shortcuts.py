"""What a run need not do again because the worker, or the fork server, has done it: each with what it saves.

They reach into Prefect 3.8.8. tests/worker/test_shortcuts.py tells when a new version has moved what they reach for;
then a run is slower, never wrong.
"""

from __future__ import annotations

import ssl
import sys
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import copy_context
from functools import cache
from typing import Any

import prefect
from prefect import flow_engine
from prefect._internal.version_checking import _api_version_check_key, _cache_api_version_check
from prefect.client import orchestration
from prefect.settings import get_current_settings

# A suspension asked for in the first seconds of a run is noticed when they are over.
_COMPANIONS_AFTER_SECONDS = 2.0


def take_before_fork() -> None:
    """In the fork server: what all runs can share."""
    _one_tls_context()
    _certificates_of_flows()


def take_in_run() -> None:
    """In a run, before the engine starts."""
    _no_version_check()
    _late_suspension_observer()
    _late_heartbeat()


def _one_tls_context() -> None:
    """Saves 22-40 ms for each of the four API clients of a run: the certificates are read once, before the fork.

    The contexts of one process are alike, so that its clients can share one; other users of `ssl` are not touched.
    """
    shared = types.SimpleNamespace(
        SSLContext=ssl.SSLContext, CERT_NONE=ssl.CERT_NONE, create_default_context=cache(ssl.create_default_context)
    )
    vars(orchestration)["ssl"] = shared
    if get_current_settings().api.url:
        orchestration.get_client(sync_client=True)


def _certificates_of_flows() -> None:
    """Saves 20 ms for each of the three clients that a job makes: its own certificates are read before the fork.

    Looked up, not imported: it is the flows', and a run under another environment forgets and imports it anew.
    """
    if (tls := sys.modules.get("flows.clients.tls")) is not None:
        tls.trusted()


def _no_version_check() -> None:
    """Saves two requests, 15-24 ms each: the worker has compared this server's version with this client's."""
    url = get_current_settings().api.url
    if url:
        # The client's own spelling of the address ends in a slash.
        key = _api_version_check_key(f"{url.rstrip('/')}/", prefect.__version__)
        _cache_api_version_check(key)


def _late_suspension_observer() -> None:
    """Saves 160 ms at the start of a run and up to 1 s at its end.

    Prefect waits for a websocket that would tell of a suspension before it begins a run.
    """
    vars(flow_engine)["observe_flow_run_suspension"] = _later(vars(flow_engine)["observe_flow_run_suspension"])


def _late_heartbeat() -> None:
    """Saves a websocket, four requests for what an event relates to, and up to 1 s at the end of a sync flow.

    Prefect's heartbeats come every three minutes, the first at once; nothing of ours listens to them.
    """
    vars(flow_engine)["_send_heartbeats"] = _later(vars(flow_engine)["_send_heartbeats"])


def _later(companion: Callable[..., AbstractContextManager[None]]) -> Callable[..., AbstractContextManager[None]]:
    """The same companion of a run from its third second on: most runs have ended by then."""

    @contextmanager
    def later(*arguments: Any, **options: Any) -> Iterator[None]:
        over = threading.Event()

        def accompany() -> None:
            if not over.wait(_COMPANIONS_AFTER_SECONDS):
                with companion(*arguments, **options):
                    over.wait()

        thread = threading.Thread(target=copy_context().run, args=(accompany,), name="companion", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()

    return later
