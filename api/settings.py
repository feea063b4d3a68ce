"""Settings of the shim, from the environment; together with those of `flows.core.settings`.

A secret that is a placeholder is refused at start: it would be found out at the first request otherwise.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pydantic import BeforeValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from api import machine_keys, sign_in
from flows.core.domain import JobType
from flows.core.settings import Settings

_PLACEHOLDERS = (
    "changeme",
    "change-me",
    "change_me",
    "placeholder",
    "replace",
    "your-",
    "your_",
    "<",
    "xxx",
    "todo",
    "example",
)
_ADDRESS = re.compile(r"https?://(?:[\w.-]+|\[[0-9A-Fa-f:]+\])(?::\d{1,5})?(?:/[^\s?#]*)?", re.ASCII)
_ORIGIN = re.compile(r"https?://(?:[a-z0-9.-]+|\[[0-9a-f:]+\])(?::\d{1,5})?")
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_SHORTEST_KEY_BITS = 2048


def _split(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


CommaList = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]


class ShimSettings(Settings):
    host: str = Field("0.0.0.0", description="Address the shim listens on")  # noqa: S104  # a container's port
    port: int = Field(8080, ge=0, le=65535, description="Port the shim listens on")
    log_level: str = Field("INFO", description="Least severity that is logged")
    docs_enabled: bool = Field(default=False, description="Whether /docs and /openapi.json are served, to everybody")

    prefect_api_url: str = Field(min_length=1, description="Base URL of the Prefect API, ending in /api")
    prefect_api_auth_string: SecretStr | None = Field(None, description="user:password of the Prefect API")
    prefect_ui_url: str = Field("", description="Base URL of Prefect's UI for people; default: the API's without /api")

    clerk_secret_key: SecretStr = Field(min_length=8, description="Key of Clerk's backend API")
    clerk_issuer: str = Field(min_length=1, description="`iss` of Clerk's session tokens, exactly")
    clerk_api_url: str = Field("https://api.clerk.com", description="Base URL of Clerk's backend API")
    clerk_jwks_url: str = Field("", description="Where the signing keys are; default: <issuer>/.well-known/jwks.json")
    clerk_jwt_key: SecretStr | None = Field(None, description="PEM of the signing key; no JWKS is fetched then")
    clerk_authorized_parties: CommaList = Field(
        (), description="Origins a token's `azp` may name; default: ALLOWED_ORIGINS"
    )
    allowed_origins: CommaList = Field((), description="Origins whose pages may call the API (CORS), exactly")

    cursor_secret: SecretStr | None = Field(
        None, description="Signs page cursors; default: derived from the service key"
    )
    sweep_seconds: float = Field(2.0, ge=0.1, le=10, description="How often dispatch and leases are looked after")
    recovery_off: CommaList = Field((), description="Job types that are not tried again after they died")
    user_service_timeout_seconds: float = Field(2.0, ge=0.1, le=2, description="Longest wait for a user's internal id")
    schedules_paused: bool = Field(
        default=False,
        description="Whether prefect.yaml's schedules are switched off here, as `deployments apply` reads it",
    )
    clerk_publishable_key: str = Field("", description="Clerk's public key of the dashboard's sign-in; it is no secret")
    dashboard_dir: Path = Field(
        Path(__file__).parents[1] / "dashboard" / "dist", description="Where the built dashboard is, served at /admin"
    )
    dashboard_sign_in_url: str = Field(
        "", description="The sandbox's sign-in, on this machine, instead of Clerk's; never set in production"
    )
    release: str = Field("development", max_length=100, description="What this image was built from: commit or tag")

    rate_limit_per_minute: int = Field(
        120, ge=0, le=100_000, description="Changes an admin or a script may ask for in a minute; 0: no limit"
    )
    rate_limit_burst: int = Field(60, ge=1, le=100_000, description="Changes that may come at once")
    machine_keys: SecretStr = Field(
        SecretStr(""), description="name:sha256,... of the keys scripts trigger and read with; empty: no script may"
    )
    hsts_seconds: int = Field(
        0, ge=0, le=63_072_000, description="max-age of Strict-Transport-Security; 0: not sent, TLS ends elsewhere"
    )
    most_streams: int = Field(1000, ge=1, le=10_000, description="Event streams that a process keeps open at most")

    @field_validator(
        "supabase_service_key", "clerk_secret_key", "clerk_jwt_key", "cursor_secret", "prefect_api_auth_string"
    )
    @classmethod
    def _no_placeholder(cls, value: SecretStr | None) -> SecretStr | None:
        text = value.get_secret_value().lower() if value else ""
        if any(text.startswith(word) or text.endswith(word) for word in _PLACEHOLDERS):
            raise ValueError("is a placeholder, not a secret")
        return value or None

    @field_validator("clerk_jwt_key")
    @classmethod
    def _public_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        # One line with \n in it is how a PEM travels in an environment variable.
        pem = value.get_secret_value().replace("\\n", "\n")
        try:
            key = load_pem_public_key(pem.encode())
        except ValueError as error:
            raise ValueError("is not a PEM of an RSA public key") from error
        if not isinstance(key, RSAPublicKey):
            raise ValueError("is not a PEM of an RSA public key")  # noqa: TRY004  # pydantic wants a ValueError
        if key.key_size < _SHORTEST_KEY_BITS:
            raise ValueError(f"is a key of fewer than {_SHORTEST_KEY_BITS} bits")
        return SecretStr(pem)

    @field_validator("schedules_paused", mode="before")
    @classmethod
    def _empty_is_off(cls, value: Any) -> Any:
        return False if value == "" else value

    @field_validator(
        "supabase_url",
        "user_service_url",
        "prefect_api_url",
        "prefect_ui_url",
        "clerk_issuer",
        "clerk_api_url",
        "clerk_jwks_url",
    )
    @classmethod
    def _address(cls, value: str) -> str:
        if value and not _ADDRESS.fullmatch(value):
            raise ValueError("is not an address like https://host:port/path, without credentials or a query")
        return value

    @field_validator("clerk_publishable_key")
    @classmethod
    def _publishable_key(cls, value: str) -> str:
        if value and not sign_in.frontend_host(value):
            raise ValueError("is not a publishable key as Clerk shows it, like pk_live_...")
        return value

    @field_validator("dashboard_sign_in_url")
    @classmethod
    def _of_the_sandbox(cls, value: str, info: ValidationInfo) -> str:
        if value and not sign_in.is_of_this_machine(value):
            raise ValueError("takes an address of this machine, like http://127.0.0.1:7010/sign-in")
        if value and info.data.get("clerk_publishable_key"):
            raise ValueError("cannot be set beside CLERK_PUBLISHABLE_KEY: people sign in at one place")
        return value.rstrip("/")

    @field_validator("log_level")
    @classmethod
    def _level(cls, value: str) -> str:
        if value.upper() not in _LEVELS:
            raise ValueError(f"is none of {', '.join(_LEVELS)}")
        return value.upper()

    @field_validator("machine_keys")
    @classmethod
    def _machine_keys(cls, value: SecretStr) -> SecretStr:
        machine_keys.parse(value.get_secret_value())
        return value

    @field_validator("recovery_off")
    @classmethod
    def _job_types(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = sorted(set(value) - {job_type.value for job_type in JobType})
        if unknown:
            raise ValueError(f"names unknown job types {', '.join(unknown)}; valid are {', '.join(JobType)}")
        return value

    @field_validator("allowed_origins")
    @classmethod
    def _exact_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "*" in value:
            raise ValueError("takes exact origins; * would let every page on the web call the API")
        origins = tuple(origin.rstrip("/") for origin in value)
        if not all(_ORIGIN.fullmatch(origin) for origin in origins):
            raise ValueError("takes exact origins as browsers send them, like https://admin.example.com: no path")
        return origins

    @property
    def machine_key_digests(self) -> dict[str, str]:
        """SHA-256 of each script's key, by the script's name."""
        return machine_keys.parse(self.machine_keys.get_secret_value())

    @property
    def ui_url(self) -> str:
        """Base URL of Prefect's UI."""
        return (self.prefect_ui_url or self.prefect_api_url.rstrip("/").removesuffix("/api")).rstrip("/")

    @property
    def jwks_url(self) -> str:
        """Where Clerk's signing keys are."""
        return self.clerk_jwks_url or f"{self.clerk_issuer.rstrip('/')}/.well-known/jwks.json"

    @property
    def clerk_frontend(self) -> str:
        """Origin that Clerk's script for browsers comes from and speaks to; empty without a publishable key."""
        host = sign_in.frontend_host(self.clerk_publishable_key)
        return f"https://{host}" if host else ""

    @property
    def authorized_parties(self) -> tuple[str, ...]:
        """The origins that a token's `azp` may name."""
        return self.clerk_authorized_parties or self.allowed_origins

    @property
    def cursor_key(self) -> str:
        """What signs page cursors: the same in every replica, also where nobody has set it."""
        if self.cursor_secret is not None:
            return self.cursor_secret.get_secret_value()
        key = self.supabase_service_key.get_secret_value().encode()
        return hmac.digest(key, b"page cursors", hashlib.sha256).hex()


@lru_cache
def shim_settings() -> ShimSettings:
    """The process's settings, read once. Raises pydantic's ValidationError."""
    return ShimSettings()  # the environment fills it


def explain(error: ValidationError) -> str:
    """What is wrong with the environment, one sentence a variable; never a value, which may be a secret."""
    return "\n".join(
        _sentence(str(problem["loc"][0]) if problem["loc"] else "settings", problem) for problem in error.errors()
    )


def _sentence(name: str, problem: Any) -> str:
    field = ShimSettings.model_fields.get(name)
    meaning = f" ({field.description})" if field and field.description else ""
    if problem["type"] == "missing":
        return f"{name.upper()} is not set{meaning}."
    return f"{name.upper()} {problem['msg'].removeprefix('Value error, ')}{meaning}."
