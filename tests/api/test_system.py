"""GET /api/system and /api/config: how the parts are, and what a dashboard must know first."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from flows.clients import database as database_client
from flows.core.settings import settings
from tests.api.conftest import MakeShim, Shim
from tests.api.fakes import ISSUER, PLAIN, PUBLISHABLE_KEY, SECRET_KEY

PATH = "/api/system"
NAMES = ["database", "prefect", "workers", "jwks"]


async def system(shim: Shim) -> dict[str, Any]:
    answer = await shim.get(PATH)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    assert [check["name"] for check in body["checks"]] == NAMES
    return body


def oks(body: dict[str, Any]) -> list[bool | None]:
    return [check["ok"] for check in body["checks"]]


@asynccontextmanager
async def no_database(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """The database's address is one where nobody listens."""
    with monkeypatch.context() as patched:
        patched.setenv("SUPABASE_URL", "http://127.0.0.1:9")
        settings.cache_clear()
        await database_client.close()
        yield
    settings.cache_clear()
    await database_client.close()


class TestSystem:
    async def test_anonymous(self, shim: Shim) -> None:
        assert (await shim.http.get(PATH)).status_code == 401

    async def test_not_admin(self, shim: Shim) -> None:
        plain = {"Authorization": f"Bearer {shim.tokens.sign(sub=PLAIN)}"}
        assert (await shim.http.get(PATH, headers=plain)).status_code == 403

    async def test_all_is_well(self, shim: Shim) -> None:
        shim.prefect.add_worker(seconds_ago=5)
        body = await system(shim)
        assert (body["status"], oks(body)) == ("healthy", [True] * 4)
        assert (body["paused"], body["pausedReason"], body["pausedUntil"]) == (False, None, None)
        assert body["checks"][0]["detail"] == "The database: answers."
        assert body["checks"][2]["detail"] == "Worker worker-1 of pool stumbleable was heard of 5 s ago."
        assert all(check["since"].endswith("Z") for check in body["checks"])

    async def test_paused(self, shim: Shim) -> None:
        order = {"paused": True, "reason": "a new index", "until": "2999-01-01T00:00:00Z"}
        await shim.put("/api/maintenance", order)
        body = await system(shim)
        assert (body["paused"], body["pausedReason"], body["pausedUntil"]) == (
            True, "a new index", "2999-01-01T00:00:00Z",
        )  # fmt: skip

    async def test_no_worker_was_ever_there(self, shim: Shim) -> None:
        body = await system(shim)
        assert (body["status"], oks(body)) == ("degraded", [True, True, False, True])
        assert "has ever been heard of" in body["checks"][2]["detail"]

    async def test_the_last_worker_is_silent(self, shim: Shim) -> None:
        shim.prefect.add_worker(seconds_ago=600)
        body = await system(shim)
        assert oks(body) == [True, True, False, True]
        assert "nothing starts until one is back" in body["checks"][2]["detail"]

    async def test_prefect_is_down(self, shim: Shim) -> None:
        shim.prefect.down = True
        body = await system(shim)
        assert (body["status"], oks(body)) == ("degraded", [True, False, None, True])
        assert body["checks"][1]["since"] is not None

    async def test_everything_hangs(self, shim: Shim) -> None:
        """Verified by keys that were fetched before; each part is waited for 2 s, all at once."""
        await system(shim)
        shim.prefect.hanging = True
        shim.clerk.hanging.add("keys")
        shim.runtime.readiness._last = None
        began = time.monotonic()
        body = await system(shim)
        assert time.monotonic() - began < 3
        assert (body["status"], oks(body)[:3]) == ("degraded", [True, False, None])

    async def test_the_database_is_down(self, shim: Shim, monkeypatch: pytest.MonkeyPatch) -> None:
        shim.prefect.add_worker(seconds_ago=5)
        await system(shim)
        shim.runtime.readiness._last = None
        async with no_database(monkeypatch):
            body = await system(shim)
        assert (body["status"], oks(body)) == ("degraded", [False, True, True, True])
        assert (body["paused"], body["pausedReason"]) == (None, None)

    async def test_since_is_when_it_was_first_seen_so(self, shim: Shim) -> None:
        first = (await system(shim))["checks"][0]["since"]
        shim.runtime.readiness._last = None
        assert (await system(shim))["checks"][0]["since"] == first


class TestConfig:
    async def test_anybody_gets_what_is_public(self, make_shim: MakeShim) -> None:
        async with make_shim(clerk_publishable_key=PUBLISHABLE_KEY, release="abc123") as shim:
            answer = await shim.http.get("/api/config")
        assert (answer.status_code, answer.json()) == (
            200,
            {
                "signIn": "clerk",
                "signInUrl": None,
                "clerkPublishableKey": PUBLISHABLE_KEY,
                "clerkIssuer": ISSUER,
                "prefectUiUrl": "http://prefect-ui",
                "pollSeconds": {"job": 2, "jobs": 5, "jobTypes": 15, "system": 15},
                "version": "abc123",
            },
        )

    @pytest.mark.parametrize(
        ("changed", "told"),
        [
            ({}, (None, None)),
            ({"clerk_publishable_key": PUBLISHABLE_KEY}, ("clerk", None)),
            ({"dashboard_sign_in_url": "http://127.0.0.1:9/sign-in/"}, ("sandbox", "http://127.0.0.1:9/sign-in")),
        ],
    )
    async def test_it_says_where_people_sign_in(
        self, make_shim: MakeShim, changed: dict[str, str], told: tuple[str | None, str | None]
    ) -> None:
        async with make_shim(**changed) as shim:
            config = (await shim.http.get("/api/config")).json()
        assert (config["signIn"], config["signInUrl"]) == told

    async def test_no_secret_is_in_it_and_nobody_is_asked(self, shim: Shim) -> None:
        shim.prefect.asked.clear()
        answer = await shim.http.get("/api/config")
        assert answer.json()["clerkPublishableKey"] is None
        secrets = (SECRET_KEY, settings().supabase_service_key.get_secret_value(), shim.runtime.settings.cursor_key)
        assert not any(secret in answer.text for secret in secrets)
        assert (shim.prefect.asked, sum(shim.clerk.calls.values())) == ([], 0)
