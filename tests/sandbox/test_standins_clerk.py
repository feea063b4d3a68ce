"""Clerk's stand-in, the session tokens signed with its keys, and the user service that accepts them."""

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from sandbox import seed
from sandbox.standins import tokens
from sandbox.standins.limits import RateLimit
from sandbox.standins.people import ADMIN, PLAIN_USER
from tests.sandbox import standins_database
from tests.sandbox.standin_process import running

site_database = standins_database.site_database

SECRET_KEY = "sk_test_for_the_sandbox"  # made up
ISSUER = "http://clerk.example"
WITH_KEY = {"authorization": f"Bearer {SECRET_KEY}"}


@pytest.fixture(scope="module")
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="module")
def clerk(state_dir: Path) -> Iterator[httpx.Client]:
    with (
        running("clerk", SANDBOX_STATE_DIR=str(state_dir), CLERK_SECRET_KEY=SECRET_KEY) as service,
        httpx.Client(base_url=service.url, trust_env=False) as client,
    ):
        yield client


def verified(token: str, jwks: dict[str, Any], **options: Any) -> dict[str, Any]:
    """What a service learns from a token with nothing but PyJWT and the published keys."""
    kid = jwt.get_unverified_header(token)["kid"]
    key = next(jwt.PyJWK(published) for published in jwks["keys"] if published["kid"] == kid)
    claims: dict[str, Any] = jwt.decode(token, key, algorithms=["RS256"], issuer=ISSUER, **options)
    return claims


def test_keys_are_open_at_the_issuer_and_need_the_secret_key_at_the_api(clerk: httpx.Client) -> None:
    published = clerk.get("/.well-known/jwks.json").json()
    assert clerk.get("/v1/jwks", headers=WITH_KEY).json() == published
    assert published["keys"][0].keys() == {"use", "kty", "kid", "alg", "n", "e"}


@pytest.mark.parametrize("path", ["/v1/jwks", f"/v1/users/{ADMIN.clerk_user_id}"])
@pytest.mark.parametrize("authorization", [None, "Bearer wrong", f"Basic {SECRET_KEY}", "Bearer é"])
def test_the_api_refuses_without_the_secret_key(clerk: httpx.Client, path: str, authorization: str | None) -> None:
    headers = {b"authorization": authorization.encode()} if authorization else {}
    answer = clerk.get(path, headers=headers)
    assert answer.status_code == 401
    assert answer.json()["errors"][0].keys() == {"code", "message", "long_message"}


def test_users_tell_who_is_an_admin(clerk: httpx.Client) -> None:
    admin = clerk.get(f"/v1/users/{ADMIN.clerk_user_id}", headers=WITH_KEY).json()
    plain = clerk.get(f"/v1/users/{PLAIN_USER.clerk_user_id}", headers=WITH_KEY).json()
    assert (admin["id"], admin["public_metadata"]) == (ADMIN.clerk_user_id, {"role": "admin"})
    assert (plain["id"], plain["public_metadata"]) == (PLAIN_USER.clerk_user_id, {})
    missing = clerk.get("/v1/users/user_nobody", headers=WITH_KEY)
    assert (missing.status_code, missing.json()["errors"][0]["code"]) == (404, "resource_not_found")


def test_a_users_metadata_can_be_changed(clerk: httpx.Client) -> None:
    path = f"/__users/{PLAIN_USER.clerk_user_id}"
    clerk.put(path, json={"public_metadata": {"role": "moderator"}})
    assert clerk.get(f"/v1/users/{PLAIN_USER.clerk_user_id}", headers=WITH_KEY).json()["public_metadata"] == {
        "role": "moderator"
    }
    clerk.put(path, json={"public_metadata": {}})


def test_a_session_token_verifies_with_the_published_keys(clerk: httpx.Client, state_dir: Path) -> None:
    token = tokens.session_token(
        state_dir, issuer=ISSUER, clerk_user_id=ADMIN.clerk_user_id, azp="http://localhost:3000", sts="active"
    )
    claims = verified(token, clerk.get("/.well-known/jwks.json").json())
    assert claims.keys() == {"iss", "sub", "sid", "iat", "nbf", "exp", "azp", "sts"}
    assert (claims["sub"], claims["exp"] - claims["iat"]) == (ADMIN.clerk_user_id, 60)


def test_the_keys_file_is_for_its_owner_only(clerk: httpx.Client, state_dir: Path) -> None:
    assert stat.S_IMODE((state_dir / tokens.KEYS_FILE).stat().st_mode) == 0o600
    assert [path.name for path in state_dir.iterdir()] == [tokens.KEYS_FILE]


