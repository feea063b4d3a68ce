"""What the shim refuses to start with, and what it says about it: the variable and the reason, never the value."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import ValidationError

from api.settings import ShimSettings, explain
from tests.api.conftest import MakeShim
from tests.api.fakes import PUBLISHABLE_KEY

SECRET = "hunter2hunter2hunter2"


def short_pem() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key()
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


REFUSED: list[tuple[dict[str, Any], str]] = [
    # addresses
    ({"prefect_api_url": "prefect:4200/api"}, "PREFECT_API_URL is not an address like https://host:port/path"),
    ({"supabase_url": "postgresql://host/db"}, "SUPABASE_URL is not an address"),
    ({"supabase_url": f"https://user:{SECRET}@host"}, "SUPABASE_URL is not an address"),
    ({"clerk_issuer": "clerk.example.com"}, "CLERK_ISSUER is not an address"),
    ({"clerk_issuer": ""}, "CLERK_ISSUER"),
    ({"clerk_api_url": "file:///etc/passwd"}, "CLERK_API_URL is not an address"),
    ({"clerk_jwks_url": "https://host/keys?x=1"}, "CLERK_JWKS_URL is not an address"),
    ({"user_service_url": "https://"}, "USER_SERVICE_URL is not an address"),
    ({"prefect_ui_url": "javascript:alert(1)"}, "PREFECT_UI_URL is not an address"),
    # origins
    ({"allowed_origins": "https://admin.test/admin"}, "ALLOWED_ORIGINS takes exact origins as browsers send them"),
    ({"allowed_origins": "admin.test"}, "ALLOWED_ORIGINS takes exact origins"),
    ({"allowed_origins": "null"}, "ALLOWED_ORIGINS takes exact origins"),
    ({"allowed_origins": "https://Admin.test"}, "ALLOWED_ORIGINS takes exact origins"),
    ({"allowed_origins": "https://*.test"}, "ALLOWED_ORIGINS takes exact origins"),
    ({"allowed_origins": "https://a.test https://b.test"}, "ALLOWED_ORIGINS takes exact origins"),
    # the dashboard's sign-in
    ({"clerk_publishable_key": "sk_live_Y2xlcmsudGVzdCQ"}, "CLERK_PUBLISHABLE_KEY is not a publishable key"),
    ({"clerk_publishable_key": "pk_live_"}, "CLERK_PUBLISHABLE_KEY is not a publishable key"),
    ({"clerk_publishable_key": "pk_live_Y2xlcmsudGVzdA"}, "CLERK_PUBLISHABLE_KEY is not a publishable key"),  # no $
    # base64 of "clerk.test; script-src *$"
    ({"clerk_publishable_key": "pk_live_Y2xlcmsudGVzdDsgc2NyaXB0LXNyYyAqJA"}, "CLERK_PUBLISHABLE_KEY is not a"),
    ({"dashboard_sign_in_url": "https://sign-in.test"}, "DASHBOARD_SIGN_IN_URL takes an address of this machine"),
    ({"dashboard_sign_in_url": "http://localhost.evil.test"}, "DASHBOARD_SIGN_IN_URL takes an address of this machine"),
    ({"dashboard_sign_in_url": "http://127.0.0.1@evil.test"}, "DASHBOARD_SIGN_IN_URL takes an address of this machine"),
    ({"dashboard_sign_in_url": "http://localhost/; script-src *"}, "DASHBOARD_SIGN_IN_URL takes an address of this"),
    (
        {"clerk_publishable_key": PUBLISHABLE_KEY, "dashboard_sign_in_url": "http://127.0.0.1:7010/sign-in"},
        "DASHBOARD_SIGN_IN_URL cannot be set beside CLERK_PUBLISHABLE_KEY",
    ),
    # secrets
    ({"clerk_secret_key": "sk"}, "CLERK_SECRET_KEY"),
    ({"cursor_secret": "changeme"}, "CURSOR_SECRET is a placeholder"),
    ({"clerk_jwt_key": SECRET}, "CLERK_JWT_KEY is not a PEM of an RSA public key"),
    ({"clerk_jwt_key": short_pem()}, "CLERK_JWT_KEY is a key of fewer than 2048 bits"),
    ({"machine_keys": f"report:{SECRET}"}, "MACHINE_KEYS entry 1 does not hold the SHA-256 of a key"),
    # figures
    ({"rate_limit_per_minute": "-1"}, "RATE_LIMIT_PER_MINUTE Input should be greater than or equal to 0"),
    ({"rate_limit_burst": "0"}, "RATE_LIMIT_BURST Input should be greater than or equal to 1"),
    ({"hsts_seconds": "a year"}, "HSTS_SECONDS Input should be a valid integer"),
    ({"log_level": "LOUD"}, "LOG_LEVEL is none of DEBUG, INFO, WARNING, ERROR, CRITICAL"),
    ({"docs_enabled": "perhaps"}, "DOCS_ENABLED Input should be a valid boolean"),
]


@pytest.mark.parametrize(("changed", "sentence"), REFUSED)
def test_what_is_wrong_is_told(environment: None, changed: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ShimSettings(**changed)
    told = explain(caught.value)
    assert told.startswith(sentence)
    assert told.endswith(".")
    assert "\n" not in told
    assert SECRET not in told


@pytest.mark.parametrize(
    "changed",
    [
        {"allowed_origins": "https://admin.test/,http://localhost:3000,http://[::1]:8080"},
        {"log_level": "debug"},
        {"clerk_issuer": "https://clerk.test", "supabase_url": "http://127.0.0.1:54321"},
        {"prefect_api_url": "http://prefect_server.ns:4200/api/"},
        {"dashboard_sign_in_url": "http://[::1]:7010/sign-in/"},
    ],
)
def test_what_is_right_is_taken(environment: None, changed: dict[str, Any]) -> None:
    assert ShimSettings(**changed)


def test_no_secret_is_shown_by_the_settings(environment: None) -> None:
    settings = ShimSettings(clerk_secret_key=SECRET, cursor_secret=SECRET, prefect_api_auth_string=f"admin:{SECRET}")
    assert SECRET not in repr(settings)
    assert SECRET not in settings.model_dump_json()


async def test_the_docs_are_off_unless_they_are_switched_on(
    make_shim: MakeShim, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = ("/docs", "/openapi.json", "/redoc", "/docs/oauth2-redirect", "/static-offline-docs/swagger-ui.css")
    monkeypatch.delenv("DOCS_ENABLED")
    async with make_shim() as shim:
        for path in paths:
            assert (await shim.http.get(path)).status_code == 404
            assert (await shim.get(path)).status_code == 404
    async with make_shim(docs_enabled=True) as shim:
        assert [(await shim.http.get(path)).status_code for path in paths[:2]] == [200, 200]
