"""Clerk, the user service and Prefect as functions from request to response, and tokens of every kind."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
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
    """As much of Prefect's API as the shim needs. `refusal` is answered instead of a new run."""

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
        self.workers: list[dict[str, Any]] | None = []
        self.runs: dict[str, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []
        self.log_lines: list[dict[str, Any]] = []
        self.asked: list[tuple[str, Any]] = []

    async def answer(self, request: httpx.Request) -> httpx.Response:
        if self.down:
            raise httpx.ConnectError("refused", request=request)
        if self.hanging:
            await asyncio.sleep(60)
        path = request.url.path.removeprefix("/api")
        self.asked.append((path, json.loads(request.content or b"null")))
        if path.endswith("/create_flow_run") and self.deployed:
            return self._create(path, json.loads(request.content))
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
        return self._reading(path) or httpx.Response(404, json={"detail": "Not Found"})

    def _reading(self, path: str) -> httpx.Response | None:
        """The answer to a question that changes nothing, None where there is nothing at that path."""
        if path == "/csrf-token":
            return httpx.Response(422, json={"detail": "CSRF protection is disabled."})
        found: dict[str, Any] = {
            "/deployments/filter": [self._deployment()] if self.deployed else [],
            "/deployments/name/crawl_pending/crawl_pending": self._deployment() if self.deployed else None,
            "/flow_runs/filter": self.due,
            "/events/filter": {"events": self.events, "total": len(self.events), "next_page": None},
            "/logs/filter": self.log_lines,
            "/work_pools/stumbleable/workers/filter": self.workers,
        }
        found |= {f"/flow_runs/{run_id}": run for run_id, run in self.runs.items()}
        return httpx.Response(200, json=found[path]) if found.get(path) is not None else None

    def add_due_run(self, parameters: dict[str, Any]) -> UUID:
        """A run that somebody started in Prefect and no worker has taken."""
        run_id = uuid4()
        run = {"id": str(run_id), "flow_id": str(UUID(int=2)), "name": "by hand", "parameters": parameters}
        self.due.append({**run, "deployment_id": str(self.deployment_id)})
        return run_id

    def add_worker(self, seconds_ago: float, name: str = "worker-1") -> None:
        """A worker of the pool that was heard of that long ago."""
        heard_at = (datetime.now(UTC) - timedelta(seconds=seconds_ago)).isoformat()
        worker = {"id": str(uuid4()), "name": name, "work_pool_id": str(UUID(int=3)), "heartbeat_interval_seconds": 30}
        self.workers = [*(self.workers or []), {**worker, "last_heartbeat_time": heard_at}]

    def set_run(self, run_id: UUID, kind: str, message: str | None = None) -> None:
        """A flow run in a state since a minute ago."""
        since = (datetime.now(UTC) - timedelta(seconds=60)).isoformat()
        state = {"id": str(uuid4()), "type": kind, "name": kind.title(), "timestamp": since, "message": message}
        self.runs[str(run_id)] = {"id": str(run_id), "flow_id": str(UUID(int=2)), "name": "a run", "state": state}

    def add_pod_event(self, run_id: UUID, phase: str, **labels: str) -> None:
        """An event of the Kubernetes worker's observer about a run's pod."""
        at = datetime.now(UTC) - timedelta(seconds=90)
        pod = {"prefect.resource.id": "prefect.kubernetes.pod.1f", "prefect.resource.name": "crawl-pending-x7"}
        run = {"prefect.resource.id": f"prefect.flow-run.{run_id}", "prefect.resource.role": "flow-run"}
        event = {"event": f"prefect.kubernetes.pod.{phase}", "resource": pod | labels, "related": [run]}
        received = at + timedelta(seconds=len(self.events))
        times = {"occurred": at.isoformat(), "received": received.isoformat()}
        self.events.insert(0, {"id": str(uuid4()), "payload": {}, "follows": None, **event, **times})

    def add_log_line(self, run_id: UUID, message: str, level: int = 40) -> None:
        """A line of a run's log; the newest is the only one."""
        line = {"id": str(uuid4()), "name": "prefect.flow_runs", "level": level, "message": message}
        self.log_lines = [{**line, "flow_run_id": str(run_id), "timestamp": datetime.now(UTC).isoformat()}]

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
