"""prefect.yaml as typed values: one `Stanza` a deployment. Read by `deployments`, and by the shim for the schedules."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeAlias

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

PREFECT_YAML = Path(__file__).resolve().parents[2] / "prefect.yaml"


# Of the schedule that each deployment has: what tells it from those that somebody adds in Prefect.
SLUG = "default"

Lasting: TypeAlias = Literal["mails", "deletes"]


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

    @property
    def category(self) -> str | None:
        """What kind of work it is, for people: the tag beside its name."""
        return next((tag for tag in self.tags if tag != self.name), None)

    @property
    def lasting(self) -> Lasting | None:
        """What it does that nobody can take back, by the tags `mail` and `deletes`: who runs it is asked twice."""
        if "deletes" in self.tags:
            return "deletes"
        return "mails" if "mail" in self.tags else None


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
    found, mistakes = [], []
    for position, entry in enumerate(content["deployments"]):
        try:
            found.append(Stanza.model_validate(entry))
        except ValidationError as error:
            name = entry.get("name", f"number {position + 1}") if isinstance(entry, dict) else f"number {position + 1}"
            mistakes += [f"{name}: {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
    if mistakes:
        raise InvalidDeploymentsError("\n".join(mistakes))
    return found


def stanzas(path: Path = PREFECT_YAML) -> list[Stanza]:
    """The stanzas of the file. Raises InvalidDeploymentsError."""
    return parse(load(path))
