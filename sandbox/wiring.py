"""Which address, key and environment every part gets: all that the parts must agree on, in one place.

A preset DATABASE_URL, SUPABASE_URL, PREFECT_API_URL, CLERK_API_URL or *_SERVICE_URL replaces our part.
"""

import base64
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

from sandbox import postgrest
from sandbox.addresses import check_address, with_login, without_password
from sandbox.errors import SandboxError
from sandbox.ports import FIXED, HOST, free_ports
from sandbox.process import MARKER
from sandbox.state import Secrets, StateFolder

WORK_POOL = "stumbleable"
WORKER_NAME = "sandbox"
# Ours, and Prefect's own; both serve the pool of the same name.
WORKER_TYPES = ("forkserver", "process")
SERVICES = ("discovery", "user", "crawler", "email")

# Which of the caller's variables replaces which parts.
REPLACES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "DATABASE_URL": ("postgres",),
        "SUPABASE_URL": ("postgrest", "gateway"),
        "PREFECT_API_URL": ("prefect",),
        "CLERK_API_URL": ("clerk",),
        **{f"{service.upper()}_SERVICE_URL": (service,) for service in SERVICES},
    }
)
_COMPANIONS = (
    "SUPABASE_SERVICE_KEY",
    "PREFECT_API_AUTH_STRING",
    "CLERK_SECRET_KEY",
    "CLERK_ISSUER",
    "CLERK_JWKS_URL",
    "CLERK_PUBLISHABLE_KEY",
    "SERVICE_TOKEN",
)
# What the caller's shell says about these is either a preset, which the wiring hands on, or about something else.
_NOT_INHERITED = ("PREFECT_", "SUPABASE_", "CLERK_", "PGRST_", "PG", "SANDBOX_")
_NOT_INHERITED_NAMES = {"DATABASE_URL", "HOST", "PORT", "WORK_POOL", "SERVICE_TOKEN", "PYTHONDONTWRITEBYTECODE"}


def presets_of(environment: Mapping[str, str]) -> dict[str, str]:
    """The caller's variables that replace parts of ours, and the keys that go with them."""
    wanted = (*REPLACES, *_COMPANIONS)
    return {name: environment[name] for name in wanted if environment.get(name)}


