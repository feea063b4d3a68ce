"""The image, built from this checkout, and a stack for its containers: everything but the shim and the worker.

They take minutes and an engine, so that `make test` leaves them out; `make image-test` runs them, and fails where
there is no engine.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

import httpx
import pytest

from sandbox.base_image import find_base
from sandbox.containers import Engine, find_engine
from sandbox.errors import SandboxError
from sandbox.parts import STANDINS
from sandbox.stack import Stack
from sandbox.state import REPOSITORY
from tests.e2e.harness import Admin, connect, forget_everything
from tests.image.containers import Container, Image

TAG = "localhost/scheduler-service:test"
RELEASE = "0123abc"
SECRET = "planted-4f1c9e7a-secret"  # where it must not be built from
PLANTED = (".env", "dashboard/.env.production", "api/.env.local", ".sandbox/secrets.json", "dashboard/dist/old.js")

_NOT_COPIED = (".git", ".venv", ".sandbox", "node_modules", "__pycache__", ".*_cache", ".hypothesis")
_PARTS = ("postgres", *STANDINS, "postgrest", "gateway", "prefect")
_SETTINGS = {"RATE_LIMIT_PER_MINUTE": "0", "CRAWLER_TIMEOUT_SECONDS": "13", "CRAWL_SETTLE_SECONDS": "3"}
# The stack's own, on paths of this machine.
_NOT_PASSED = {"PREFECT_HOME", "WORKER_WAKE_SOCKET"}

_figures: dict[str, str] = {}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skipped unless asked for."""
    if os.environ.get("IMAGE_TEST"):
        return
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.skip(reason="builds and runs the image: make image-test"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The image's figures, which no test judges."""
    for name, figure in _figures.items():
        terminalreporter.write_line(f"{name}: {figure}")


@pytest.fixture(scope="session")
def figures() -> dict[str, str]:
    """What is to be told at the end."""
    return _figures


@pytest.fixture(scope="session")
def engine() -> Engine:
    try:
        return find_engine()
    except SandboxError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def image(engine: Engine, tmp_path_factory: pytest.TempPathFactory, figures: dict[str, str]) -> Image:
    """Built from a copy of the checkout in which secrets lie about, as on an engineer's machine."""
    context = tmp_path_factory.mktemp("image") / "context"
    shutil.copytree(REPOSITORY, context, ignore=shutil.ignore_patterns(*_NOT_COPIED))
    for name in PLANTED:
        (context / name).parent.mkdir(parents=True, exist_ok=True)
        (context / name).write_text(f"KEY={SECRET}\n")
    try:
        base = find_base(engine)
        engine.build(context, TAG, arguments={"BASE_IMAGE": base, "RELEASE": RELEASE}, pull=False)
    except SandboxError as error:
        pytest.fail(str(error), pytrace=False)
    shutil.rmtree(context)
    sizes = [engine.inspect(tag)["Size"] / 1e6 for tag in (TAG, base)]
    figures["image"] = f"{sizes[0]:.0f} MB, of which {sizes[1]:.0f} MB are the base ({base})"
    return Image(engine, TAG)


@pytest.fixture(scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """Real Postgres, PostgREST and Prefect, and the stand-ins."""
    folder = tmp_path_factory.mktemp("stack")
    async with Stack(folder, ports="free", parts=_PARTS, settings=_SETTINGS) as running:
        yield running
    shutil.rmtree(folder / "pgdata", ignore_errors=True)


@pytest.fixture(scope="session")
def environment(stack: Stack) -> Mapping[str, str]:
    """What the cluster's config map and secrets would say; the pool is the cluster's."""
    wanted = {**stack.wiring.shim_environment(), "WORK_POOL_TYPE": "kubernetes"}
    return {name: value for name, value in wanted.items() if name not in _NOT_PASSED}


@pytest.fixture(scope="session")
def deployed(image: Image, environment: Mapping[str, str]) -> str:
    """The pool and the deployments, registered from the image."""
    return image.run("python", "-m", "deployments", "apply", environment=environment)


Start = Callable[..., Awaitable[Container]]


@pytest.fixture
async def start(image: Image, environment: Mapping[str, str]) -> AsyncIterator[Start]:
    """Starts containers that are gone after the test."""
    started: list[Container] = []

    async def begin(*command: str, **more: str) -> Container:
        container = await image.start(*command, environment={**environment, **more})
        started.append(container)
        return container

    yield begin
    for container in started:
        await container.remove()


@pytest.fixture
async def admin(stack: Stack, deployed: str) -> AsyncIterator[Admin]:
    """An admin of the shim that a test starts; nothing is left of the test when its containers are gone."""
    connection = await connect(stack)
    headers = {"Authorization": f"Bearer {stack.token()}"}
    try:
        async with httpx.AsyncClient(
            base_url=stack.wiring.url("shim"), headers=headers, trust_env=False, timeout=20
        ) as http:
            admin = Admin(stack, http, connection)
            yield admin
            await admin.fault("crawler", None)
            await forget_everything(stack)
    finally:
        await connection.close()
