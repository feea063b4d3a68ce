"""The worker finds out once, for all runs, whether the server wants a token with every change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from prefect.client.orchestration import PrefectClient

from worker import csrf


def without_tokens(_: httpx.Request) -> httpx.Response:
    return httpx.Response(422, json={"detail": "CSRF protection is disabled."})


def with_tokens(_: httpx.Request) -> httpx.Response:
    token = {"token": "x", "client": "y", "expiration": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}
    return httpx.Response(200, json={"id": str(uuid4()), "created": None, "updated": None, **token})


def away(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused", request=request)


def stranger(_: httpx.Request) -> httpx.Response:
    return httpx.Response(200, text="<html>Sign in</html>")


async def hanging(_: httpx.Request) -> httpx.Response:
    await asyncio.sleep(60)
    raise AssertionError("nobody waits so long")


@pytest.mark.parametrize(
    ("server", "wanted"),
    [(without_tokens, False), (with_tokens, True), (away, True), (stranger, True), (hanging, True)],
)
async def test_what_the_server_says_is_known(
    server: Callable[[httpx.Request], Any],
    wanted: bool,  # noqa: FBT001
) -> None:
    transport = httpx.MockTransport(server)
    client = PrefectClient("http://prefect.test/api", httpx_settings={"transport": transport})
    assert await csrf.wants_tokens(client, patience_seconds=0.5) is wanted
