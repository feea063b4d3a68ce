"""Every route of the API against every kind of token: the same row of cases, the exact answer, and no side effect."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.api.conftest import MakeShim, Shim
from tests.api.fakes import ADMIN, KID, ORIGIN, PLAIN, Tokens
from tests.conftest import Connection

JOB = "5f0c2b1e-0000-4000-8000-000000000001"
ROUTES = [
    ("POST", "/api/jobs/trigger", 202),
    ("GET", "/api/jobs", 200),
    ("GET", f"/api/jobs/{JOB}", 404),
    ("POST", f"/api/jobs/{JOB}/cancel", 404),
    ("POST", f"/api/jobs/{JOB}/retry", 404),
    ("GET", f"/api/jobs/{JOB}/explain", 404),
    ("GET", "/api/maintenance", 200),
    ("PUT", "/api/maintenance", 200),
]
BODIES = {
    ("POST", "/api/jobs/trigger"): {"jobType": "crawl_pending"},
    ("PUT", "/api/maintenance"): {"paused": False},
}

MISSING = (401, "MISSING_AUTHORIZATION", "Missing authorization")
INVALID = (401, "INVALID_TOKEN", "Invalid or expired token")
FORBIDDEN = (403, "ADMIN_REQUIRED", "Admin access required")


def now() -> int:
    return int(time.time())


# Each takes the tokens and gives the value of the Authorization header.
CASES: dict[str, tuple[Callable[[Tokens], str | None], tuple[int, str, str]]] = {
    "no header": (lambda _: None, MISSING),
    "another scheme": (lambda _: "Basic dXNlcjpwYXNz", INVALID),
    "a scheme without a token": (lambda _: "Bearer", INVALID),
    "garbage": (lambda _: "Bearer garbage", INVALID),
    "garbage in three parts": (lambda _: "Bearer a.b.c", INVALID),
    "a header nested deeper than a parser goes": (lambda _: f"Bearer {'W1tb' * 3900}.e30.e30", INVALID),
    "a token as long as a book": (lambda t: f"Bearer {t.sign(padding='x' * 20_000)}", INVALID),
    "expired": (lambda t: f"Bearer {t.sign(exp=now() - 10)}", INVALID),
    "not valid yet": (lambda t: f"Bearer {t.sign(nbf=now() + 30)}", INVALID),
    "without exp": (lambda t: f"Bearer {t.sign(exp=None)}", INVALID),
    "without nbf": (lambda t: f"Bearer {t.sign(nbf=None)}", INVALID),
    "without sub": (lambda t: f"Bearer {t.sign(sub=None)}", INVALID),
    "a sub that is a path": (lambda t: f"Bearer {t.sign(sub='../v1/users/user_admin')}", INVALID),
    "wrong issuer": (lambda t: f"Bearer {t.sign(iss='https://evil.test')}", INVALID),
    "issuer with a slash more": (lambda t: f"Bearer {t.sign(iss='https://clerk.test/')}", INVALID),
    "wrong azp": (lambda t: f"Bearer {t.sign(azp='https://evil.test')}", INVALID),
    "azp that is a list": (lambda t: f"Bearer {t.sign(azp=[ORIGIN])}", INVALID),
    "pending session": (lambda t: f"Bearer {t.sign(sts='pending')}", INVALID),
    "HS256 with the public key": (
        lambda t: f"Bearer {t.by_hand({'alg': 'HS256', 'kid': KID}, t.public_pem())}",
        INVALID,
    ),
    "alg none": (lambda t: f"Bearer {t.by_hand({'alg': 'none', 'kid': KID}, None)}", INVALID),
    "signed by another key": (lambda t: f"Bearer {t.sign(key=t.other_key)}", INVALID),
    "unknown kid": (lambda t: f"Bearer {t.sign(headers={'kid': 'ins_9'})}", INVALID),
    "kid that is no text": (lambda t: f"Bearer {t.by_hand({'alg': 'RS256', 'kid': 7}, None)}", INVALID),
    "embedded jwk": (lambda t: f"Bearer {t.sign(key=t.other_key, headers={'jwk': t.jwk(t.other_key)})}", INVALID),
    "jku": (lambda t: f"Bearer {t.sign(key=t.other_key, headers={'jku': 'https://evil.test/jwks.json'})}", INVALID),
    "crit": (lambda t: f"Bearer {t.sign(headers={'crit': ['exp']})}", INVALID),
    "plain user": (lambda t: f"Bearer {t.sign(sub=PLAIN)}", FORBIDDEN),
    "somebody Clerk does not have": (lambda t: f"Bearer {t.sign(sub='user_gone')}", FORBIDDEN),
    "role in the wrong case": (lambda t: f"Bearer {t.sign(metadata={'role': 'Admin'})}", FORBIDDEN),
    "role with a space": (lambda t: f"Bearer {t.sign(metadata={'role': 'admin '})}", FORBIDDEN),
    "role in a list": (lambda t: f"Bearer {t.sign(metadata={'role': ['admin']})}", FORBIDDEN),
    "role true": (lambda t: f"Bearer {t.sign(metadata={'role': True})}", FORBIDDEN),
    "metadata without a role": (lambda t: f"Bearer {t.sign(metadata={})}", FORBIDDEN),
    "metadata that is a text": (lambda t: f"Bearer {t.sign(metadata='admin')}", FORBIDDEN),
}


async def call(shim: Shim, method: str, path: str, authorization: str | None) -> Any:
    headers = {} if authorization is None else {"Authorization": authorization}
    return await shim.http.request(method, path, headers=headers, json=BODIES.get((method, path)))


@pytest.mark.parametrize("case", CASES)
async def test_every_route_refuses(shim: Shim, sql: Connection, case: str) -> None:
    authorization, (status, code, sentence) = CASES[case]
    for method, path, _ in ROUTES:
        answer = await call(shim, method, path, authorization(shim.tokens))
        body = answer.json()
        assert (answer.status_code, body["code"], body["error"]) == (status, code, sentence), (method, path)
        assert body["requestId"] == answer.headers["x-request-id"]
        if status == 401:
            assert answer.headers["www-authenticate"].startswith("Bearer")
    assert await sql.fetchval("select count(*) from scheduled_jobs") == 0
    assert await sql.fetchval("select count(*) from scheduler_audit") == 0
    assert await sql.fetchval("select count(*) from maintenance") == 0
    assert {request.url.host for request in shim.clerk.requests} <= {"clerk.test", "clerk-api"}


@pytest.mark.parametrize(
    "claims",
    [
        {},  # the role comes from Clerk's API
        {"metadata": {"role": "admin"}},  # the role comes with the token
        {"azp": ORIGIN},
        {"exp": None, "lifetime": "skew"},  # expired 3 s ago: within the skew
        {"sts": "active"},
        {"aud": "something"},  # Clerk lets an instance add it; nothing is promised about it
    ],
)
async def test_every_route_lets_an_admin_in(shim: Shim, claims: dict[str, Any]) -> None:
    if claims.pop("lifetime", None):
        claims["exp"] = now() - 3
    for method, path, status in ROUTES:
        answer = await call(shim, method, path, f"Bearer {shim.tokens.sign(**claims)}")
        assert answer.status_code == status, (method, path, answer.text)


async def test_two_authorization_headers_are_refused(shim: Shim) -> None:
    header = ("Authorization", shim.tokens.admin_headers()["Authorization"])
    assert (await shim.http.get("/api/jobs", headers=[header, header])).status_code == 401


async def test_who_may_not_call_is_told_so_before_the_body_is_looked_at(shim: Shim) -> None:
    answer = await shim.http.post("/api/jobs/trigger", content=b"{", headers={"Content-Type": "application/json"})
    assert answer.status_code == 401


async def test_an_azp_is_refused_where_no_party_is_known(make_shim: MakeShim) -> None:
    async with make_shim(allowed_origins="") as shim:
        assert (await call(shim, "GET", "/api/jobs", f"Bearer {shim.tokens.sign(azp=ORIGIN)}")).status_code == 401
        assert (await call(shim, "GET", "/api/jobs", f"Bearer {shim.tokens.sign()}")).status_code == 200


async def test_a_pem_replaces_the_key_set(make_shim: MakeShim, tokens: Tokens) -> None:
    one_line = tokens.public_pem().decode().replace("\n", "\\n")
    async with make_shim(clerk_jwt_key=one_line) as shim:
        assert (await shim.get("/api/jobs")).status_code == 200
        forged = shim.tokens.sign(key=shim.tokens.other_key)
        assert (await call(shim, "GET", "/api/jobs", f"Bearer {forged}")).status_code == 401
        assert shim.clerk.calls["keys"] == 0


class TestKeys:
    async def test_a_flood_of_unknown_kids_makes_at_most_two_fetches(self, shim: Shim) -> None:
        flood = [f"Bearer {shim.tokens.sign(headers={'kid': f'ins_{number}x'})}" for number in range(1000)]
        answers = await asyncio.gather(*(call(shim, "GET", "/api/jobs", one) for one in flood))
        assert {answer.status_code for answer in answers} == {401}
        assert shim.clerk.calls["keys"] <= 2
        assert (await shim.get("/api/jobs")).status_code == 200

    async def test_a_rotated_key_is_found_at_once(self, shim: Shim) -> None:
        assert (await shim.get("/api/jobs")).status_code == 200
        shim.clerk.keys = [shim.tokens.jwk(shim.tokens.other_key, "ins_2")]
        rotated = shim.tokens.sign(key=shim.tokens.other_key, headers={"kid": "ins_2"})
        assert (await call(shim, "GET", "/api/jobs", f"Bearer {rotated}")).status_code == 200
        # The key that Clerk has withdrawn is refused from then on.
        assert (await shim.get("/api/jobs")).status_code == 401

    async def test_known_keys_serve_through_an_outage(self, shim: Shim) -> None:
        assert (await shim.get("/api/jobs")).status_code == 200
        shim.clerk.down = {"keys"}
        assert (await shim.get("/api/jobs")).status_code == 200
        unknown = shim.tokens.sign(headers={"kid": "ins_9"})
        answer = await call(shim, "GET", "/api/jobs", f"Bearer {unknown}")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")

    async def test_without_any_key_the_answer_is_503(self, shim: Shim) -> None:
        shim.clerk.down = {"keys"}
        answer = await shim.get("/api/jobs")
        assert (answer.status_code, answer.json()["code"]) == (503, "SERVICE_UNAVAILABLE")
        assert answer.headers["retry-after"] == "5"

    @pytest.mark.parametrize(
        "published", [[], [{"kid": KID, "kty": "oct", "k": "c2VjcmV0"}], ["x"], [{"kid": KID, "kty": "RSA", "n": "!"}]]
    )
    async def test_a_key_set_without_a_usable_key_is_an_outage(self, shim: Shim, published: Any) -> None:
        shim.clerk.keys = published
        assert (await shim.get("/api/jobs")).status_code == 503


class TestRoles:
    async def test_a_role_is_asked_for_once(self, shim: Shim) -> None:
        await asyncio.gather(*(shim.get("/api/jobs") for _ in range(5)))
        assert shim.clerk.calls["roles"] == 1

    async def test_the_secret_key_goes_to_clerks_api_only(self, shim: Shim) -> None:
        await shim.trigger()
        sent = {request.url.host: request.headers.get("authorization", "") for request in shim.clerk.requests}
        assert sent["clerk-api"] == "Bearer sk_test_0123456789abcdef"
        assert sent["clerk.test"] == ""

    async def test_an_outage_of_clerks_api_is_503_unless_the_role_is_known(self, shim: Shim) -> None:
        shim.clerk.down = {"roles"}
        answer = await shim.get("/api/jobs")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        shim.clerk.down = set()
        assert (await shim.get("/api/jobs")).status_code == 200
        shim.clerk.down = {"roles"}
        assert (await shim.get("/api/jobs")).status_code == 200

    async def test_a_role_in_the_token_needs_no_api(self, shim: Shim) -> None:
        shim.clerk.down = {"roles"}
        token = shim.tokens.sign(sub=ADMIN, metadata={"role": "admin"})
        assert (await call(shim, "GET", "/api/jobs", f"Bearer {token}")).status_code == 200
