"""POST /api/jobs/trigger: what is accepted, what is refused, and that a repeat is harmless."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import pytest

from tests.api.conftest import MakeShim, Shim
from tests.api.fakes import ADMIN
from tests.conftest import Connection

INTERNAL = "6f1c9a34-52d7-4c1e-9b60-3d1f0a7be001"


async def insert_admin(sql: Connection) -> None:
    await sql.execute("insert into users (id, clerk_user_id) values ($1, $2)", INTERNAL, ADMIN)


async def rows(sql: Connection) -> list[Any]:
    return await sql.fetch("select * from scheduled_jobs order by created_at")


async def test_trigger_answers_202_with_the_accepted_job(shim: Shim, sql: Connection) -> None:
    answer = await shim.trigger()
    body = answer.json()
    assert answer.status_code == 202
    assert body["id"] == body["jobId"]
    assert answer.headers["location"] == f"/api/jobs/{body['id']}"
    assert set(body) == {"jobId", "id", "jobType", "status", "startedAt", "createdAt"}
    assert (body["jobType"], body["status"], body["startedAt"]) == ("crawl_pending", "pending", None)
    assert body["createdAt"].endswith("Z")
    (row,) = await rows(sql)
    assert (str(row["id"]), row["origin"], row["priority"]) == (body["id"], "dashboard", "MEDIUM")
    assert row["exclusive_key"] == "crawl_pending"


async def test_trigger_stores_resolved_parameters(shim: Shim, sql: Connection) -> None:
    await shim.trigger({"jobType": "crawl_pending", "parameters": {"max_items": 7}})
    (row,) = await rows(sql)
    # The deployment's own parameter goes before the schema's default.
    assert json.loads(row["parameters"]) == {"max_items": 7, "mode": "stale"}


REFUSED = [
    # not one of ours, or not spelled like it
    ({"jobType": "nope"}, "jobType: unknown value: valid are 'crawl_pending'"),
    ({"jobType": "CRAWL_PENDING"}, "jobType: unknown value: valid are 'crawl_pending'"),
    ({"jobType": None}, "jobType: unknown value: valid are 'crawl_pending'"),
    ({}, "jobType: required"),
    ({"job_type": "crawl_pending"}, "jobType: required"),
    # fields and values the body does not have
    ({"jobType": "crawl_pending", "when": "now"}, "when: unknown field"),
    (
        {"jobType": "crawl_pending", "priority": "urgent"},
        "priority: unknown value: valid are 'HIGH', 'MEDIUM' or 'LOW'",
    ),
    ({"jobType": "crawl_pending", "triggeredBy": 7}, "triggeredBy: Input should be a valid string"),
    ({"jobType": "crawl_pending", "triggeredBy": "a\0b"}, "triggeredBy: String should match pattern"),
    ([], "body: must be a JSON object"),
    ("crawl_pending", "body: must be a JSON object"),
    # parameters
    ({"jobType": "crawl_pending", "parameters": []}, "parameters: Input should be a valid dictionary"),
    (
        {"jobType": "crawl_pending", "parameters": {"maxItems": 5}},
        "crawl_pending has no parameter 'maxItems': it takes max_items, mode, note, extra",
    ),
    (
        {"jobType": "crawl_pending", "parameters": {"max_items": 0}},
        "parameters.max_items: 0 is less than the minimum of 1",
    ),
    (
        {"jobType": "crawl_pending", "parameters": {"max_items": True}},
        "parameters.max_items: True is not of type 'integer'",
    ),
    ({"jobType": "crawl_pending", "parameters": {"mode": "all"}}, "parameters.mode: 'all' is not one of"),
    # what Prefect would render, and what Postgres cannot keep
    (
        {"jobType": "crawl_pending", "parameters": {"extra": {"a": [{"__prefect_kind": "jinja"}]}}},
        "parameters.extra.a.0: __prefect_kind is not allowed",
    ),
    ({"jobType": "crawl_pending", "parameters": {"note": "a\0b"}}, "parameters.note: text may not hold NUL"),
    ({"jobType": "crawl_pending", "parameters": {"note": "\ud800"}}, "parameters.note: text may not hold NUL"),
]


@pytest.mark.parametrize(("body", "sentence"), REFUSED)
async def test_trigger_refuses_a_wrong_body_and_says_what_is_valid(
    shim: Shim, sql: Connection, body: Any, sentence: str
) -> None:
    answer = await shim.trigger(body)
    assert answer.status_code == 400
    said = answer.json()
    assert said["error"].startswith(sentence), said["error"]
    assert (said["code"], said["status"]) == ("INVALID_REQUEST", 400)
    assert await rows(sql) == []


MALFORMED = [
    (b'{"jobType": ', "body: not valid JSON"),
    (b"", "body: required"),
    (b'{"jobType": "crawl_pending", "parameters": {"max_items": NaN}}', "parameters.max_items: NaN"),
    (b"[" * 5000, "body: not JSON that can be read"),  # deeper than a parser goes
    (b'{"jobType": "crawl_pending", "parameters": {"max_items": ' + b"9" * 5000 + b"}}", "body: not JSON that can be"),
    (b'{"jobType": "crawl_pending", "parameters": {"max_items": 1e400}}', "parameters.max_items: NaN and Infinity"),
    (b'{"jobType": "crawl_pending", "triggeredBy": "\xe9"}', "body: not JSON that can be read: UTF-8"),
    (b"\xff\xfe", "body: not valid JSON"),
    (gzip.compress(b'{"jobType": "crawl_pending"}'), "not compressed"),
]


@pytest.mark.parametrize(("content", "sentence"), MALFORMED, ids=range(len(MALFORMED)))
async def test_trigger_refuses_malformed_json(shim: Shim, content: bytes, sentence: str) -> None:
    headers = shim.tokens.admin_headers() | {"Content-Type": "application/json"}
    answer = await shim.http.post("/api/jobs/trigger", content=content, headers=headers)
    assert answer.status_code == 400
    assert sentence in answer.json()["error"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("content_type", ["application/json", "APPLICATION/JSON; charset=utf-8", "application/x+json"])
async def test_trigger_reads_json_however_it_is_sent(shim: Shim, encoding: str, content_type: str) -> None:
    headers = shim.tokens.admin_headers() | {"Content-Type": content_type}
    body = ' {"jobType": "crawl_pending"}\n'.encode(encoding)
    assert (await shim.http.post("/api/jobs/trigger", content=body, headers=headers)).status_code == 202


async def test_trigger_without_json_content_type_says_so(shim: Shim) -> None:
    answer = await shim.http.post("/api/jobs/trigger", data={"jobType": "x"}, headers=shim.tokens.admin_headers())
    assert answer.status_code == 400
    assert "Content-Type: application/json" in answer.json()["error"]


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_over_64_kib_is_413_whether_announced_or_not(
    shim: Shim, sql: Connection, *, announced: bool
) -> None:
    body = json.dumps({"jobType": "crawl_pending", "triggeredBy": "x" * 70_000}).encode()

    async def chunks() -> Any:
        for start in range(0, len(body), 10_000):
            yield body[start : start + 10_000]

    headers = shim.tokens.admin_headers() | {"Content-Type": "application/json"}
    answer = await shim.http.post("/api/jobs/trigger", content=body if announced else chunks(), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "BODY_TOO_LARGE")
    assert await rows(sql) == []


async def test_a_chunked_body_within_the_limit_is_read(shim: Shim) -> None:
    async def chunks() -> Any:
        yield b'{"jobType": '
        yield b'"crawl_pending"}'

    headers = shim.tokens.admin_headers() | {"Content-Type": "application/json"}
    answer = await shim.http.post("/api/jobs/trigger", content=chunks(), headers=headers)
    assert answer.status_code == 202


async def test_triggered_by_is_not_trusted_and_a_mismatch_is_audited(shim: Shim, sql: Connection) -> None:
    await insert_admin(sql)
    await shim.trigger({"jobType": "crawl_pending", "triggeredBy": "test_user"})
    await shim.trigger({"jobType": "crawl_pending", "triggeredBy": ADMIN})
    await shim.trigger({"jobType": "crawl_pending", "triggeredBy": INTERNAL})
    assert [row["started_by"] for row in await rows(sql)] == [INTERNAL] * 3
    audit = await sql.fetch("select actor, action, outcome, details from scheduler_audit order by id")
    assert {(entry["actor"], entry["action"], entry["outcome"]) for entry in audit} == {(ADMIN, "trigger", "accepted")}
    assert [entry["details"] and json.loads(entry["details"]) for entry in audit] == [
        {"triggeredBy": "test_user"},
        None,
        None,
    ]


async def test_the_published_curl_is_accepted(shim: Shim) -> None:
    assert (await shim.trigger({"jobType": "crawl_pending", "triggeredBy": "test_user"})).status_code == 202


class TestStartedBy:
    @pytest.mark.parametrize(
        "answer", [{"id": INTERNAL}, {"user": {"id": INTERNAL}}, {"id": "x", "user": {"id": INTERNAL}}]
    )
    async def test_is_what_the_user_service_says_if_it_is_a_uuid(
        self, shim: Shim, sql: Connection, answer: Any
    ) -> None:
        shim.clerk.internal = answer
        await shim.trigger()
        assert [row["started_by"] for row in await rows(sql)] == [INTERNAL]

    async def test_comes_from_the_database_where_the_service_gives_the_clerk_id(
        self, shim: Shim, sql: Connection
    ) -> None:
        await insert_admin(sql)
        shim.clerk.internal = {"user": {"id": ADMIN}}
        await shim.trigger()
        await shim.trigger()
        assert [row["started_by"] for row in await rows(sql)] == [INTERNAL] * 2
        assert shim.clerk.calls["users"] == 1  # the second trigger knows it

    @pytest.mark.parametrize("status", [401, 404, 429, 500, 302])
    async def test_is_the_clerk_id_where_nobody_knows_another(self, shim: Shim, sql: Connection, status: int) -> None:
        shim.clerk.user_status = status
        assert (await shim.trigger()).status_code == 202
        assert [row["started_by"] for row in await rows(sql)] == [ADMIN]

    async def test_the_callers_own_token_is_forwarded_and_no_key_of_ours(self, shim: Shim) -> None:
        await shim.trigger()
        (request,) = [one for one in shim.clerk.requests if one.url.host == "user-service"]
        assert request.headers["authorization"].startswith("Bearer ey")
        assert request.url.path == f"/api/users/{ADMIN}"

    async def test_a_hanging_user_service_costs_its_time_out_and_no_more(
        self, make_shim: MakeShim, sql: Connection
    ) -> None:
        await insert_admin(sql)
        async with make_shim(user_service_timeout_seconds=0.3) as shim:
            shim.clerk.hanging.add("users")
            began = asyncio.get_running_loop().time()
            answer = await shim.trigger()
            assert answer.status_code == 202
            assert asyncio.get_running_loop().time() - began < 1.0
        assert [row["started_by"] for row in await rows(sql)] == [INTERNAL]


class TestIdempotencyKey:
    async def test_a_repeat_gets_the_first_answer_again(self, shim: Shim, sql: Connection) -> None:
        first = await shim.trigger(Idempotency_Key="k1")
        again = await shim.trigger(Idempotency_Key="k1")
        assert again.status_code == 202
        assert again.json() == first.json()
        assert "idempotent-replayed" not in first.headers
        assert again.headers["idempotent-replayed"] == "true"
        assert again.headers["location"] == first.headers["location"]
        assert len(await rows(sql)) == 1

    async def test_repeats_at_the_same_time_make_one_job(self, shim: Shim, sql: Connection) -> None:
        answers = await asyncio.gather(*(shim.trigger(Idempotency_Key="k1") for _ in range(8)))
        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.json()["id"] for answer in answers}) == 1
        assert len(await rows(sql)) == 1

    async def test_the_same_key_with_another_payload_is_422(self, shim: Shim, sql: Connection) -> None:
        await shim.trigger(Idempotency_Key="k1")
        answer = await shim.trigger({"jobType": "crawl_pending", "priority": "HIGH"}, Idempotency_Key="k1")
        assert (answer.status_code, answer.json()["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
        assert len(await rows(sql)) == 1

    async def test_who_says_to_ask_is_not_part_of_the_payload(self, shim: Shim) -> None:
        first = await shim.trigger({"jobType": "crawl_pending", "triggeredBy": "a"}, Idempotency_Key="k1")
        again = await shim.trigger({"jobType": "crawl_pending", "parameters": {}}, Idempotency_Key="k1")
        assert again.json() == first.json()

    async def test_another_actor_may_use_the_same_key(self, shim: Shim, sql: Connection) -> None:
        shim.clerk.roles["user_second"] = "admin"
        await shim.trigger(Idempotency_Key="k1")
        second = f"Bearer {shim.tokens.sign(sub='user_second')}"
        await shim.trigger(Idempotency_Key="k1", Authorization=second)
        assert len(await rows(sql)) == 2

    @pytest.mark.parametrize("key", ["", "a b", "x" * 256, "ä", "a\tb"])
    async def test_a_key_that_is_not_1_to_255_visible_characters_is_refused(
        self, shim: Shim, sql: Connection, key: str
    ) -> None:
        headers = [
            (b"authorization", shim.tokens.admin_headers()["Authorization"].encode()),
            (b"idempotency-key", key.encode()),
        ]
        answer = await shim.http.post("/api/jobs/trigger", json={"jobType": "crawl_pending"}, headers=headers)
        assert answer.status_code == 400
        assert "Idempotency-Key" in answer.json()["error"]
        assert await rows(sql) == []


class TestTypeThatWasNeverDeployed:
    async def test_without_parameters_it_is_accepted(self, make_shim: MakeShim) -> None:
        async with make_shim(catalogue=False) as shim:
            assert (await shim.trigger()).status_code == 202

    async def test_with_parameters_it_has_to_wait(self, make_shim: MakeShim, sql: Connection) -> None:
        async with make_shim(catalogue=False) as shim:
            answer = await shim.trigger({"jobType": "crawl_pending", "parameters": {"max_items": 5}})
        assert (answer.status_code, answer.json()["code"]) == (503, "NOT_READY")
        assert answer.headers["retry-after"] == "5"
        assert "has not been deployed yet" in answer.json()["error"]
        assert await rows(sql) == []

    async def test_what_the_table_has_kept_is_good_enough_while_prefect_is_down(self, make_shim: MakeShim) -> None:
        async with make_shim():
            pass  # an earlier shim has met Prefect
        async with make_shim(catalogue=False) as later:
            later.prefect.down = True
            await later.runtime.catalogue.load_once()
            assert (
                await later.trigger({"jobType": "crawl_pending", "parameters": {"max_items": 5}})
            ).status_code == 202
            assert (await later.trigger({"jobType": "crawl_pending", "parameters": {"max": 5}})).status_code == 400
