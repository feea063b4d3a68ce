"""The sandbox's sign-in: sessions that give tokens a minute at a time, to the dashboard's page and no other."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import jwt
import pytest

from sandbox.standins import tokens
from sandbox.standins.people import ADMIN, PLAIN_USER
from tests.sandbox.standin_process import running

ISSUER = "http://clerk.example"
ORIGIN = "http://localhost:7005"
OF_THE_PAGE = {"Origin": ORIGIN}


@pytest.fixture(scope="module")
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="module")
def clerk(state_dir: Path) -> Iterator[httpx.Client]:
    settings = {
        "SANDBOX_STATE_DIR": str(state_dir),
        "CLERK_SECRET_KEY": "sk_test_for_the_sandbox",
        "CLERK_ISSUER": ISSUER,
        "SIGN_IN_ORIGINS": f"{ORIGIN},http://localhost:3000",
    }
    with (
        running("clerk", **settings) as service,
        httpx.Client(base_url=service.url, trust_env=False, headers=OF_THE_PAGE) as client,
    ):
        yield client
        client.put("/__sessions", json={"tokenSeconds": None})


def begin(clerk: httpx.Client, person: str = "ada") -> str:
    answer = clerk.post("/sign-in/sessions", json={"person": person})
    assert answer.status_code == 201
    session: str = answer.json()["session"]
    return session


def test_it_tells_who_there_is(clerk: httpx.Client) -> None:
    assert clerk.get("/sign-in/people").json() == [
        {"id": "ada", "name": "Ada Admin", "role": "admin"},
        {"id": "peter", "name": "Peter Plain", "role": "user"},
    ]


@pytest.mark.parametrize(("name", "person", "metadata"), [("ada", ADMIN, {"role": "admin"}), ("peter", PLAIN_USER, {})])
def test_a_session_gives_tokens_as_clerk_does(
    clerk: httpx.Client, state_dir: Path, name: str, person: object, metadata: dict[str, str]
) -> None:
    first = clerk.post("/sign-in/sessions", json={"person": name}).json()
    next_one = clerk.post(f"/sign-in/sessions/{first['session']}/token")
    assert next_one.headers["cache-control"] == "no-store"
    for told in (first, next_one.json()):
        claims = tokens.verify(told["token"], state_dir, ISSUER)
        assert claims["sub"] == person.clerk_user_id  # type: ignore[attr-defined]
        assert (claims["azp"], claims["metadata"], claims["sid"]) == (ORIGIN, metadata, first["session"])
        assert claims["exp"] - claims["iat"] == 60
        assert datetime.fromisoformat(told["expiresAt"]) == datetime.fromtimestamp(claims["exp"], UTC)
        assert told["person"]["id"] == name


@pytest.mark.parametrize("body", [None, [], {}, {"person": "eve"}, {"person": ["ada"]}])
def test_nobody_else_gets_a_session(clerk: httpx.Client, body: object) -> None:
    answer = clerk.post("/sign-in/sessions", json=body)
    assert (answer.status_code, answer.json()) == (400, {"error": "person must be one of ada, peter"})


def test_a_session_that_has_ended_gives_no_token(clerk: httpx.Client) -> None:
    mine, other = begin(clerk), begin(clerk)
    for _ in range(2):
        assert clerk.delete(f"/sign-in/sessions/{mine}").status_code == 204
    assert clerk.post(f"/sign-in/sessions/{mine}/token").status_code == 401
    assert clerk.post(f"/sign-in/sessions/{other}/token").status_code == 200
    assert clerk.delete("/__sessions").status_code == 204
    assert clerk.post(f"/sign-in/sessions/{other}/token").json() == {"error": "The session has ended"}


def test_tokens_can_be_made_to_live_shorter(clerk: httpx.Client, state_dir: Path) -> None:
    session = begin(clerk)
    assert clerk.put("/__sessions", json={"tokenSeconds": 3}).json() == {"tokenSeconds": 3}
    claims = tokens.verify(clerk.post(f"/sign-in/sessions/{session}/token").json()["token"], state_dir)
    assert claims["exp"] - claims["iat"] == 3
    for wrong in (0, -1, 1.5, "3", 4000):
        assert clerk.put("/__sessions", json={"tokenSeconds": wrong}).status_code == 400
    assert clerk.put("/__sessions", json={"tokenSeconds": None}).json() == {"tokenSeconds": 60}


def test_a_role_that_was_taken_away_is_in_no_later_token(clerk: httpx.Client) -> None:
    session, user = begin(clerk), f"/__users/{ADMIN.clerk_user_id}"
    try:
        clerk.put(user, json={"public_metadata": {}})
        told = clerk.post(f"/sign-in/sessions/{session}/token").json()
    finally:
        clerk.put(user, json={"public_metadata": {"role": "admin"}})
    assert jwt.decode(told["token"], options={"verify_signature": False})["metadata"] == {}
    assert told["person"]["role"] == "user"


def test_only_the_pages_that_were_named_may_read_it(clerk: httpx.Client) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    for origin, allowed in ((ORIGIN, True), ("http://localhost:3000", True), ("http://evil.test", False)):
        headers = {"Origin": origin}
        preflight = clerk.options("/sign-in/sessions", headers=headers | asked)
        answer = clerk.get("/sign-in/people", headers=headers)
        assert (preflight.status_code == 200) is allowed
        for one in (preflight, answer):
            assert one.headers.get("access-control-allow-origin") == (origin if allowed else None)
            assert "access-control-allow-credentials" not in one.headers


def test_without_a_page_there_is_no_sign_in(state_dir: Path) -> None:
    settings = {"SANDBOX_STATE_DIR": str(state_dir), "CLERK_SECRET_KEY": "sk_test_for_the_sandbox"}
    with running("clerk", **settings) as service:
        assert httpx.get(f"{service.url}/sign-in/people", trust_env=False).status_code == 404
