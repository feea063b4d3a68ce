"""Every route of the app against every kind of credential: the exact answer, and no side effect of a refusal."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import APIRouter

from api.deps import AdminRoute
from api.limits import READING, changes_something
from tests.api.conftest import MakeShim, Shim
from tests.api.credentials import INVALID, LET_IN, MACHINE_KEY, MACHINE_KEYS, NOT_FOR_MACHINES, REFUSED, Refusal
from tests.api.routes import PUBLIC, SAMPLES, RouteOfApp, Sample, admin_routes, begin, routes_of
from tests.conftest import Connection

_TABLES = "select tablename from pg_tables where schemaname = 'public' order by 1"
MACHINE = f"Bearer {MACHINE_KEY}"


@pytest.fixture
async def shim(make_shim: MakeShim) -> AsyncIterator[Shim]:
    """A shim that knows a script, and lets everybody change what they like as often as they like."""
    async with make_shim(machine_keys=MACHINE_KEYS, rate_limit_per_minute=0) as made:
        yield made


async def contents(sql: Connection) -> dict[str, str]:
    """A digest of every table, the site's as well as ours."""
    tables = [row[0] for row in await sql.fetch(_TABLES)]
    parts = [
        f"select '{one}', count(*) || ':' || coalesce(md5(string_agg(t::text, '|' order by t::text)), '') from {one} t"
        for one in tables
    ]
    return {row[0]: row[1] for row in await sql.fetch(" union all ".join(parts))}


async def call(shim: Shim, route: RouteOfApp, authorization: str | None) -> httpx.Response:
    sample = route.sample
    headers = [] if authorization is None else [(b"Authorization", authorization.encode())]
    content: Any = {} if sample.sent is None else {"json": sample.sent}
    return await shim.http.request(route.method, sample.path, headers=headers, **content)


def assert_refused(answer: httpx.Response, refusal: Refusal, route: RouteOfApp) -> None:
    assert answer.status_code == refusal.status, (route, answer.text)
    assert answer.json() == {
        "error": refusal.sentence,
        "code": refusal.code,
        "status": refusal.status,
        "requestId": answer.headers["x-request-id"],
    }, route
    assert answer.headers["cache-control"] == "no-store"
    assert ("www-authenticate" in answer.headers) == (refusal.status == 401)


async def assert_let_in(shim: Shim, route: RouteOfApp, authorization: str) -> None:
    sample = route.sample
    if sample.path.endswith("/stream"):
        status, headers = await begin(shim, sample, authorization)
        assert status in sample.statuses, route
        assert status != 200 or headers["content-type"].startswith("text/event-stream")
        return
    answer = await call(shim, route, authorization)
    assert answer.status_code in sample.statuses, (route, answer.text)
    assert_body(answer, sample)


def assert_body(answer: httpx.Response, sample: Sample) -> None:
    match sample.body:
        case dict(exact):
            told = answer.json()
            if answer.status_code >= 400:
                assert told.pop("requestId") == answer.headers["x-request-id"]
            assert told == exact
        case set(names):
            assert set(answer.json()) == names


def open_to_everybody(shim: Shim) -> list[str]:
    """Routes that nobody has guarded, nor given a reason."""
    found = {route.template for route in routes_of(shim) if not route.is_for_admins}
    return [path for path in found if path not in PUBLIC and not path.startswith("/admin/")]


def without_a_sample(shim: Shim) -> list[tuple[str, str]]:
    return [route.key for route in admin_routes(shim) if route.key not in SAMPLES]


