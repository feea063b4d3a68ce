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
PUBLISHABLE_KEY = "pk_live_Y2xlcmsuc3R1bWJsZWFibGUudGVzdCQ"  # clerk.stumbleable.test$
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
        self,
        *,
        key: rsa.RSAPrivateKey | None = None,
        headers: dict[str, Any] | None = None,
        algorithm: str = "RS256",
        **claims: Any,
    ) -> str:
        return self.with_payload(self.claims(**claims), key=key, headers=headers, algorithm=algorithm)

    def with_payload(
        self,
        payload: Any,
        *,
        key: rsa.RSAPrivateKey | None = None,
        headers: dict[str, Any] | None = None,
        algorithm: str = "RS256",
    ) -> str:
        """Signed whatever it says: the library's own checks of what is put into a token are left out."""
        content = json.dumps(payload).encode()
        return jwt.api_jws.encode(
            content, key or self.key, algorithm=algorithm, headers={"typ": "JWT", "kid": KID, **(headers or {})}
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

    `down` names what cannot be reached, `hanging` what never answers; `limited` is Clerk's API asking for quiet.
    """

    def __init__(self, tokens: Tokens) -> None:
        self.keys = [tokens.jwk()]
        self.roles: dict[str, Any] = {ADMIN: "admin", PLAIN: None}
        self.internal: Any = None
        self.user_status = 200
        self.down: set[str] = set()
        self.hanging: set[str] = set()
        self.limited = False
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
        if self.limited:
            return httpx.Response(429, headers={"retry-after": "30"})
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
        self.job_types = ["crawl_pending"]
        self.schemas: dict[str, Any] = {}  # of those whose parameters are others than the usual
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
        self.task_runs: dict[str, str] = {}
        self.asked: list[tuple[str, Any]] = []
        self.paused = False
        self.schedules: list[dict[str, Any]] = []
        self.schedule_changes: list[tuple[str, Any]] = []
        self.add_schedule("*/15 * * * *", slug="default")

    async def answer(self, request: httpx.Request) -> httpx.Response:
        if self.down:
            raise httpx.ConnectError("refused", request=request)
        if self.hanging:
            await asyncio.sleep(60)
        path = request.url.path.removeprefix("/api")
        self.asked.append((path, json.loads(request.content or b"null")))
        if path.startswith(f"/deployments/{self.deployment_id}") and "flow_run" not in path:
            return self._change_schedules(request.method, path, json.loads(request.content or b"null"))
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
        if path in ("/logs/filter", "/task_runs/filter"):
            found = self._logs if path == "/logs/filter" else self._tasks
            return httpx.Response(200, json=found(json.loads(request.content)))
        return self._reading(path) or httpx.Response(404, json={"detail": "Not Found"})

    def _reading(self, path: str) -> httpx.Response | None:
        """The answer to a question that changes nothing, None where there is nothing at that path."""
        if path == "/csrf-token":
            return httpx.Response(422, json={"detail": "CSRF protection is disabled."})
        found: dict[str, Any] = {
            "/deployments/filter": [self._deployment(name) for name in self.job_types] if self.deployed else [],
            "/deployments/name/crawl_pending/crawl_pending": self._deployment() if self.deployed else None,
            "/flow_runs/filter": self.due,
            "/events/filter": {"events": self.events, "total": len(self.events), "next_page": None},
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

    def say(
        self, run_id: UUID, message: str, *, ago: float = 0, late: float = 0, level: int = 20, task: UUID | None = None
    ) -> UUID:
        """Adds a line that was said so many seconds ago and arrived so many seconds later; its id."""
        said_at = datetime.now(UTC) - timedelta(seconds=ago)
        line_id = uuid4()
        line = {"id": str(line_id), "name": "prefect.flow_runs", "level": level, "message": message}
        times = {"timestamp": said_at.isoformat(), "created": (said_at + timedelta(seconds=late)).isoformat()}
        self.log_lines.append({**line, **times, "flow_run_id": str(run_id), "task_run_id": str(task) if task else None})
        return line_id

    def _logs(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """The lines that a filter asks for, in its order and by its page."""
        wanted = body["logs"]
        least = (wanted.get("level") or {}).get("ge_") or 0
        said = {name: at for name, at in (wanted.get("timestamp") or {}).items() if at}
        after, before = (datetime.fromisoformat(said[name]) if name in said else None for name in ("after_", "before_"))
        found = [
            line
            for line in self.log_lines
            if line.get("flow_run_id", wanted["flow_run_id"]["any_"][0]) in wanted["flow_run_id"]["any_"]
            and line.get("level", least) >= least
            and (after is None or _said_at(line) >= after)
            and (before is None or _said_at(line) <= before)
        ]
        found.sort(key=lambda line: str(line.get("timestamp")), reverse=body["sort"] == "TIMESTAMP_DESC")
        offset = body.get("offset") or 0
        return found[offset : offset + min(body["limit"], 200)]

    def _tasks(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        wanted = body["task_runs"]["id"]["any_"]
        return [
            {"id": one, "name": self.task_runs[one], "task_key": "a task", "dynamic_key": "0"}
            for one in wanted
            if one in self.task_runs
        ]

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

    def add_schedule(self, cron: str, *, slug: str | None, timezone: str = "UTC", **more: Any) -> dict[str, Any]:
        """A schedule of the deployment."""
        schedule = {"cron": cron, "timezone": timezone, "day_or": True}
        made = {"id": str(uuid4()), "schedule": schedule, "active": True, "slug": slug, "parameters": {}, **more}
        self.schedules.append(made)
        return made

    def redeploy(self) -> None:
        """What `prefect deploy` does to the schedules."""
        self.schedules.clear()
        self.paused = False
        self.add_schedule("*/15 * * * *", slug="default")

    def _change_schedules(self, method: str, path: str, body: Any) -> httpx.Response:
        self.schedule_changes.append((method, body))
        schedule_id = path.partition("/schedules/")[2]
        found = [one for one in self.schedules if one["id"] == schedule_id]
        if schedule_id and not found:
            return httpx.Response(404, json={"detail": "Schedule not found."})
        if path.endswith("/schedules") and method == "POST":
            made = [{"id": str(uuid4()), **one} for one in body]
            self.schedules += made
            return httpx.Response(201, json=made)
        if schedule_id and method == "DELETE":
            self.schedules.remove(found[0])
        elif schedule_id:
            found[0].update(body)
        else:
            self.paused = body.get("paused", self.paused)
        return httpx.Response(204)

    def _deployment(self, name: str = "crawl_pending") -> dict[str, Any]:
        return {
            "id": str(self.deployment_id),
            "paused": self.paused,
            "schedules": self.schedules,
            "name": name,
            "flow_id": str(UUID(int=2)),
            "description": "Crawl Pending Content.\n\nFetches pages\nthat nobody has looked at.",
            "parameters": {"mode": "stale"},
            "parameter_openapi_schema": self.schemas.get(name, SCHEMA),
        }


def _said_at(line: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(line["timestamp"])
