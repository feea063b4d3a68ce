"""The shim in this process, on the real database; Clerk, the user service and Prefect are a test's own transports."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import ASGIApp

from api.main import create_api, wrap
from api.runtime import Runtime, build_runtime
from api.settings import ShimSettings
from flows.clients import database as database_client
from flows.core import scheduled_jobs
from flows.core.domain import Job
from flows.core.settings import settings as flow_settings
from sandbox.stack import Stack
from tests.api.fakes import ISSUER, ORIGIN, SECRET_KEY, FakeClerk, FakePrefect, Tokens


@dataclass
class Shim:
    """The shim, and what stands around it in the test."""

    runtime: Runtime
    http: httpx.AsyncClient
    clerk: FakeClerk
    prefect: FakePrefect
    tokens: Tokens
    api: FastAPI
    app: ASGIApp

    async def get(self, path: str, **more: Any) -> httpx.Response:
        """GET as the admin."""
        return await self.http.get(path, headers=self.tokens.admin_headers(), **more)

    async def post(self, path: str, **headers: str) -> httpx.Response:
        """POST as the admin, without a body."""
        sent = self.tokens.admin_headers() | {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.post(path, headers=sent)

    async def put(self, path: str, body: Any) -> httpx.Response:
        """PUT as the admin."""
        return await self.http.put(path, json=body, headers=self.tokens.admin_headers())

    async def patch(self, path: str, body: Any, **headers: str) -> httpx.Response:
        """PATCH as the admin."""
        sent = self.tokens.admin_headers() | {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.patch(path, json=body, headers=sent)

    async def delete(self, path: str, **headers: str) -> httpx.Response:
        """DELETE as the admin."""
        sent = self.tokens.admin_headers() | {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.delete(path, headers=sent)

    async def trigger(self, body: Any = None, **headers: str) -> httpx.Response:
        """POST /api/jobs/trigger as the admin."""
        wanted = {"jobType": "crawl_pending"} if body is None else body
        sent = {"Content-Type": "application/json"} | self.tokens.admin_headers()
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.post("/api/jobs/trigger", content=json.dumps(wanted), headers=sent)

    async def claimed(self) -> list[Job]:
        """The jobs that this replica would dispatch now."""
        return await scheduled_jobs.claim_dispatch(10)


MakeShim: TypeAlias = Callable[..., AbstractAsyncContextManager[Shim]]


@pytest.fixture(scope="session")
def tokens() -> Tokens:
    return Tokens()


@pytest.fixture
def environment(database: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What `python -m api` would find in its environment, on the tests' database."""
    variables = {
        "SUPABASE_URL": database.wiring.supabase_url,
        "SUPABASE_SERVICE_KEY": database.wiring.service_key,
        "USER_SERVICE_URL": "http://user-service",
        "PREFECT_API_URL": "http://prefect/api",
        "PREFECT_UI_URL": "http://prefect-ui",
        "CLERK_SECRET_KEY": SECRET_KEY,
        "CLERK_ISSUER": ISSUER,
        "CLERK_API_URL": "https://clerk-api",
        "ALLOWED_ORIGINS": ORIGIN,
        "DOCS_ENABLED": "true",
        "DASHBOARD_DIR": "a folder that is not there",  # reading a built one costs every test its time
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for name in (
        "CLERK_JWKS_URL",
        "CLERK_PUBLISHABLE_KEY",
        "DASHBOARD_SIGN_IN_URL",
        "CLERK_JWT_KEY",
        "CLERK_AUTHORIZED_PARTIES",
        "SERVICE_TOKEN",
        "CURSOR_SECRET",
        "MACHINE_KEYS",
    ):
        monkeypatch.delenv(name, raising=False)
    flow_settings.cache_clear()
    yield
    flow_settings.cache_clear()


@pytest.fixture
def make_shim(environment: None, clean_database: Stack, tokens: Tokens) -> MakeShim:
    """Makes a shim without its loops, on an emptied database; settings may be changed."""

    @asynccontextmanager
    async def make(*, catalogue: bool = True, **changed: Any) -> AsyncIterator[Shim]:
        clerk, prefect = FakeClerk(tokens), FakePrefect()
        settings = ShimSettings(**changed)
        runtime = build_runtime(
            settings, prefect=httpx.MockTransport(prefect.answer), neighbours=httpx.MockTransport(clerk.answer)
        )
        api = create_api(runtime)
        app = wrap(api, settings)
        await database_client.close()
        transport = httpx.ASGITransport(app)
        async with runtime.connected(), httpx.AsyncClient(transport=transport, base_url="http://shim") as http:
            if catalogue:
                await runtime.catalogue.refresh(runtime.orchestrator)
            yield Shim(runtime, http, clerk, prefect, tokens, api, app)

    return make


@pytest.fixture
async def shim(make_shim: MakeShim) -> AsyncIterator[Shim]:
    async with make_shim() as made:
        yield made