@dataclass(frozen=True, repr=False)
class Wiring:
    state: StateFolder
    secrets: Secrets
    ports: Mapping[str, int]
    presets: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    """Of flows, shim and stand-ins: environment variables that a test wants other than by default."""
    schedules: bool = False
    worker_type: str = "forkserver"

    def __post_init__(self) -> None:
        if self.worker_type not in WORKER_TYPES:
            raise SandboxError(f"WORKER is {self.worker_type!r}; it can be {' or '.join(WORKER_TYPES)}.")
        missing = {
            "SUPABASE_URL": ("DATABASE_URL", "SUPABASE_SERVICE_KEY"),
            "CLERK_API_URL": ("CLERK_SECRET_KEY", "CLERK_ISSUER"),
        }
        for name, companions in missing.items():
            for companion in companions:
                if name in self.presets and companion not in self.presets:
                    raise SandboxError(f"{name} is set, so {companion} of the same project must be set as well.")
        for name in REPLACES.keys() & self.presets.keys():
            check_address(name, self.presets[name])

    @cached_property
    def replaced(self) -> dict[str, str]:
        """Part to the name of the variable that replaces it."""
        return {part: name for name, parts in REPLACES.items() if name in self.presets for part in parts}

    def url(self, part: str) -> str:
        """Where the part answers; for `postgres` without the password, for `worker` the pool it polls."""
        if part == "worker":
            return f"pool {WORK_POOL} ({self.worker_type})"
        if part == "postgres":
            return without_password(self.database_url)
        if part in self.replaced and part != "postgrest":
            return self.presets[self.replaced[part]].rstrip("/")
        base = f"http://{HOST}:{self.ports[part]}"
        return f"{base}/api" if part == "prefect" else base

    @cached_property
    def database_url(self) -> str:
        """The site's database, as the role that owns the tables."""
        return self.presets.get("DATABASE_URL") or self._postgres_url(
            "postgres", self.secrets.database_password, "site"
        )

    @cached_property
    def owner_url(self) -> str:
        """The cluster's superuser, without a database's name. Only for a cluster of ours."""
        return self._postgres_url("supabase_admin", self.secrets.database_owner_password, "").rstrip("/")

    @cached_property
    def api_database_url(self) -> str:
        """The site's database as PostgREST's login role."""
        return with_login(self.database_url, "authenticator", self.secrets.authenticator_password)

    @cached_property
    def prefect_database_url(self) -> str:
        parts = urlsplit(self.database_url)
        return urlunsplit(parts._replace(scheme="postgresql+asyncpg", path="/prefect"))

    @cached_property
    def supabase_url(self) -> str:
        return self.url("gateway")

    @cached_property
    def service_key(self) -> str:
        return self.presets.get("SUPABASE_SERVICE_KEY") or postgrest.service_key(self.secrets.jwt_secret)

    @cached_property
    def prefect_auth_string(self) -> str:
        if "prefect" in self.replaced:
            return self.presets.get("PREFECT_API_AUTH_STRING", "")
        return f"admin:{self.secrets.prefect_password}"

    @cached_property
    def prefect_headers(self) -> dict[str, str]:
        if not self.prefect_auth_string:
            return {}
        return {"Authorization": f"Basic {base64.b64encode(self.prefect_auth_string.encode()).decode()}"}

    @cached_property
    def prefect_ui_url(self) -> str:
        return self.url("prefect").removesuffix("/api")

    @cached_property
    def clerk_secret_key(self) -> str:
        return self.presets.get("CLERK_SECRET_KEY") or self.secrets.clerk_secret_key

    @cached_property
    def clerk_issuer(self) -> str:
        return self.presets.get("CLERK_ISSUER") or self.url("clerk")

    @cached_property
    def origins(self) -> tuple[str, ...]:
        """The pages that may call the shim, and that people sign in on.

        Its own, under both its names; a portal's; and the dashboard's as Vite serves it to those who work on it.
        """
        port = self.ports["shim"]
        return f"http://localhost:{port}", f"http://{HOST}:{port}", "http://localhost:3000", f"http://{HOST}:5173"

    @cached_property
    def dashboard_url(self) -> str:
        return f"{self.origins[0]}/admin"

    @cached_property
    def sign_in_url(self) -> str:
        """Where the dashboard's people sign in; empty where another Clerk stands behind the tokens."""
        return "" if "clerk" in self.replaced else f"{self.url('clerk')}/sign-in"

    def base_environment(self) -> dict[str, str]:
        """The caller's environment without what would steer a part past us."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(_NOT_INHERITED)
            and name not in _NOT_INHERITED_NAMES
            and not name.endswith("_SERVICE_URL")
        }
        spared = ",".join(filter(None, (kept.get("no_proxy") or kept.get("NO_PROXY"), "127.0.0.1,localhost")))
        # A flow run's command is `python ...`: it must be this one.
        path = os.pathsep.join((str(Path(sys.executable).parent), kept.get("PATH", os.defpath)))
        return kept | {
            "PATH": path,
            "TMPDIR": str(self.state.temporary),
            MARKER: self.state.marker,
            "NO_PROXY": spared,
            "no_proxy": spared,
            # As in the image: time zones come from the tzdata package, whose list costs Prefect next to nothing.
            "PYTHONTZPATH": "",
            "PYTHONUNBUFFERED": "1",
            "DO_NOT_TRACK": "1",
        }

    def standin_environment(self) -> dict[str, str]:
        return {
            "DATABASE_URL": self.database_url,
            "SANDBOX_STATE_DIR": str(self.state.keys),
            "CLERK_SECRET_KEY": self.clerk_secret_key,
            "CLERK_ISSUER": self.clerk_issuer,
            "SIGN_IN_ORIGINS": ",".join(self.origins),
            "SITE_URL": self.url("site"),
            **self.settings,
        }

    def prefect_client_environment(self) -> dict[str, str]:
        auth = {"PREFECT_API_AUTH_STRING": self.prefect_auth_string} if self.prefect_auth_string else {}
        return {
            "PREFECT_HOME": str(self.state.path / "prefect"),
            "PREFECT_API_URL": self.url("prefect"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_CLI_PROMPT": "false",
            "PREFECT_LOGGING_COLORS": "false",
            "WORK_POOL": WORK_POOL,
            **auth,
        }

    def flow_environment(self) -> dict[str, str]:
        """What a flow run needs; the worker hands its own environment on."""
        return {
            "SUPABASE_URL": self.supabase_url,
            "SUPABASE_SERVICE_KEY": self.service_key,
            **{f"{service.upper()}_SERVICE_URL": self.url(service) for service in SERVICES},
            **{name: self.presets[name] for name in ("SERVICE_TOKEN",) if name in self.presets},
            **self.prefect_client_environment(),
            **self.settings,
        }

    @cached_property
    def wake_socket(self) -> str:
        """Where the worker hears that a run is due; a socket's path has room for 107 bytes."""
        path = str(self.state.temporary / "wake.sock")
        return path if len(path.encode()) < 100 else f"{tempfile.gettempdir()}/sandbox-{self.state.marker}.sock"  # noqa: PLR2004

    def shim_environment(self) -> dict[str, str]:
        return self.flow_environment() | {
            "WORKER_WAKE_SOCKET": self.wake_socket,
            "HOST": HOST,
            "PORT": str(self.ports["shim"]),
            "DOCS_ENABLED": "true",
            "PREFECT_UI_URL": self.prefect_ui_url,
            "CLERK_API_URL": self.url("clerk"),
            "CLERK_ISSUER": self.clerk_issuer,
            "CLERK_JWKS_URL": self.presets.get("CLERK_JWKS_URL") or f"{self.clerk_issuer}/.well-known/jwks.json",
            "CLERK_SECRET_KEY": self.clerk_secret_key,
            "CLERK_PUBLISHABLE_KEY": "" if self.sign_in_url else self.presets.get("CLERK_PUBLISHABLE_KEY", ""),
            "DASHBOARD_SIGN_IN_URL": self.sign_in_url,
            "ALLOWED_ORIGINS": ",".join(self.origins),
            "CURSOR_SECRET": self.secrets.cursor_secret,
            # With these the shim registers the deployments again after Prefect has lost them.
            **self.deployment_environment(),
        }

    def deployment_environment(self) -> dict[str, str]:
        """What `python -m deployments apply` needs to know of this stack."""
        return {"WORK_POOL_TYPE": self.worker_type, "SCHEDULES_PAUSED": "" if self.schedules else "1"}

    def _postgres_url(self, user: str, password: str, database: str) -> str:
        return f"postgresql://{user}:{password}@{HOST}:{self.ports['postgres']}/{database}"


def make_wiring(
    state: StateFolder,
    *,
    ports: Literal["fixed", "free"],
    presets: Mapping[str, str],
    settings: Mapping[str, str],
    schedules: bool,
    worker_type: str,
) -> Wiring:
    numbers = dict(FIXED) if ports == "fixed" else free_ports(FIXED)
    return Wiring(state, state.secrets(), numbers, presets, settings, schedules, worker_type)
