"""What the dashboard must know before anybody has signed in. Nothing in here is a secret."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import Field

from api.deps import RuntimeDep
from api.errors import Internal, responses
from api.schemas import Answer

router = APIRouter(prefix="/api/config", tags=["dashboard"])


class PollSeconds(Answer):
    """How often a client that does not follow the streams may ask."""

    job: int = Field(2, description="One job that has not ended")
    jobs: int = Field(5, description="The list of jobs")
    job_types: int = Field(15, description="The job types")
    system: int = Field(15, description="The health of the system")


class Config(Answer):
    sign_in: Literal["clerk", "sandbox"] | None = Field(
        description="Who signs people in; null: neither is set up, and a page must bring tokens itself"
    )
    sign_in_url: str | None = Field(description="Where the sandbox's sign-in is; null where Clerk does it")
    clerk_publishable_key: str | None = Field(description="For Clerk's sign-in; null where none is set")
    clerk_issuer: str = Field(description="Who issues the session tokens")
    prefect_ui_url: str = Field(description="Prefect's UI, for links to runs")
    poll_seconds: PollSeconds = Field(description="How often a client may ask")
    version: str = Field(description="What runs here: commit or tag of the image")


@router.get("", summary="Show the dashboard's settings", responses=responses(Internal))
async def get_config(runtime: RuntimeDep) -> Config:
    """Public settings, for everybody; asks no neighbour."""
    settings = runtime.settings
    return Config(
        sign_in="sandbox" if settings.dashboard_sign_in_url else "clerk" if settings.clerk_publishable_key else None,
        sign_in_url=settings.dashboard_sign_in_url or None,
        clerk_publishable_key=settings.clerk_publishable_key or None,
        clerk_issuer=settings.clerk_issuer,
        prefect_ui_url=settings.ui_url,
        poll_seconds=PollSeconds(),
        version=settings.release,
    )
