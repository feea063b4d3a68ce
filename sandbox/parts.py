"""What the stack is made of: each part's command, environment and readiness, and what it waits for."""

import shutil
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType

import asyncpg
import httpx

from sandbox import postgres, postgrest
from sandbox.errors import SandboxError
from sandbox.state import REPOSITORY
from sandbox.wiring import SERVICES, WORK_POOL, WORKER_NAME, Wiring

STANDINS = ("clerk", "site", *SERVICES)

_MEASURED_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        # By default one event is read and written at a time: 26 task runs a second, and minutes behind.
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
        "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "200",
        "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "50",
        "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_FLUSH_INTERVAL": "1",
        "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "5",
    }
)


@dataclass(frozen=True)
class Part:
    """A process of ours. `is_ready` may raise what a part that does not answer yet makes it raise."""

    name: str
    command: Callable[[], list[str]]
    environment: Mapping[str, str]
    is_ready: Callable[[datetime], Awaitable[bool]]
    needs: tuple[str, ...] = ()
    ready_seconds: float = 60
    grace_seconds: float = 3
    stop_signal: str = "SIGTERM"
    ready_words: str = ""  # what its log must say as well


@dataclass(frozen=True)
class Step:
    """Something done once between two parts; says in a few words what it did."""

    name: str
    run: Callable[[], Awaitable[str]]
    needs: tuple[str, ...] = ()


def build_parts(wiring: Wiring, http: httpx.AsyncClient) -> dict[str, Part]:
    standins = {name: _standin(name, wiring, http) for name in STANDINS}
    return {
        "postgres": _postgres(wiring),
        **standins,
        "postgrest": _postgrest(wiring, http),
        "gateway": _gateway(wiring, http),
        "prefect": _prefect(wiring, http),
        "worker": _worker(wiring, http),
        "shim": _shim(wiring, http),
    }


def _postgres(wiring: Wiring) -> Part:
    def command() -> list[str]:
        installation = postgres.find_installation(wiring.state)
        postgres.create_cluster(installation, wiring.state, wiring.secrets)
        return installation.server(wiring.ports["postgres"])

    async def is_ready(_since: datetime) -> bool:
        connection = await asyncpg.connect(f"{wiring.owner_url}/postgres", timeout=2)
        await connection.close()
        return True

    return Part("postgres", command, {}, is_ready, stop_signal="SIGINT", grace_seconds=10)


def _standin(name: str, wiring: Wiring, http: httpx.AsyncClient) -> Part:
    command = [sys.executable, "-m", "sandbox.standins", name, "--port", str(wiring.ports[name])]
    return Part(
        name,
        lambda: dying_with_us(command),
        wiring.standin_environment(),
        _answers(http, f"http://127.0.0.1:{wiring.ports[name]}/health", 200),
        needs=("roles",),
    )


def _postgrest(wiring: Wiring, http: httpx.AsyncClient) -> Part:
    environment = postgrest.environment(
        port=wiring.ports["postgrest"],
        database_url=wiring.api_database_url,
        jwt_secret=wiring.secrets.jwt_secret,
    )
    return Part(
        "postgrest",
        lambda: dying_with_us([str(postgrest.find_binary())]),
        environment,
        # Without its schema cache it answers 503 to everything.
        _answers(http, f"http://127.0.0.1:{wiring.ports['postgrest']}/", 404),
        needs=("tables",),
    )


def _gateway(wiring: Wiring, http: httpx.AsyncClient) -> Part:
    def command() -> list[str]:
        node = shutil.which("node")
        if node is None:
            raise SandboxError("node is not installed: the gateway in front of PostgREST needs Node.js 18 or newer.")
        return dying_with_us([node, str(REPOSITORY / "sandbox" / "gateway.mjs")])

    environment = {"PORT": str(wiring.ports["gateway"]), "POSTGREST_URL": wiring.url("postgrest")}
    # No key, no entry: 401 is what a gateway that works answers here, also before PostgREST does.
    return Part("gateway", command, environment, _answers(http, f"{wiring.supabase_url}/rest/v1/", 401))


def _prefect(wiring: Wiring, http: httpx.AsyncClient) -> Part:
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1"]
    environment = {
        **_MEASURED_SETTINGS,
        "PREFECT_HOME": str(wiring.state.path / "prefect"),
        "PREFECT_API_DATABASE_CONNECTION_URL": wiring.prefect_database_url,
        "PREFECT_SERVER_API_AUTH_STRING": wiring.prefect_auth_string,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_CLI_PROMPT": "false",
        "PREFECT_LOGGING_COLORS": "false",
        # The worker's and the flows' heartbeats fill the log otherwise.
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    }
    return Part(
        "prefect",
        lambda: dying_with_us([*command, "--port", str(wiring.ports["prefect"])]),
        environment,
        _answers(http, f"{wiring.url('prefect')}/ready", 200),
        needs=("roles",),
        ready_seconds=120,
    )


def _worker(wiring: Wiring, http: httpx.AsyncClient) -> Part:
    commands = {
        "forkserver": (sys.executable, "-m", "worker", "--name", WORKER_NAME),
        "process": (
            *(sys.executable, "-m", "prefect", "worker", "start", "--pool", WORK_POOL, "--type", "process"),
            *("--name", WORKER_NAME, "--install-policy", "never", "--no-create-pool-if-not-found"),
        ),
    }
    command = [*commands[wiring.worker_type]]
    environment = wiring.flow_environment() | {
        "WORKER_WAKE_SOCKET": wiring.wake_socket,
        # Somebody waits at the terminal: runs are told to end at once instead of being waited for.
        "WORKER_DRAIN_SECONDS": "0.5",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_WORKER_PREFETCH_SECONDS": "1",
        "PREFECT_WORKER_HEARTBEAT_SECONDS": "10",
    }
    workers = f"{wiring.url('prefect')}/work_pools/{WORK_POOL}/workers/filter"

    async def is_ready(since: datetime) -> bool:
        answer = await http.post(workers, json={}, headers=wiring.prefect_headers)
        seen = [worker["last_heartbeat_time"] for worker in answer.json() if worker["name"] == WORKER_NAME]
        return any(datetime.fromisoformat(time) >= since for time in seen)

    return Part("worker", lambda: dying_with_us(command), environment, is_ready, needs=("work pool",), grace_seconds=12)


def _shim(wiring: Wiring, http: httpx.AsyncClient) -> Part:
    return Part(
        "shim",
        lambda: dying_with_us([sys.executable, "-m", "api"]),
        wiring.shim_environment(),
        _answers(http, f"{wiring.url('shim')}/health", 200),
        needs=("postgrest", "gateway", "clerk"),
        ready_words="Server listening on",
    )


def dying_with_us(command: list[str]) -> list[str]:
    """The command, with SIGTERM to it when the supervisor dies, however it dies."""
    return ["setpriv", "--pdeathsig", "TERM", "--", *command]


def _answers(http: httpx.AsyncClient, url: str, status: int) -> Callable[[datetime], Awaitable[bool]]:
    async def is_ready(_since: datetime) -> bool:
        return (await http.get(url)).status_code == status

    return is_ready


def now() -> datetime:
    return datetime.now(UTC)
