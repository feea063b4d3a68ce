"""prefect.yaml as typed values: one `Stanza` a deployment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

PREFECT_YAML = Path(__file__).resolve().parent.parent / "prefect.yaml"


class InvalidDeploymentsError(Exception):
    """prefect.yaml, or what it points at, is wrong; the message has one line for each mistake."""


class Schedule(BaseModel):
    model_config = ConfigDict(extra="forbid")

    cron: str
    timezone: str = "UTC"
    slug: str | None = None
    active: bool = True


class WorkPool(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    work_queue_name: str
    job_variables: dict[str, Any] = Field(default_factory=dict)


class Stanza(BaseModel):
    """One entry of `deployments:`. A key that is not listed here is a spelling mistake to us, not to Prefect."""

    model_config = ConfigDict(extra="forbid")

    name: str
    entrypoint: str
    description: str | None = None
    tags: list[str] = Field(default_factory=list)
    parameters: dict[str, Any] = Field(default_factory=dict)
    work_pool: WorkPool
    schedules: list[Schedule] = Field(default_factory=list)


def load(path: Path = PREFECT_YAML) -> dict[str, Any]:
    """The file as plain values, anchors resolved. Raises InvalidDeploymentsError with line and column."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise InvalidDeploymentsError(f"{path.name} cannot be read: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("deployments"), list):
        raise InvalidDeploymentsError(f"{path.name} has no list `deployments:`")
    return content


def parse(content: dict[str, Any]) -> list[Stanza]:
    """The file's stanzas. Raises InvalidDeploymentsError with every field that is wrong."""
    stanzas, mistakes = [], []
    for position, entry in enumerate(content["deployments"]):
        try:
            stanzas.append(Stanza.model_validate(entry))
        except ValidationError as error:
            name = entry.get("name", f"number {position + 1}") if isinstance(entry, dict) else f"number {position + 1}"
            mistakes += [f"{name}: {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
    if mistakes:
        raise InvalidDeploymentsError("\n".join(mistakes))
    return stanzas
