"""What state.json says: each part's pid, URL and log, and where keys and tokens come from; no secret itself."""

import os
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sandbox.running import RunningPart
from sandbox.wiring import WORK_POOL, Wiring


def describe(wiring: Wiring, running: Mapping[str, RunningPart], moment: datetime) -> dict[str, Any]:
    return {
        "supervisor": {"pid": os.getpid(), "control": str(wiring.state.control_socket)},
        "updated_at": moment.isoformat(),
        "parts": {
            **{name: _part(wiring, name, part) for name, part in running.items()},
            **{name: {"url": wiring.url(name), "given_by": by} for name, by in wiring.replaced.items()},
        },
        "clerk_issuer": wiring.clerk_issuer,
        "work_pool": WORK_POOL,
        "keys_and_tokens": {
            "secrets": f"{wiring.state.path / 'secrets.json'} (0600)",
            "service_key": "python -m sandbox env SUPABASE_SERVICE_KEY",
            "database_url": "python -m sandbox env DATABASE_URL",
            "prefect_auth_string": "python -m sandbox env PREFECT_API_AUTH_STRING",
            "admin_token": "python -m sandbox token",
            "user_token": "python -m sandbox token --user",
            "for_a_shell": 'eval "$(python -m sandbox env)"',
            "signing_keys": f"{wiring.state.keys} (0700)",
        },
    }


def _part(wiring: Wiring, name: str, part: RunningPart) -> dict[str, Any]:
    pid = part.process.pid if part.is_running and part.process is not None else None
    status = "stopped" if pid is None else "ready" if part.is_ready else "starting"
    return {"status": status, "pid": pid, "url": wiring.url(name), "log": str(part.log)}
