"""The audit of what was refused to an admin: one entry a call, redacted and bounded, and none for strangers."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest

from api.refusals import presentable
from tests.api.conftest import MakeShim, Shim
from tests.api.fakes import ADMIN
from tests.api.routes import JOB
from tests.conftest import Connection


async def refused(shim: Shim, sql: Connection) -> list[dict[str, Any]]:
    """The entries about calls that came to nothing, with their JSON read."""
    await shim.runtime.refusals.settled()
    found = await sql.fetch("select * from scheduler_audit where outcome in ('refused', 'failed') order by id")
    return [
        {**row, "parameters": json.loads(row["parameters"] or "null"), "details": json.loads(row["details"] or "null")}
        for row in map(dict, found)
    ]


async def test_a_wrong_trigger_is_told_with_what_was_asked_for(shim: Shim, sql: Connection) -> None:
    sent = {"jobType": "crawl_pending", "parameters": {"max_items": 0}}
    assert (await shim.trigger(sent)).status_code == 400
    (entry,) = await refused(shim, sql)
    assert (entry["actor"], entry["action"], entry["job_type"], entry["outcome"]) == (
        ADMIN,
        "trigger",
        "crawl_pending",
        "refused",
    )
    assert entry["parameters"] == {"jobType": "crawl_pending", "parameters": {"max_items": 0}}
    reason = "parameters.max_items: 0 is less than the minimum of 1"
    assert entry["details"] == {"code": "INVALID_REQUEST", "status": 400, "reason": reason}


async def test_each_kind_of_refusal_has_one_entry(shim: Shim, sql: Connection) -> None:
    ended = (await shim.trigger()).json()["id"]
    await shim.post(f"/api/jobs/{ended}/cancel")
    await shim.post(f"/api/jobs/{ended}/retry")
    await shim.trigger(Idempotency_Key="k")
    calls = [
        (await shim.post(f"/api/jobs/{JOB}/cancel"), 404, "cancel"),
        (await shim.post("/api/jobs/nope/retry"), 404, "retry"),
        (await shim.post(f"/api/jobs/{ended}/retry"), 409, "retry"),  # it has been retried already
        (await shim.trigger({"jobType": "update_metrics"}, Idempotency_Key="k"), 422, "trigger"),
        (await shim.put("/api/maintenance", {"paused": True}), 400, "pause"),
        (await shim.put("/api/maintenance", {"paused": False, "reason": 7}), 400, "resume"),
        (await shim.put("/api/maintenance", [1]), 400, "pause"),
    ]
    entries = await refused(shim, sql)
    assert [answer.status_code for answer, *_ in calls] == [status for _, status, _ in calls]
    assert sorted(entry["action"] for entry in entries) == sorted(action for *_, action in calls)
    assert {entry["outcome"] for entry in entries} == {"refused"}
    by_job = {str(entry["job_id"]) for entry in entries if entry["job_id"]}
    assert by_job == {JOB, ended}


async def test_a_cancel_of_what_has_ended_has_one_entry_also_in_the_archive(shim: Shim, sql: Connection) -> None:
    live, archived = uuid4(), uuid4()
    insert = "insert into {} (id, job_type, status, completed_at) values ($1, 'crawl_pending', 'completed', now())"
    await sql.execute(insert.format("scheduled_jobs"), live)
    await sql.execute(insert.format("scheduled_jobs_archive"), archived)
    for job_id in (live, archived):
        assert (await shim.post(f"/api/jobs/{job_id}/cancel")).status_code == 409
    assert [entry["job_id"] for entry in await refused(shim, sql)] == [live, archived]


async def test_a_mistake_of_ours_is_told_as_failed(shim: Shim, sql: Connection) -> None:
    function = "public.set_maintenance(boolean, text, timestamptz, text, text)"
    await sql.execute(f"revoke execute on function {function} from service_role")
    try:
        answer = await shim.put("/api/maintenance", {"paused": False})
    finally:
        await sql.execute(f"grant execute on function {function} to service_role")
    assert answer.status_code == 500
    (entry,) = await refused(shim, sql)
    assert (entry["outcome"], entry["details"]["code"]) == ("failed", "INTERNAL_ERROR")


async def test_without_a_database_nothing_is_tried(make_shim: MakeShim, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_URL", "http://127.0.0.1:9")
    async with make_shim(catalogue=False) as shim:
        for _ in range(5):
            assert (await shim.trigger()).status_code == 503
        assert not shim.runtime.refusals._errands._under_way


async def test_a_flood_of_wrong_calls_is_bounded_and_then_limited(make_shim: MakeShim, sql: Connection) -> None:
    async with make_shim(rate_limit_per_minute=1, rate_limit_burst=3) as shim:
        statuses = []
        for _ in range(10):
            statuses.append((await shim.trigger({"jobType": "nope"})).status_code)
            await shim.runtime.refusals.settled()
        assert statuses == [400] * 4 + [429] * 6
        assert len(await refused(shim, sql)) == 3


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"{",
        b"[" * 5000,
        b"\xff\xfe",
        b'{"jobType": []}',
        b'{"jobType": {"a": 1}}',
        b'{"jobType": 1e999}',
        b'{"jobType": ' + b"9" * 5000 + b"}",
        b'{"jobType": "\\u0000\\ud800", "\\u0000": {"\\ud800": "\\u0000"}}',
        b'[[1], "x", null]',
        b'"x"',
        b"7",
        b"{" + b",".join(b'"%d": "%s"' % (number, b"\xc3\xa4" * 100) for number in range(200)) + b"}",
    ],
    ids=range(13),
)
async def test_whatever_was_sent_is_answered_and_audited(shim: Shim, sql: Connection, sent: bytes) -> None:
    headers = shim.tokens.admin_headers() | {"Content-Type": "application/json"}
    answer = await shim.http.post("/api/jobs/trigger", content=sent, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_REQUEST")
    (entry,) = await refused(shim, sql)
    assert isinstance(entry["parameters"], dict | None)
    assert len(json.dumps(entry["parameters"])) <= 2000


JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ1c2VyXzEifQ.c2lnbmF0dXJl"


async def test_nothing_secret_is_kept(shim: Shim, sql: Connection) -> None:
    sent = {"jobType": f"Bearer {JWT}", "token": "hunter2", "who": "ada@example.com", JWT: 1}
    assert (await shim.trigger(sent)).status_code == 400
    (entry,) = await refused(shim, sql)
    kept = json.dumps([entry["parameters"], entry["details"], entry["job_type"]])
    for secret in (JWT, "hunter2", "ada@"):
        assert secret not in kept
    assert entry["parameters"]["token"] == "<secret>"


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        (None, None),
        ([1, "x"], {"body": [1, "x"]}),
        ("x", {"body": "x"}),
        ({"a": None, "b": True, "c": 1.5}, {"a": None, "b": True, "c": 1.5}),
        ({"a": "x\0y\ud800"}, {"a": "x?y?"}),
        ({"a": float("nan"), "b": 10**400}, {"a": "nan", "b": "1" + "0" * 38 + "…"}),
        ({"a": {"b": {"c": {"d": {"e": 1}}}}}, {"a": {"b": {"c": {"d": "…"}}}}),
        ({"list": list(range(100))}, {"list": list(range(20))}),
        ({"clientSecret": {"a": 1}, "API_KEY": "x"}, {"clientSecret": "<secret>", "API_KEY": "<secret>"}),
        ({str(number): "y" * 300 for number in range(20)}, {"tooLong": 4290}),
    ],
)
def test_what_is_kept_of_a_body_is_bounded(body: Any, kept: Any) -> None:
    assert presentable(body) == kept