class TestEveryRoute:
    async def test_is_for_admins_or_is_named_here_with_its_reason(self, shim: Shim) -> None:
        assert open_to_everybody(shim) == [], "give these routes AdminRoute, or a reason in PUBLIC"

    async def test_has_a_sample_call(self, shim: Shim) -> None:
        assert without_a_sample(shim) == [], "these routes are not tried with every credential: give them a sample"

    async def test_under_api_is_for_admins(self, shim: Shim) -> None:
        under_api = {route.template: route.is_for_admins for route in routes_of(shim) if "/api/" in route.template}
        assert [path for path, guarded in under_api.items() if not guarded and path != "/api/config"] == []

    async def test_that_is_new_is_noticed(self, shim: Shim) -> None:
        guarded, open_one = APIRouter(route_class=AdminRoute), APIRouter()
        guarded.add_api_route("/api/new/{new_id}", lambda: None, methods=["DELETE"])
        open_one.add_api_route("/api/new", lambda: None)
        outer = APIRouter(prefix="/v2")
        outer.include_router(open_one)
        for router in (guarded, open_one, outer):
            shim.api.include_router(router)
        assert sorted(open_to_everybody(shim)) == ["/api/new", "/v2/api/new"]
        assert without_a_sample(shim) == [("DELETE", "/api/new/{}")]

    async def test_says_what_it_may_answer(self, shim: Shim) -> None:
        description = shim.api.openapi()["paths"]
        for route in admin_routes(shim):
            told = set(description[route.template][route.method.lower()]["responses"])
            assert {"401", "403", "500", "503"} <= told, route
            assert ("304" in told) == (route.method == "GET" and not route.template.endswith("/stream")), route
            assert ("429" in told) == changes_something(route.method, route.template), route


@pytest.mark.parametrize("case", REFUSED)
async def test_every_route_refuses(shim: Shim, sql: Connection, case: str) -> None:
    make, refusal = REFUSED[case]
    before, asked = await contents(sql), len(shim.prefect.asked)
    for route in admin_routes(shim):
        assert_refused(await call(shim, route, make(shim.tokens)), refusal, route)
    await shim.runtime.refusals.settled()
    assert await contents(sql) == before
    assert len(shim.prefect.asked) == asked
    assert shim.clerk.calls["users"] == 0
    # No header of a token leads anywhere.
    assert {request.url.host for request in shim.clerk.requests} <= {"clerk.test", "clerk-api"}
    assert shim.clerk.calls["keys"] <= 2


async def test_every_route_refuses_a_scripts_key_where_none_is_set(make_shim: MakeShim, sql: Connection) -> None:
    async with make_shim() as shim:
        before = await contents(sql)
        for route in admin_routes(shim):
            assert_refused(await call(shim, route, MACHINE), INVALID, route)
        assert await contents(sql) == before
        assert shim.clerk.requests == []


async def test_every_route_answers_a_script_as_far_as_it_may(shim: Shim, sql: Connection) -> None:
    for route in admin_routes(shim):
        if route.method in READING or route.key == ("POST", "/api/jobs/trigger"):
            await assert_let_in(shim, route, MACHINE)
            continue
        before, asked = await contents(sql), len(shim.prefect.asked)
        assert_refused(await call(shim, route, MACHINE), NOT_FOR_MACHINES, route)
        await shim.runtime.refusals.settled()
        after = await contents(sql)
        # It is told in the audit, and nowhere else.
        assert {name for name in after if after[name] != before[name]} <= {"scheduler_audit"}, route
        assert len(shim.prefect.asked) == asked
    assert set(shim.clerk.calls) <= {"keys"}  # /api/system looks whether they can be had


@pytest.mark.parametrize("case", LET_IN)
async def test_every_route_lets_an_admin_in(shim: Shim, case: str) -> None:
    for route in admin_routes(shim):
        authorization = LET_IN[case](shim.tokens)
        assert authorization is not None
        await assert_let_in(shim, route, authorization)


async def test_no_route_takes_a_token_from_anywhere_but_the_header(shim: Shim) -> None:
    token = shim.tokens.sign()
    elsewhere = {"Cookie": f"__session={token}", "X-Authorization": f"Bearer {token}", "Proxy-Authorization": token}
    for route in admin_routes(shim):
        query = {"token": token, "access_token": token, "authorization": f"Bearer {token}"}
        answer = await shim.http.request(route.method, route.sample.path, params=query, headers=elsewhere)
        assert (answer.status_code, answer.json()["code"]) == (401, "MISSING_AUTHORIZATION"), route


async def test_no_route_takes_two_authorization_headers(shim: Shim) -> None:
    good = ("Authorization", shim.tokens.admin_headers()["Authorization"])
    for headers in ([good, good], [good, ("Authorization", "Bearer x")], [("Authorization", ""), good]):
        for route in admin_routes(shim):
            answer = await shim.http.request(route.method, route.sample.path, headers=headers)
            assert_refused(answer, INVALID, route)
