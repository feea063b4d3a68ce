"""Settings of the shim, from the environment; together with those of `flows.core.settings`.

A secret that is a placeholder is refused at start: it would be found out at the first request otherwise.
"""

from __future__ import annotations

import hashlib
import hmac
from functools import lru_cache
from typing import Annotated, Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import NoDecode

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


def _split(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


CommaList = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]


class ShimSettings(Settings):
    host: str = Field("0.0.0.0", description="Address the shim listens on")  # noqa: S104  # a container's port
    port: int = Field(8080, ge=0, le=65535, description="Port the shim listens on")
    log_level: str = Field("INFO", description="Least severity that is logged")
    docs_enabled: bool = Field(default=True, description="Whether /docs and /openapi.json are served")

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
        return SecretStr(pem)

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
        return tuple(origin.rstrip("/") for origin in value)

    @property
    def ui_url(self) -> str:
        """Base URL of Prefect's UI."""
        return (self.prefect_ui_url or self.prefect_api_url.rstrip("/").removesuffix("/api")).rstrip("/")

    @property
    def jwks_url(self) -> str:
        """Where Clerk's signing keys are."""
        return self.clerk_jwks_url or f"{self.clerk_issuer.rstrip('/')}/.well-known/jwks.json"

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
