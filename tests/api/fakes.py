"""Clerk, the user service and Prefect as functions from request to response, and tokens of every kind."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections import Counter
from typing import Any
from uuid import UUID, uuid4

import httpx
import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

ISSUER = "https://clerk.test"
ORIGIN = "https://admin.test"
SECRET_KEY = "sk_test_0123456789abcdef"
ADMIN = "user_admin"
PLAIN = "user_plain"
KID = "ins_1"

SCHEMA: dict[str, Any] = {
    "title": "Parameters",
    "type": "object",
    "properties": {
        "max_items": {"type": "integer", "minimum": 1, "maximum": 10_000, "default": 1000, "title": "max_items"},
        "mode": {"enum": ["pending", "stale"], "default": "pending"},
        "note": {"type": "string"},
        "extra": {"type": "object"},
    },
}


class Tokens:
    """Session tokens as the instance signs them, and as it never would."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.other_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def claims(self, **changed: Any) -> dict[str, Any]:
        """An admin's claims; a claim that is changed to None is left out."""
        now = int(time.time())
        usual = {"iss": ISSUER, "sub": ADMIN, "sid": "sess_1", "iat": now - 1, "nbf": now - 1, "exp": now + 60}
        return {name: value for name, value in (usual | changed).items() if value is not None}

    def sign(
        self, *, key: rsa.RSAPrivateKey | None = None, headers: dict[str, Any] | None = None, **claims: Any
    ) -> str:
        return jwt.encode(
            self.claims(**claims), key or self.key, algorithm="RS256", headers={"kid": KID, **(headers or {})}
        )

    def admin_headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.sign()}"}

    def public_pem(self) -> bytes:
        return self.key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def by_hand(self, header: dict[str, Any], secret: bytes | None) -> str:
        """A token whose header says what it wants: signed by HMAC with `secret`, or not at all."""
        signed = f"{_segment(header)}.{_segment(self.claims())}"
        signature = b"" if secret is None else hmac.digest(secret, signed.encode(), hashlib.sha256)
        return f"{signed}.{_encoded(signature)}"

    def jwk(self, key: rsa.RSAPrivateKey | None = None, kid: str = KID) -> dict[str, Any]:
        public = jwt.algorithms.RSAAlgorithm.to_jwk((key or self.key).public_key(), as_dict=True)
        return {**public, "kid": kid, "use": "sig", "alg": "RS256"}


def _segment(content: dict[str, Any]) -> str:
    return _encoded(json.dumps(content).encode())


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


class FakeClerk:
    """Clerk's keys and users and, at its own host, the user service.

    `down` names what cannot be reached, `hanging` what never answers.
    """

    def __init__(self, tokens: Tokens) -> None:
        self.keys = [tokens.jwk()]
        self.roles: dict[str, Any] = {ADMIN: "admin", PLAIN: None}
        self.internal: Any = None
        self.user_status = 200
        self.down: set[str] = set()
        self.hanging: set[str] = set()
        self.calls: Counter[str] = Counter()
        self.requests: list[httpx.Request] = []

    async def answer(self, request: httpx.Request) -> httpx.Response:
        part = {"user-service": "users", "clerk-api": "roles"}.get(request.url.host, "keys")
        self.calls[part] += 1
        self.requests.append(request)
        if part in self.down:
            raise httpx.ConnectError("refused", request=request)
        if part in self.hanging:
            await asyncio.sleep(60)
        if part == "keys":
            return httpx.Response(200, json={"keys": self.keys})
        if part == "users":
            return httpx.Response(self.user_status, json=self.internal, headers={"retry-after": "60"})
        clerk_user_id = request.url.path.rsplit("/", 1)[1]
        if clerk_user_id not in self.roles:
            return httpx.Response(404, json={"errors": []})
        role = self.roles[clerk_user_id]
        return httpx.Response(200, json={"id": clerk_user_id, "public_metadata": {"role": role} if role else {}})


class FakePrefect:
    """As much of Prefect's API as the dispatcher needs. `refusal` is answered instead of a new run."""

    def __init__(self) -> None:
        self.deployment_id = uuid4()
        self.down = False
        self.hanging = False
        self.deployed = True
        self.refusal: httpx.Response | None = None
        self.created: dict[str, dict[str, Any]] = {}
        self.creations = 0
        self.creation = asyncio.Event()
        self.cancelled: list[str] = []
        self.due: list[dict[str, Any]] = []

    async def answer(self, request: httpx.Request) -> httpx.Response:
        if self.down:
            raise httpx.ConnectError("refused", request=request)
        if self.hanging:
            await asyncio.sleep(60)
        path = request.url.path.removeprefix("/api")
        fixed = {
            "/csrf-token": httpx.Response(422, json={"detail": "CSRF protection is disabled."}),
            "/deployments/filter": httpx.Response(200, json=[self._deployment()] if self.deployed else []),
            "/flow_runs/filter": httpx.Response(200, json=self.due),
        }
        if path in fixed:
            return fixed[path]
        if path.startswith("/deployments/name/") and self.deployed:
            return httpx.Response(200, json=self._deployment())
        if path.endswith("/create_flow_run") and self.deployed:
            return self._create(path, json.loads(request.content))
        if path == "/flow_runs/filter":
            return httpx.Response(200, json=self.due)
        if path.endswith("/set_state"):
            self.cancelled.append(path.split("/")[2])
            return httpx.Response(
                201,
                json={
                    "status": "REJECT",
                    "state": {"type": "CANCELLED"},
                    "details": {"type": "reject_details", "reason": "was scheduled"},
                },
            )
        return httpx.Response(404, json={"detail": "Not Found"})

    def add_due_run(self, parameters: dict[str, Any]) -> UUID:
        """A run that somebody started in Prefect and no worker has taken."""
        run_id = uuid4()
        run = {"id": str(run_id), "flow_id": str(UUID(int=2)), "name": "by hand", "parameters": parameters}
        self.due.append({**run, "deployment_id": str(self.deployment_id)})
        return run_id

    def new_deployment(self) -> None:
        """The deployment is deleted and deployed again."""
        self.deployment_id = uuid4()

    def _create(self, path: str, body: dict[str, Any]) -> httpx.Response:
        self.creations += 1
        self.creation.set()
        if self.refusal is not None:
            return self.refusal
        if path.split("/")[2] != str(self.deployment_id):
            return httpx.Response(404, json={"detail": "Deployment not found"})
        run_id = self.created.setdefault(body["idempotency_key"], {"id": str(uuid4()), **body})["id"]
        return httpx.Response(201, json={"id": run_id, "flow_id": str(UUID(int=2)), "name": body["name"]})

    def _deployment(self) -> dict[str, Any]:
        return {
            "id": str(self.deployment_id),
            "name": "crawl_pending",
            "flow_id": str(UUID(int=2)),
            "description": "Crawl Pending Content",
            "parameters": {"mode": "stale"},
            "parameter_openapi_schema": SCHEMA,
        }
