from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from sandbox.stack import Stack
from tests.conftest import make_clean
from tests.docs import cluster
from tests.docs.ground import Ground
from tests.docs.shell import Shell
from tests.e2e.harness import Admin, connect


@pytest.fixture(scope="module")
async def ground(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ground]:
    """A clean stack, in which one job has completed, and a shell beside it."""
    await make_clean(stack)
    # In a thread: what makes the Jobs of flow runs wants an event loop of its own.
    manifests = await asyncio.to_thread(cluster.manifests)
    shell = Shell(stack, tmp_path_factory.mktemp("docs"), manifests)
    connection = await connect(stack)
    headers = {"Authorization": f"Bearer {stack.token()}"}
    try:
        async with (
            httpx.AsyncClient(base_url=stack.wiring.url("shim"), headers=headers, trust_env=False, timeout=20) as http,
            httpx.AsyncClient(trust_env=False, timeout=20) as operator,
        ):
            made = Ground(Admin(stack, http, connection), shell, operator)
            await made.prepare()
            yield made
    finally:
        await connection.close()
