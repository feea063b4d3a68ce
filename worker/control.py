"""Prefect's channel from the worker to its runs, over which a run hears why it is about to be stopped."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

from prefect._internal.attempt_control import AttemptConclusion
from prefect.runner._control_channel import ControlChannel

# A run that has its hands full answers later than Prefect's 1 s.
_ANSWER_SECONDS = 2.0
# From its registration on: by then it has come, or its way here is broken and it works unheard.
_ARRIVAL_SECONDS = 60.0


class Control(ControlChannel):
    """Knows of a run whether it can be told, and gives it longer to answer."""

    def __init__(self) -> None:
        super().__init__(ack_timeout=_ANSWER_SECONDS)
        self._registered: dict[UUID, float] = {}

    @property
    def is_open(self) -> bool:
        """False where it has found no port."""
        return self._server is not None

    def register(self, flow_run_id: UUID) -> tuple[int, str]:
        self._registered[flow_run_id] = time.monotonic()
        return super().register(flow_run_id)

    def unregister(self, flow_run_id: UUID) -> AttemptConclusion | None:
        self._registered.pop(flow_run_id, None)
        return super().unregister(flow_run_id)

    def is_unheard(self, flow_run_id: UUID) -> bool:
        """Whether the run was given the way to this channel a moment ago and has not come yet.

        Its body has not begun, for it comes before that, or has this very moment. It may listen for SIGTERM already,
        and would report as a crash what it was not told to be a cancel.
        """
        registration: Any = self._registrations.get(flow_run_id)
        if registration is None or registration.connected.is_set() or registration.disconnected.is_set():
            return False
        return time.monotonic() - self._registered[flow_run_id] < _ARRIVAL_SECONDS
