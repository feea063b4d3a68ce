"""An admin at the whole stack, with empty tables and every part running."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from sandbox.stack import Stack
from tests.e2e.harness import Admin, connect


@pytest.fixture
async def admin(clean_stack: Stack) -> AsyncIterator[Admin]:
    connection = await connect(clean_stack)
    headers = {"Authorization": f"Bearer {clean_stack.token()}"}
    try:
        async with httpx.AsyncClient(
            base_url=clean_stack.wiring.url("shim"), headers=headers, trust_env=False, timeout=20
        ) as http:
            yield Admin(clean_stack, http, connection)
    finally:
        await connection.close()
