"""Idempotency keys of callers: one scope for each actor, route and key, and a fingerprint that tells payloads apart."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from api.auth import Actor
from flows.core.scheduled_jobs import IdempotencyKey


def idempotency_of(key: str | None, actor: Actor, route: str, payload: dict[str, Any]) -> IdempotencyKey | None:
    """The key in its scope, or None where the caller sent none."""
    if key is None:
        return None
    canonical = json.dumps(payload, sort_keys=True, separators=(",", ":"))
    return IdempotencyKey(actor.clerk_user_id, route, key, hashlib.sha256(canonical.encode()).hexdigest())
