"""What the shim asks Clerk for: the keys that sign session tokens, and a user's role."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any
from urllib.parse import quote

from jwt import PyJWK, PyJWKError

from api.background import Troubles
from api.caching import Cached
from api.neighbours import Neighbours
from flows.core.errors import NotFound, RateLimited, SchedulerError, Unavailable

FRESH_SECONDS = 600.0  # then the keys are asked for again, beside the answer
STALE_SECONDS = 900.0  # a key that Clerk withdraws is accepted no longer than this, unless Clerk cannot be reached
UNKNOWN_KID_SECONDS = 60.0  # a flood of tokens with invented key ids must not become a flood at Clerk
FIRST_RETRY_SECONDS = 2.0  # while there is no key at all
ROLE_SECONDS = 60.0
SHORTEST_KEY_BITS = 2048
_TIMEOUT_SECONDS = 2.0

logger = logging.getLogger(__name__)


class SigningKeys:
    """The instance's public keys by id: cached, fetched again when old or unknown, served stale through an outage."""

    def __init__(self, neighbours: Neighbours, url: str, bearer: str | None) -> None:
        self._neighbours = neighbours
        self._url = url
        self._bearer = bearer
        self._keys: dict[str, PyJWK] = {}
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")
        self._unknown_at = float("-inf")
        self._failure: SchedulerError | None = None
        self._lock = asyncio.Lock()
        self._background: asyncio.Task[None] | None = None
        self._troubles = Troubles(logger)

    async def key(self, kid: str) -> PyJWK | None:
        """The key, or None if Clerk does not have it. Raises Unavailable where that cannot be known now."""
        asked_at = time.monotonic()
        if not self._keys:
            await self._fetch(asked_at, at_most_every=FIRST_RETRY_SECONDS)
        elif kid not in self._keys and asked_at - self._unknown_at >= UNKNOWN_KID_SECONDS:
            self._unknown_at = asked_at
            await self._fetch(asked_at, at_most_every=0)
        elif asked_at - self._fetched_at > STALE_SECONDS and self._failure is None:
            # Nobody has called for a while. In an outage, which is known by then, callers do not wait.
            await self._fetch(asked_at, at_most_every=UNKNOWN_KID_SECONDS)
        elif asked_at - self._fetched_at > FRESH_SECONDS and (self._background is None or self._background.done()):
            self._background = asyncio.create_task(self._fetch(asked_at, at_most_every=UNKNOWN_KID_SECONDS))
        if kid not in self._keys and self._failure is not None:
            raise Unavailable(str(self._failure), "clerk")
        return self._keys.get(kid)

    async def check(self) -> None:
        """Returns when there are keys and the last fetch, not older than 10 s, has succeeded."""
        await self._fetch(time.monotonic(), at_most_every=10)
        if self._failure is not None:
            raise self._failure

    async def _fetch(self, asked_at: float, *, at_most_every: float) -> None:
        async with self._lock:
            if self._tried_at >= asked_at - at_most_every:
                return
            self._tried_at = time.monotonic()
            self._failure = Unavailable("Clerk's signing keys could not be read", "clerk")
            async with self._troubles.noted("fetching of Clerk's signing keys"):
                try:
                    self._keys = _parse(await self._answer())
                except SchedulerError as error:
                    self._failure = error
                    raise
                self._fetched_at = time.monotonic()
                self._failure = None

    async def _answer(self) -> Any:
        return await self._neighbours.get_json(
            "clerk", self._url, bearer=self._bearer, timeout_seconds=_TIMEOUT_SECONDS
        )


def _parse(answer: Any) -> dict[str, PyJWK]:
    """The RS256 signing keys of a key set by their id; whatever else is in it is left out."""
    entries = answer.get("keys") if isinstance(answer, dict) else None
    found: dict[str, PyJWK] = {}
    for entry in entries if isinstance(entries, list) else []:
        if not isinstance(entry, dict) or entry.get("kty") != "RSA" or not isinstance(entry.get("kid"), str):
            continue
        if entry.get("use", "sig") != "sig" or entry.get("alg", "RS256") != "RS256":
            continue
        try:
            key = PyJWK(entry, algorithm="RS256")
        except (PyJWKError, ValueError):
            logger.warning("Clerk published a signing key that cannot be read")
            continue
        if key.key.key_size < SHORTEST_KEY_BITS or entry["kid"] in found:
            logger.warning("Clerk published a signing key that is too short, or a second one of the same id")
            continue
        found[entry["kid"]] = key
    if not found:
        raise Unavailable("Clerk published no RS256 signing key", "clerk")
    return found


class Roles:
    """`public_metadata.role` of users, asked from Clerk and kept for a minute at most."""

    def __init__(self, neighbours: Neighbours, api_url: str, secret_key: str) -> None:
        self._neighbours = neighbours
        self._api_url = api_url
        self._secret_key = secret_key
        self._quiet_until = 0.0
        self._cached: Cached[Any] = Cached(lambda _role: ROLE_SECONDS)

    async def role(self, clerk_user_id: str) -> Any:
        """Whatever stands there, None where nothing does or Clerk has no such user. Raises while Clerk is away."""
        return await self._cached.get(clerk_user_id, lambda: self._ask(clerk_user_id))

    async def _ask(self, clerk_user_id: str) -> Any:
        url = f"{self._api_url}/v1/users/{quote(clerk_user_id, safe='')}"
        wait = self._quiet_until - time.monotonic()
        if wait > 0:
            raise RateLimited("clerk asked for quiet", wait)
        try:
            user = await self._neighbours.get_json(
                "clerk", url, bearer=self._secret_key, timeout_seconds=_TIMEOUT_SECONDS
            )
        except NotFound:
            return None
        except RateLimited as error:
            self._quiet_until = time.monotonic() + error.retry_after_seconds
            raise
        metadata = user.get("public_metadata") if isinstance(user, dict) else None
        return metadata.get("role") if isinstance(metadata, dict) else None
