"""Who calls, and may they? Clerk's session tokens are verified here; nobody is asked about a token itself.

A token is good when RS256 signed it with a key of ours to know, for our issuer, within its time (5 s of skew), for a
party we know where it names one, and its session is not pending. Headers that point to other keys are never read.
Scripts have keys of their own (`api.machine_keys`): nobody at all is asked about those.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import jwt
from jwt import PyJWK

from api.clerk import Roles, SigningKeys
from api.errors import AdminRequired, InvalidToken, MissingAuthorization
from api.machine_keys import PREFIX, MachineKeys
from api.neighbours import Neighbours
from api.settings import ShimSettings

LEEWAY_SECONDS = 5
_ALGORITHM = "RS256"
_MOST_VERIFIED = 1000
_LONGEST_TOKEN = 16 * 1024
_LATEST = 253_402_214_400  # the last day that a datetime can hold
_USER_ID = re.compile(r"[\w-]{1,128}", re.ASCII)
_OF_SCRIPTS = "service:"
_TIMES = ("exp", "nbf", "iat")


@dataclass(frozen=True)
class Actor:
    """The user of a verified token, with the token for the services that want it forwarded.

    Of a script: `service:<name>`, which no user's id can be, and no token, because no other service knows its key.
    """

    clerk_user_id: str
    token: str
    expires_at: datetime | None = None
    """When the token's time is over; streams end soon after it."""

    def __repr__(self) -> str:
        return f"Actor({self.clerk_user_id})"

    @property
    def is_machine(self) -> bool:
        """Whether it is a script."""
        return self.clerk_user_id.startswith(_OF_SCRIPTS)


class KeySource(Protocol):
    async def key(self, kid: str) -> PyJWK | None: ...

    async def check(self) -> None: ...


class FixedKey:
    """The one key of CLERK_JWT_KEY; tokens name their key all the same, so the name is not looked at."""

    def __init__(self, pem: str) -> None:
        algorithm = jwt.get_algorithm_by_name(_ALGORITHM)
        self._key = PyJWK(algorithm.to_jwk(algorithm.prepare_key(pem), as_dict=True), _ALGORITHM)

    async def key(self, _kid: str) -> PyJWK | None:
        return self._key

    async def check(self) -> None:
        """Nothing to ask for."""


class Authenticator:
    def __init__(
        self, keys: KeySource, roles: Roles, machine_keys: MachineKeys, *, issuer: str, parties: Sequence[str]
    ) -> None:
        self.keys = keys
        self._roles = roles
        self._machine_keys = machine_keys
        self._issuer = issuer
        self._parties = tuple(parties)
        self._verified: dict[str, tuple[PyJWK, dict[str, Any]]] = {}

    async def admin(self, authorization: Sequence[str]) -> Actor:
        """The admin, or the script, whose token the Authorization headers carry.

        Raises MissingAuthorization, InvalidToken, AdminRequired, or Unavailable while Clerk must be asked and is away.
        """
        token = _bearer(authorization)
        if token.startswith(PREFIX):
            return self._script(token)
        claims = await self._claims(token)
        clerk_user_id = claims["sub"]
        role = _claimed_role(claims) if "metadata" in claims else await self._roles.role(clerk_user_id)
        if role != "admin":
            raise AdminRequired
        return Actor(clerk_user_id, token, datetime.fromtimestamp(min(int(claims["exp"]), _LATEST), UTC))

    async def _claims(self, token: str) -> dict[str, Any]:
        """The claims of a good token. A page sends the same one dozens of times: its signature is looked at once."""
        known = self._verified.get(token)
        if known is not None:
            key, claims = known
            now_known = await self.keys.key(str(key.key_id))
            if now_known is key and _is_in_time(claims):
                return claims
            self._verified.pop(token, None)
            if now_known is None:
                raise InvalidToken
            # Keys that were fetched anew are other objects: then everything is looked at again.
        key, claims = await self._verify(token)
        if len(self._verified) >= _MOST_VERIFIED:
            self._verified.clear()
        self._verified[token] = key, claims
        return claims

    async def _verify(self, token: str) -> tuple[PyJWK, dict[str, Any]]:
        try:
            header = jwt.get_unverified_header(token)
            key = await self._key_of(header)
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[_ALGORITHM],
                issuer=self._issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "nbf", "iss", "sub"], "verify_aud": False},
            )
        except (jwt.PyJWTError, ArithmeticError, ValueError, TypeError) as error:
            # The library reads a claim of another type than it should have as best it can: 1e999 as a time overflows.
            raise InvalidToken from error
        if any(type(claims[name]) not in (int, float) for name in _TIMES if name in claims):
            raise InvalidToken
        if ("azp" in claims and claims["azp"] not in self._parties) or claims.get("sts") == "pending":
            raise InvalidToken
        if not _USER_ID.fullmatch(claims["sub"]):
            raise InvalidToken
        return key, claims

    def _script(self, key: str) -> Actor:
        name = self._machine_keys.name_of(key)
        if name is None:
            raise InvalidToken
        return Actor(f"{_OF_SCRIPTS}{name}", "")

    async def _key_of(self, header: dict[str, Any]) -> PyJWK:
        kid = header.get("kid")
        # Clerk signs tokens of other kinds with the same key, an OAuth application's (at+jwt) for one.
        if header.get("alg") != _ALGORITHM or header.get("typ", "JWT") != "JWT" or "crit" in header:
            raise InvalidToken
        if not isinstance(kid, str):
            raise InvalidToken
        key = await self.keys.key(kid)
        if key is None:
            raise InvalidToken
        return key


def _bearer(authorization: Sequence[str]) -> str:
    if not authorization:
        raise MissingAuthorization
    scheme, _, token = authorization[0].partition(" ")
    if len(authorization) > 1 or scheme.lower() != "bearer" or len(token) > _LONGEST_TOKEN:
        raise InvalidToken
    return token.strip()


def _is_in_time(claims: dict[str, Any]) -> bool:
    now = time.time()
    return bool(claims["nbf"] - LEEWAY_SECONDS <= now < claims["exp"] + LEEWAY_SECONDS)


def _claimed_role(claims: dict[str, Any]) -> Any:
    metadata = claims["metadata"]
    return metadata.get("role") if isinstance(metadata, dict) else None


def build_authenticator(settings: ShimSettings, neighbours: Neighbours) -> Authenticator:
    """The authenticator that the settings describe."""
    secret_key = settings.clerk_secret_key.get_secret_value()
    keys: KeySource
    if settings.clerk_jwt_key is not None:
        keys = FixedKey(settings.clerk_jwt_key.get_secret_value())
    else:
        # Only Clerk's own API wants, and may see, the secret key; <issuer>/.well-known/jwks.json is public.
        is_api = settings.jwks_url.startswith(f"{settings.clerk_api_url.rstrip('/')}/v1/")
        keys = SigningKeys(neighbours, settings.jwks_url, secret_key if is_api else None)
    return Authenticator(
        keys,
        Roles(neighbours, settings.clerk_api_url.rstrip("/"), secret_key),
        MachineKeys(settings.machine_key_digests),
        issuer=settings.clerk_issuer,
        parties=settings.authorized_parties,
    )