def test_rotation_signs_with_a_new_key_and_withdraws_the_old_unless_told_to_keep_it(
    clerk: httpx.Client, state_dir: Path
) -> None:
    def kids() -> list[str]:
        return [key["kid"] for key in clerk.get("/.well-known/jwks.json").json()["keys"]]

    [first] = kids()
    second = clerk.post("/__rotate", json={"keep_previous": True}).json()["kid"]
    assert kids() == [first, second]
    third = clerk.post("/__rotate").json()["kid"]
    assert kids() == [third]
    token = tokens.session_token(state_dir, issuer=ISSUER, clerk_user_id=ADMIN.clerk_user_id)
    assert jwt.get_unverified_header(token)["kid"] == third


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"lifetime_seconds": -1}, jwt.ExpiredSignatureError),
        ({"now": 4_000_000_000.0}, jwt.ImmatureSignatureError),  # the year 2096
        ({"issuer": "http://other.example"}, jwt.InvalidIssuerError),
    ],
)
def test_wrong_claims_can_be_signed(state_dir: Path, changed: dict[str, Any], error: type[Exception]) -> None:
    token = tokens.session_token(state_dir, **{"issuer": ISSUER, "clerk_user_id": ADMIN.clerk_user_id} | changed)
    with pytest.raises(error):
        verified(token, tokens.jwks(state_dir))


def test_wrong_signatures_can_be_made(state_dir: Path) -> None:
    claims = tokens.session_claims(issuer=ISSUER, clerk_user_id=ADMIN.clerk_user_id)
    kid = tokens.signing_key(state_dir).kid
    strange_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    wrong = {
        "HS256": tokens.sign(claims, b"-----BEGIN PUBLIC KEY-----", {"kid": kid}),
        "none": tokens.sign(claims, None, {"kid": kid}),
        "RS256": tokens.sign(claims, strange_key, {"kid": kid}),
    }
    for algorithm, token in wrong.items():
        assert jwt.get_unverified_header(token)["alg"] == algorithm
        with pytest.raises(jwt.InvalidTokenError):
            verified(token, tokens.jwks(state_dir))
    assert "kid" not in jwt.get_unverified_header(tokens.sign(claims, tokens.signing_key(state_dir), {"kid": None}))


@pytest.fixture(scope="module")
async def people(site_database: str) -> str:
    connection = await asyncpg.connect(site_database)
    await seed.seed_people(connection)
    await connection.close()
    return site_database


def ask(service: str, clerk_user_id: str, token: str | None) -> httpx.Response:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return httpx.get(f"{service}/api/users/{clerk_user_id}", headers=headers, trust_env=False)


def test_user_service_answers_only_to_that_users_own_token(people: str, state_dir: Path) -> None:
    def token(clerk_user_id: str, **changed: Any) -> str:
        return tokens.session_token(state_dir, **{"issuer": ISSUER, "clerk_user_id": clerk_user_id} | changed)

    with running("user", DATABASE_URL=people, SANDBOX_STATE_DIR=str(state_dir), CLERK_ISSUER=ISSUER) as service:
        own = ask(service.url, ADMIN.clerk_user_id, token(ADMIN.clerk_user_id))
        assert own.status_code == 200
        assert own.json()["user"]["id"] == ADMIN.clerk_user_id
        assert str(ADMIN.user_id) not in own.text
        refused = {
            ask(service.url, ADMIN.clerk_user_id, None).status_code,
            ask(service.url, ADMIN.clerk_user_id, "nonsense").status_code,
            ask(service.url, ADMIN.clerk_user_id, token(ADMIN.clerk_user_id, lifetime_seconds=-9)).status_code,
            ask(service.url, ADMIN.clerk_user_id, token(ADMIN.clerk_user_id, issuer="http://x.example")).status_code,
        }
        assert refused == {401}
        assert ask(service.url, ADMIN.clerk_user_id, token(PLAIN_USER.clerk_user_id)).status_code == 403
        assert ask(service.url, "user_nobody", token("user_nobody")).status_code == 404


def test_user_service_can_answer_as_specified(people: str, state_dir: Path) -> None:
    token = tokens.session_token(state_dir, issuer=ISSUER, clerk_user_id=ADMIN.clerk_user_id)
    with running("user", DATABASE_URL=people, SANDBOX_STATE_DIR=str(state_dir), USER_ANSWERS_UUID="1") as service:
        assert ask(service.url, ADMIN.clerk_user_id, token).json()["id"] == str(ADMIN.user_id)


def test_user_service_limits_a_caller_to_100_requests_a_minute(people: str, state_dir: Path) -> None:
    with (
        running("user", DATABASE_URL=people, SANDBOX_STATE_DIR=str(state_dir)) as service,
        httpx.Client(base_url=service.url, trust_env=False) as client,
    ):
        answers = [client.get("/api/users/user_x") for _ in range(101)]
        assert [answer.status_code for answer in answers] == [401] * 100 + [429]
        assert answers[-1].headers["retry-after"] == "60"
        assert client.get("/health").status_code == 200


def test_a_refused_request_begins_the_minute_again() -> None:
    now = 0.0
    limit = RateLimit(requests=2, seconds=60, clock=lambda: now)
    assert [limit.admits("a") for _ in range(3)] == [True, True, False]
    now = 59
    assert not limit.admits("a")
    assert limit.admits("b")
    now = 118  # 118 s after the first request, but only 59 s after the last refusal
    assert not limit.admits("a")
    now = 178
    assert limit.admits("a")
