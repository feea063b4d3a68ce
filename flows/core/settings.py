"""Settings of every process that runs jobs, from the environment.

The shim adds its own in `api.settings`. Names are the environment's, in capitals.
"""

from __future__ import annotations

from functools import lru_cache

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    model_config = SettingsConfigDict(extra="ignore", frozen=True)

    supabase_url: str = Field(description="Base URL of the Supabase project, without /rest/v1")
    supabase_service_key: SecretStr = Field(min_length=20, description="Key of the service role")
    crawler_service_url: str = "http://crawler-service:7004"
    email_service_url: str = "http://email-service:7006"
    user_service_url: str = "http://user-service:7003"
    discovery_service_url: str = "http://discovery-service:7001"
    service_token: SecretStr | None = Field(None, description="Sent to neighbours as X-Service-Token where set")
    max_run_seconds: int | None = Field(
        None, ge=1, description="Longest run, where a deployment's job variables set another than its type's"
    )
    work_pool: str = Field("stumbleable", description="Prefect work pool that runs the jobs")
    worker_wake_socket: str | None = Field(None, description="Where a worker on this machine hears of new runs")
    crawler_timeout_seconds: float = Field(60.0, ge=0.1, le=60, description="How long a batch's answer is waited for")
    crawl_settle_seconds: int = Field(
        120, ge=0, le=600, description="How long after a lost answer a row may still be settled by the crawler"
    )
    email_timeout_seconds: float = Field(30.0, ge=0.1, le=60, description="How long one mail's answer is waited for")
    email_send_concurrency: int = Field(200, ge=1, le=1000, description="Mails a run has under way at most")
    email_honours_idempotency: bool = Field(
        default=False, description="Whether the mail service queues one mail for a repeated Idempotency-Key"
    )
    email_queue_readable: bool = Field(
        default=True, description="Whether email_queue tells what became of a mail whose answer was lost"
    )
    weekly_digest_email_type: str = "weekly-trending"
    weekly_digest_preference: str = Field(
        "weekly_trending", description="Column of email_preferences that must be true to get the digest"
    )
    submission_received_email_type: str = "submission-received"
    submission_approved_email_type: str = "submission-approved"
    submission_rejected_email_type: str = "submission-rejected"
    moderation_email_type: str = "moderation-update"


@lru_cache
def settings() -> Settings:
    """The process's settings, read once. Raises pydantic's ValidationError naming what is missing."""
    return Settings()
