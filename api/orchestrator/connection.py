"""The client, and what every call of Prefect is bounded by and translated to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Self
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.context import SettingsContext, get_settings_context
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES

from flows.core.errors import Conflict, NotFound, Refused, SchedulerError, Unavailable
from flows.core.redaction import redact

TIMEOUT_SECONDS = 5.0
BRIEF_SECONDS = 2.0  # for questions that somebody waits for
PAGE = 200  # what Prefect's filters answer at most
_SERVICE = "prefect"


class Connection:
    """Prefect's API. Use it inside `opened()`; opening does not call Prefect, which may be down."""

    def __init__(
        self, api_url: str, auth_string: str | None, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        settings: dict[str, Any] = {"timeout": TIMEOUT_SECONDS, "follow_redirects": False}
        if transport is not None:
            settings["transport"] = transport
        self.api_url = api_url
        self.down_since: datetime | None = None
        """When Prefect was first asked in vain since it last answered; None while it answers."""
        self.client = PrefectClient(api_url, auth_string=auth_string, httpx_settings=settings)
        # Prefect's client would repeat a call for minutes while Prefect is down; our sweep repeats it anyway.
        current = get_settings_context()
        self._profile = current.profile
        self._settings = current.settings.copy_with_update(updates={PREFECT_CLIENT_MAX_RETRIES: 0})
        self.deployment_ids: dict[str, UUID] = {}
        self.job_types: dict[UUID, str] = {}
        self.pools: dict[str, str] = {}
        """The work pool of each job type, as it is deployed."""
        self.pool_types: dict[str, str] = {}
        """The type of each of these pools, once Prefect has told it."""

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Self]:
        async with self.client:
            yield self

    @asynccontextmanager
    async def asking(self, purpose: str, seconds: float = TIMEOUT_SECONDS) -> AsyncIterator[None]:
        """Bounds a call of Prefect, gives its errors our names and notes whether it answers."""
        try:
            async with self._translated(purpose, seconds):
                yield
        except Unavailable:
            self.down_since = self.down_since or datetime.now(UTC)
            raise
        except SchedulerError:
            self.down_since = None
            raise
        self.down_since = None

    @asynccontextmanager
    async def _translated(self, purpose: str, seconds: float) -> AsyncIterator[None]:
        """Errors come out as ours. What Prefect says of a refusal is redacted."""
        try:
            with SettingsContext(profile=self._profile, settings=self._settings):
                async with asyncio.timeout(seconds):
                    yield
        except ObjectNotFound as error:
            raise NotFound(f"Prefect does not know what was asked for (to {purpose})") from error
        except httpx.HTTPStatusError as error:
            raise _refusal(purpose, error.response) from error
        except (httpx.HTTPError, TimeoutError) as error:
            raise Unavailable(f"Prefect cannot be reached (to {purpose}: {type(error).__name__})", _SERVICE) from error
        except ValueError as error:
            # Not JSON, or not of Prefect's shape: something else answers at its address.
            raise Unavailable(f"Prefect answered something that is not its own (to {purpose})", _SERVICE) from error

    async def check(self) -> None:
        """Returns when Prefect answers an authorized question; raises what is wrong otherwise."""
        async with self.asking("answer"):
            await self.client.read_deployments(limit=1)


def _refusal(purpose: str, response: httpx.Response) -> SchedulerError:
    status = response.status_code
    if status == httpx.codes.NOT_FOUND:
        return NotFound(f"Prefect does not know what was asked for (to {purpose})")
    if status in (httpx.codes.CONFLICT, httpx.codes.UNPROCESSABLE_ENTITY, httpx.codes.BAD_REQUEST):
        kind = Conflict if status == httpx.codes.CONFLICT else Refused
        return kind(f"Prefect refused to {purpose} ({status}): {redact(_detail(response), limit=300)}")
    return Unavailable(f"Prefect answered {status} (to {purpose})", _SERVICE)


def _detail(response: httpx.Response) -> str:
    try:
        body = response.json()
    except ValueError:
        return "no reason given"
    return str(body.get("detail") or body.get("exception_detail") or body) if isinstance(body, dict) else str(body)
