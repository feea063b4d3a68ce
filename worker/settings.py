"""Settings of the worker process, from the environment: each is WORKER_ and its name in capitals."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="WORKER_", extra="ignore", frozen=True)

    wake_socket: Path | None = Field(None, description="Datagram socket at which the worker is told that a run is due")
    drain_seconds: float = Field(25, ge=0, description="How long runs may go on after SIGTERM before they are stopped")
    forks: int = Field(500, ge=1, description="Runs a fork server starts before it is replaced")
    run_as: str | None = Field(None, description="User that runs become, where the worker is root")
    health_port: int | None = Field(None, ge=0, le=65535, description="Port that answers probes; 0 takes a free one")
    health_file: Path | None = Field(None, description="File that is touched at every poll, and removed at the end")
    preload: str = Field(
        "", description="Modules, with commas between, to import before the first run beside those of the deployments"
    )
