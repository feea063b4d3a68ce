"""Prefect, in our words: the only part of the shim that speaks to it.

One client a process. Every call is bounded to a few seconds; errors come out as `flows.core.errors`, with
`service="prefect"` where Prefect cannot answer now.
"""

from __future__ import annotations

from api.orchestrator.connection import PAGE
from api.orchestrator.deployments import DeployedSchedule, DeployedSchedules, Deployment
from api.orchestrator.logs import LogLine, Logs, RunLogLine
from api.orchestrator.runs import Runs, RunState
from api.orchestrator.workers import PodSign, Workers, WorkerSign

__all__ = [
    "PAGE",
    "DeployedSchedule",
    "DeployedSchedules",
    "Deployment",
    "LogLine",
    "Orchestrator",
    "PodSign",
    "RunLogLine",
    "RunState",
    "WorkerSign",
]


class Orchestrator(Runs, Logs, Workers):
    """Prefect's API. Use it inside `opened()`; opening does not call Prefect, which may be down."""
