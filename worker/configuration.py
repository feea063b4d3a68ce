"""What a work pool of our type lets one set, for the pool, a deployment or a single run.

The variables of Prefect's process worker mean the same here, except `command`, which nothing runs. Those that
prefect.yaml sets for pods are let pass, and do nothing: a run's memory is `memory_mb`, its time the job's own maximum.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect._internal.schemas.validators import validate_working_dir
from prefect.settings import get_current_settings
from prefect.workers.base import BaseJobConfiguration, BaseVariables, BaseWorkerResult
from pydantic import ConfigDict, Field, field_validator

from worker.requests import Limits

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.schemas.objects import Flow, FlowRun, WorkPool
    from prefect.client.schemas.responses import DeploymentResponse


def _lean(schema: dict[str, Any]) -> None:
    """Takes from the pool's form the command that every other worker type has, and what makes it dear to check.

    Prefect checks the form itself, twice, and each default against all of it whenever a run is created: half of what
    that costs. It lets a variable that need not be there be null, also where the form does not say so.
    """
    schema["properties"].pop("command", None)
    for variable in schema["properties"].values():
        kinds = [kind for kind in variable.get("anyOf", ()) if kind != {"type": "null"}]
        if len(kinds) == 1 and "default" in variable:
            del variable["anyOf"]
            variable.update(kinds[0])
            if variable["default"] is None:
                del variable["default"]


class ForkVariables(BaseVariables):
    model_config = ConfigDict(json_schema_extra=_lean)

    stream_output: bool = Field(default=True, description="Copy what runs print to the worker's own output.")
    working_dir: Path | None = Field(
        default=None,
        title="Working Directory",
        description="Folder that runs start in. Without one each run gets a temporary folder of its own.",
    )
    memory_mb: int | None = Field(default=1024, ge=32, description="Memory a run may use, in MB.")
    cpu_seconds: int | None = Field(
        default=3600, ge=1, description="CPU time each process of a run may use, in seconds."
    )
    max_processes: int | None = Field(
        default=128, ge=8, description="Processes and threads a run may have at once, its own included."
    )
    max_open_files: int | None = Field(default=512, ge=32, description="Files each process of a run may have open.")
    grace_seconds: float = Field(
        default=10, ge=0, le=600, description="How long after SIGTERM a cancelled run is killed, in seconds."
    )


class ForkConfiguration(BaseJobConfiguration):
    stream_output: bool = True
    working_dir: Path | None = None
    memory_mb: int | None = None
    cpu_seconds: int | None = None
    max_processes: int | None = None
    max_open_files: int | None = None
    grace_seconds: float = 10

    @field_validator("working_dir")
    @classmethod
    def _existing(cls, value: Path | str | None) -> Path | None:
        return validate_working_dir(value) if isinstance(value, str) else value

    @classmethod
    def json_template(cls) -> dict[str, Any]:
        """The base's, without the command."""
        template = super().json_template()
        template.pop("command", None)
        return template

    @property
    def limits(self) -> Limits:
        return Limits(self.memory_mb, self.cpu_seconds, self.max_processes, self.max_open_files)

    def prepare_for_flow_run(  # noqa: PLR0917  # the base's signature
        self,
        flow_run: FlowRun,
        deployment: DeploymentResponse | None = None,
        flow: Flow | None = None,
        work_pool: WorkPool | None = None,
        worker_name: str | None = None,
        worker_id: UUID | None = None,
    ) -> None:
        """Completes the environment: the worker's own, Prefect's settings, the run's; the later wins."""
        super().prepare_for_flow_run(flow_run, deployment, flow, work_pool, worker_name, worker_id)
        self.env["PREFECT__ENABLE_CANCELLATION_AND_CRASHED_HOOKS"] = "false"

    @classmethod
    def _base_environment(cls) -> dict[str, str]:
        return base_environment()


class ForkResult(BaseWorkerResult):
    """How the process of a run ended."""


@cache
def base_environment() -> dict[str, str]:
    """What every run has at least: the worker's environment at its start, with Prefect's settings spelled out.

    Read once, because Prefect takes 30 ms to spell them out.
    """
    mine = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT__")}
    return mine | get_current_settings().to_environment_variables(exclude_unset=True)
