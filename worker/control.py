"""Prefect's channel from the worker to its runs, over which a run hears why it is about to be stopped."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from prefect.runner._control_channel import ControlChannel

# A run that has its hands full answers later than Prefect's 1 s.
_ANSWER_SECONDS = 3.0


class Control(ControlChannel):
    """Knows of a run whether it can be told, and gives it longer to answer."""

    def __init__(self) -> None:
        super().__init__(ack_timeout=_ANSWER_SECONDS)

    @property
    def is_open(self) -> bool:
        """False where it has found no port."""
        return self._server is not None

    def is_unheard(self, flow_run_id: UUID) -> bool:
        """Whether the run was given the way to this channel and has not come yet.

        Its body has not begun, for it comes before that, or has this very moment. It may listen for SIGTERM already,
        and would report as a crash what it was not told to be a cancel.
        """
        registration: Any = self._registrations.get(flow_run_id)
        return registration is not None and not (registration.connected.is_set() or registration.disconnected.is_set())
