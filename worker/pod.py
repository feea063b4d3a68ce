"""A flow run as the one process of its pod: `python -m worker.pod`, with the run's id in PREFECT__FLOW_RUN_ID.

It does what `prefect flow-run execute` does there, in one process instead of three: that command imports Prefect for
itself, for a supervisor and for the run. SIGTERM, which a node that is drained or short of memory sends, means as much
as there: the run is scheduled again, so that Prefect's worker begins it in another pod.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from types import FrameType
from typing import NoReturn
from uuid import UUID

_VARIABLE = "PREFECT__FLOW_RUN_ID"


class Termination:
    """Whether SIGTERM has come.

    The kernel spares the first process of a container every signal that it has no handler for, and importing Prefect
    takes a second: until then SIGTERM is noted.
    """

    def __init__(self) -> None:
        self.asked = False
        signal.signal(signal.SIGTERM, self._note)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True


def main() -> NoReturn:
    """Exits as Prefect's engine does; with 143 where SIGTERM came and Prefect could not be told of it."""
    termination = Termination()
    try:
        flow_run_id = UUID(os.environ[_VARIABLE])
    except (KeyError, ValueError):
        sys.exit(f"{_VARIABLE} must be the id of a flow run.")
    # All that is imported stays: to look for garbage in it costs a tenth of the time.
    gc.disable()
    from worker import pod_engine  # noqa: PLC0415

    gc.freeze()
    gc.enable()
    pod_engine.leave(flow_run_id, termination)


if __name__ == "__main__":
    main()
