"""Clerk's keys and roles as the shim asks for them; every route against every kind of token: test_security_table."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from api.auth import Actor
from api.clerk import FRESH_SECONDS, STALE_SECONDS, Roles
from api.neighbours import Neighbours
from api.users import Users
from tests.api.conftest import MakeShim, Shim
from tests.api.fakes import ADMIN, KID, ORIGIN, Tokens

SHORT_KEY = Tokens().jwk(rsa.generate_private_key(public_exponent=65537, key_size=1024))


def age(shim: Shim, seconds: float) -> None:
    """Makes the keys that long older."""
    keys: Any = shim.runtime.authenticator.keys
    for at in ("_fetched_at", "_tried_at", "_unknown_at"):
        setattr(keys, at, getattr(keys, at) - seconds)


async def call(shim: Shim, method: str, path: str, authorization: str) -> Any:
    return await shim.http.request(method, path, headers={"Authorization": authorization})


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

    async def test_a_flood_one_after_another_makes_no_more(self, shim: Shim) -> None:
        for number in range(1000):
            token = shim.tokens.sign(headers={"kid": f"ins_{number}x"})
            assert (await call(shim, "GET", "/api/jobs", f"Bearer {token}")).status_code == 401
        assert shim.clerk.calls["keys"] <= 2

    async def test_a_flood_does_not_hold_up_good_tokens_while_clerk_hangs(self, shim: Shim) -> None:
        assert (await shim.get("/api/jobs")).status_code == 200
        shim.clerk.hanging = {"keys"}
        flood = [
            asyncio.create_task(call(shim, "GET", "/api/jobs", f"Bearer {shim.tokens.sign(headers={'kid': f'x{n}'})}"))
            for n in range(100)
        ]
        await asyncio.sleep(0)
        async with asyncio.timeout(1.5):  # Clerk is given up after 2 s
            assert (await shim.get("/api/jobs")).status_code == 200
        assert {answer.status_code for answer in await asyncio.gather(*flood)} <= {401, 503}
        assert shim.clerk.calls["keys"] == 2

    async def test_a_key_that_was_withdrawn_while_nobody_called_is_refused(self, shim: Shim) -> None:
        assert (await shim.get("/api/jobs")).status_code == 200
        shim.clerk.keys = [shim.tokens.jwk(shim.tokens.other_key, "ins_2")]
        age(shim, STALE_SECONDS + 1)
        assert (await shim.get("/api/jobs")).status_code == 401
        assert shim.clerk.calls["keys"] == 2

    async def test_old_keys_are_fetched_beside_the_answer(self, shim: Shim) -> None:
        assert (await shim.get("/api/jobs")).status_code == 200
        shim.clerk.hanging = {"keys"}
        age(shim, FRESH_SECONDS + 1)
        async with asyncio.timeout(1.5):
            assert {(await shim.get("/api/jobs")).status_code for _ in range(5)} == {200}
        assert shim.clerk.calls["keys"] == 2

    async def test_a_long_outage_is_waited_for_once(self, shim: Shim) -> None:
        assert (await shim.get("/api/jobs")).status_code == 200
        shim.clerk.down = {"keys"}
        age(shim, STALE_SECONDS + 1)
        assert {(await shim.get("/api/jobs")).status_code for _ in range(20)} == {200}
        assert shim.clerk.calls["keys"] == 2

    async def test_of_two_keys_with_one_id_the_first_counts(self, shim: Shim) -> None:
        shim.clerk.keys = [shim.tokens.jwk(), shim.tokens.jwk(shim.tokens.other_key)]
        assert (await shim.get("/api/jobs")).status_code == 200
        second = shim.tokens.sign(key=shim.tokens.other_key)
        assert (await call(shim, "GET", "/api/jobs", f"Bearer {second}")).status_code == 401

    async def test_a_key_for_something_else_does_not_stand_for_one_of_the_same_id(self, shim: Shim) -> None:
        for_encryption = {**shim.tokens.jwk(shim.tokens.other_key), "use": "enc"}
        other_algorithm = {**shim.tokens.jwk(shim.tokens.other_key), "alg": "RS512"}
        shim.clerk.keys = [for_encryption, other_algorithm, shim.tokens.jwk()]
        assert (await shim.get("/api/jobs")).status_code == 200

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
        "published",
        [
            [],
            ["x"],
            [{"kid": KID, "kty": "oct", "k": "c2VjcmV0"}],
            [{"kid": KID, "kty": "RSA", "n": "!"}],
            [{"kid": KID, "kty": "RSA", "n": "AQAB", "e": "AQAB"}],
            [SHORT_KEY],
        ],
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

    async def test_clerk_is_left_alone_for_as_long_as_it_asks(self, shim: Shim) -> None:
        shim.clerk.limited = True
        answers = [
            await call(shim, "GET", "/api/jobs", f"Bearer {shim.tokens.sign(sub=f'user_{number}')}")
            for number in range(5)
        ]
        assert {(answer.status_code, answer.headers["retry-after"]) for answer in answers} <= {(503, "30"), (503, "29")}
        assert shim.clerk.calls["roles"] == 1

    @pytest.mark.parametrize("who", ["../../v1/jwks", "a/b", "a?b=c", "a#b", "@evil.test", "a%2fb", "//evil.test"])
    async def test_an_id_changes_neither_host_nor_path(self, who: str) -> None:
        asked: list[httpx.URL] = []

        def note(request: httpx.Request) -> httpx.Response:
            asked.append(request.url)
            return httpx.Response(404)

        async with Neighbours(httpx.MockTransport(note)).opened() as neighbours:
            await Roles(neighbours, "https://clerk-api", "sk").role(who)
            await Users(neighbours, "http://user-service", 1, None)._from_service(Actor(who, "t"))
        quoted = quote(who, safe="").encode()
        assert [(url.host, url.raw_path) for url in asked] == [
            ("clerk-api", b"/v1/users/" + quoted),
            ("user-service", b"/api/users/" + quoted),
        ]
