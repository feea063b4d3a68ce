"""Which internal user a Clerk user is: `started_by` holds the internal id where one can be found."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from typing import Any
from urllib.parse import quote
from uuid import UUID

from api.auth import Actor
from api.caching import Cached
from api.neighbours import Neighbours
from flows.clients import database
from flows.core.errors import RateLimited, SchedulerError

FOUND_SECONDS = 3600.0
NOT_FOUND_SECONDS = 60.0
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)

logger = logging.getLogger(__name__)


def parse_uuid(text: Any) -> UUID | None:
    """The UUID that the text is in its usual form, None for everything else."""
    return UUID(text) if isinstance(text, str) and _UUID.fullmatch(text) else None


class Users:
    def __init__(
        self, neighbours: Neighbours, service_url: str, timeout_seconds: float, service_token: str | None
    ) -> None:
        self._neighbours = neighbours
        self._service_url = service_url.rstrip("/")
        self._timeout_seconds = timeout_seconds
        self._headers = {"X-Service-Token": service_token} if service_token else {}
        self._quiet_until = 0.0
        self._cached: Cached[UUID | None] = Cached(lambda found: FOUND_SECONDS if found else NOT_FOUND_SECONDS)

    async def started_by(self, actor: Actor) -> str:
        """What `started_by` holds for the actor: the internal id, or the Clerk id where none can be found.

        Takes no longer than the user service's time-out, and asks nobody once it knows, or about a script.
        """
        if actor.is_machine:
            return actor.clerk_user_id
        found = await self._cached.get(actor.clerk_user_id, lambda: self._resolve(actor))
        return str(found) if found else actor.clerk_user_id

    async def aliases(self, who: str) -> list[str]:
        """Every text that `started_by` may hold for somebody given by Clerk id or internal id."""
        internal = parse_uuid(who)
        given, other = ("id", "clerk_user_id") if internal else ("clerk_user_id", "id")
        known = str(internal) if internal else who
        found = await _look_up(given, known, other)
        return [known, found] if found else [known]

    async def _resolve(self, actor: Actor) -> UUID | None:
        sources = [
            asyncio.create_task(self._from_service(actor)),
            asyncio.create_task(self._from_database(actor.clerk_user_id)),
        ]
        await asyncio.wait(sources, timeout=self._timeout_seconds)
        found = [source.result() for source in sources if source.done()]
        for source in sources:
            source.cancel()
        internal = next((one for one in found if one), None)
        if internal is None:
            logger.warning(
                "No internal id was found for the user, the Clerk id is stored", extra={"actor": actor.clerk_user_id}
            )
        return internal

    async def _from_service(self, actor: Actor) -> UUID | None:
        # Each request that it gets while it limits restarts its full minute.
        if time.monotonic() < self._quiet_until:
            return None
        url = f"{self._service_url}/api/users/{quote(actor.clerk_user_id, safe='')}"
        try:
            answer = await self._neighbours.get_json(
                "user service", url, bearer=actor.token, timeout_seconds=self._timeout_seconds, headers=self._headers
            )
        except RateLimited as error:
            self._quiet_until = time.monotonic() + error.retry_after_seconds
            return None
        except SchedulerError as error:
            logger.info("The user service did not tell an internal id: %s", error)
            return None
        user = answer.get("user") if isinstance(answer, dict) else None
        inner = user.get("id") if isinstance(user, dict) else None
        return parse_uuid(answer.get("id")) or parse_uuid(inner) if isinstance(answer, dict) else None

    async def _from_database(self, clerk_user_id: str) -> UUID | None:
        try:
            return parse_uuid(await _look_up("clerk_user_id", clerk_user_id, "id"))
        except SchedulerError as error:
            logger.info("The database did not tell an internal id: %s", error)
            return None


async def _look_up(column: str, value: str, wanted: str) -> str | None:
    try:
        client = await database.client()
        answer = await client.table("users").select(wanted).eq(column, value).limit(1).execute()
    except database.CALL_ERRORS as error:
        raise database.translate("look up user", error) from error
    rows: list[Any] = answer.data
    return str(rows[0][wanted]) if rows else None
