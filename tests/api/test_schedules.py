"""Schedules: a cron tried out, an edit made, taken back and kept, and Prefect made to follow."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from prefect.server.schemas.schedules import CronSchedule

from api import crons
from api.orchestrator import DeployedSchedule, DeployedSchedules
from api.schedules import Changes, differences
from flows.core import schedules
from flows.core.schedules import NEVER, Override, Schedule
from tests.api.conftest import MakeShim, Shim
from tests.api.fakes import ADMIN, PLAIN
from tests.api.test_trigger import INTERNAL, insert_admin
from tests.conftest import Connection

PATH = "/api/job-types/crawl_pending/schedule"
FILE = Schedule("*/15 * * * *", "UTC", enabled=True)
HOURLY = Schedule("0 * * * *", "Europe/Berlin", enabled=True)

BAD_CRONS = [
    ("", "has 0 fields, it must have 5"),
    ("* * * *", "has 4 fields, it must have 5"),
    ("0 * * * * *", "has 6 fields, it must have 5"),  # seconds
    ("0 0 1 1 * 0 2030", "has 7 fields, it must have 5"),  # a year
    ("61 * * * *", "has no valid minute (0-59): it is field 1"),
    ("* 24 * * *", "has no valid hour (0-23): it is field 2"),
    ("* * 0 * *", "has no valid day of month (1-31): it is field 3"),
    ("* * * 13 *", "has no valid month (1-12): it is field 4"),
    ("* * * * 8", "has no valid day of week (0-7): it is field 5"),
    ("* * * * MONDAY", "has no valid day of week (0-7): it is field 5"),
    ("*/0 * * * *", "has no valid minute (0-59): it is field 1"),
    ("-1 * * * *", "has no valid minute (0-59): it is field 1"),
    ("a b c d e", "has no valid minute (0-59): it is field 1"),
    ("* * * * 1,2#3", "has no valid day of week (0-7): it is field 5"),
    ("R * * * *", "has a random or hashed value as its minute (0-59)"),
    ("* h * * *", "has a random or hashed value as its hour (0-23)"),
    ("R/5 * * * *", "has a random or hashed value as its minute (0-59)"),  # Prefect lets this one through
    ("r(0-9) * * * *", "has a random or hashed value as its minute (0-59)"),
    ("@reboot", "is no cron expression"),
    ("@hourly @daily", "has 2 fields, it must have 5"),
    ("0 0 30 2 *", "never fires"),  # 30 February
    ("0 0 31 4,6,9,11 *", "never fires"),
    ("0 0 31 2 0", "never fires"),  # Sundays would, and Prefect gives up on the day all the same
    ("1," * 100 + "1 * * * *", "String should have at most 200 characters"),
    (5, "Input should be a valid string"),
    (None, "Input should be a valid string"),
]
BAD_ZONES = ["Mars/Olympus", "", "utc", "+02:00", "Factory", "localtime", "../../etc/passwd", "x" * 65, 1, None]

BERLIN = "Europe/Berlin"
# Cron, zone, now → the next times in UTC.
FIRES = [
    ("*/15 * * * *", "UTC", "2026-11-26T17:45:00", ["26T18:00", "26T18:15", "26T18:30", "26T18:45", "26T19:00"]),
    ("0 9 * * MON", "UTC", "2026-11-23T08:59:59", ["23T09:00", "30T09:00", "07T09:00", "14T09:00", "21T09:00"]),
    ("0 9 * * 1-5", "Asia/Tokyo", "2026-11-27T00:00:01", ["30T00:00", "01T00:00", "02T00:00", "03T00:00", "04T00:00"]),
    ("0 0 L * *", "UTC", "2026-11-26T00:00:00", ["30T00:00", "31T00:00", "31T00:00", "28T00:00", "31T00:00"]),
    ("0 0 * * MON#1", "UTC", "2026-11-26T00:00:00", ["07T00:00", "04T00:00", "01T00:00", "01T00:00", "05T00:00"]),
    ("@daily", "UTC", "2026-11-26T00:00:00", ["27T00:00", "28T00:00", "29T00:00", "30T00:00", "01T00:00"]),
    ("0 0 29 2 *", "UTC", "2026-11-26T00:00:00", ["29T00:00"] * 5),  # 2028, 2032, ...
    # The clocks go forward from 02:00 to 03:00 at 01:00 UTC: what is left out fires at half past one.
    ("30 2 * * *", BERLIN, "2026-03-28T12:00:00", ["29T00:30", "30T00:30", "31T00:30", "01T00:30", "02T00:30"]),
    ("0 * * * *", BERLIN, "2026-03-29T00:10:00", ["29T01:00", "29T02:00", "29T03:00", "29T04:00", "29T05:00"]),
    # The clocks go back from 03:00 to 02:00 at 01:00 UTC: what comes twice fires the first time.
    ("30 2 * * *", BERLIN, "2026-10-24T12:00:00", ["25T00:30", "26T01:30", "27T01:30", "28T01:30", "29T01:30"]),
    ("0 * * * *", BERLIN, "2026-10-24T23:30:00", ["25T00:00", "25T02:00", "25T03:00", "25T04:00", "25T05:00"]),
    ("*/20 * * * *", BERLIN, "2026-10-25T01:10:00", ["25T02:00", "25T02:20", "25T02:40", "25T03:00", "25T03:20"]),
]  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_is_kept() -> None:
    crons._answers.clear()


async def audit(sql: Connection) -> list[tuple[str, str, str, str | None]]:
    entries = await sql.fetch("select actor, action, outcome, job_type from scheduler_audit order by id")
    return [tuple(entry) for entry in entries]


def plain(shim: Shim) -> dict[str, str]:
    return {"Authorization": f"Bearer {shim.tokens.sign(sub=PLAIN)}"}


class TestPreview:
    async def test_anonymous(self, shim: Shim) -> None:
        answer = await shim.http.post("/api/schedules/preview", json={"cron": "* * * * *"})
        assert answer.status_code == 401

    async def test_not_admin(self, shim: Shim) -> None:
        answer = await shim.http.post("/api/schedules/preview", json={"cron": "* * * * *"}, headers=plain(shim))
        assert answer.status_code == 403

    async def test_the_next_five_runs(self, shim: Shim) -> None:
        answer = await self.preview(shim, cron="  0  9 * *   MON ", timezone="Europe/Berlin")
        body = answer.json()
        assert answer.status_code == 200, answer.text
        assert (body["cron"], body["timezone"]) == ("0 9 * * MON", "Europe/Berlin")
        assert len(body["nextRuns"]) == len(body["nextRunsLocal"]) == 5
        assert all(run.endswith(":00:00Z") for run in body["nextRuns"])
        assert all(text.startswith("Mon ") and " 09:00 CE" in text for text in body["nextRunsLocal"])

    async def test_without_a_zone_it_is_utc(self, shim: Shim) -> None:
        body = (await self.preview(shim, cron="0 9 * * *")).json()
        assert (body["timezone"], body["nextRuns"][0][10:]) == ("UTC", "T09:00:00Z")

    @pytest.mark.parametrize(("cron", "reason"), BAD_CRONS)
    async def test_a_bad_cron_is_told_what_is_wrong(self, shim: Shim, cron: Any, reason: str) -> None:
        answer = await self.preview(shim, cron=cron, timezone="UTC")
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"].startswith(f"cron: {reason}")
        assert answer.json()["details"][0]["field"] == "cron"

    @pytest.mark.parametrize("timezone", BAD_ZONES)
    async def test_an_unknown_zone(self, shim: Shim, timezone: Any) -> None:
        answer = await self.preview(shim, cron="* * * * *", timezone=timezone)
        assert answer.status_code == 400
        assert answer.json()["error"].startswith("timezone: ")

    async def test_an_unknown_field(self, shim: Shim) -> None:
        answer = await self.preview(shim, cron="* * * * *", day_or=False)
        assert (answer.status_code, answer.json()["error"]) == (400, "day_or: unknown field")

    @staticmethod
    async def preview(shim: Shim, **body: Any) -> Any:
        return await shim.http.post("/api/schedules/preview", json=body, headers=shim.tokens.admin_headers())


class TestFires:
    @pytest.mark.parametrize(("cron", "timezone", "now", "expected"), FIRES)
    async def test_at_the_right_times(self, cron: str, timezone: str, now: str, expected: list[str]) -> None:
        found = await crons.next_runs(crons.normal(cron), timezone, datetime.fromisoformat(f"{now}+00:00"))
        assert [f"{at:%dT%H:%M}" for at in found] == expected
        assert all(at.tzinfo is UTC for at in found)

    @pytest.mark.parametrize("timezone", ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
    @pytest.mark.parametrize("cron", ["*/15 * * * *", "0 9 * * MON", "5 * * * *", "30 2 * * *", "0 0 1,15 * 5"])
    async def test_as_prefects_own_scheduler_plans_them(self, cron: str, timezone: str) -> None:
        """Also around every change of the clocks in a year; Prefect plans from each minute on."""
        for start in ("2026-03-08T06:59:30", "2026-03-29T00:45:00", "2026-04-04T14:40:00", "2026-10-03T15:10:00",
                      "2026-10-25T00:20:00", "2026-11-01T05:40:00", "2026-07-01T12:00:00"):  # fmt: skip
            now = datetime.fromisoformat(f"{start}+00:00")
            planned = await CronSchedule(cron=cron, timezone=timezone).get_dates(n=100, start=now)
            ahead = sorted({date.astimezone(UTC) for date in planned if date > now})[:5]
            found = await crons.next_runs(cron, timezone, now)
            assert [at.isoformat() for at in found] == [datetime.fromisoformat(f"{at}").isoformat() for at in ahead]

    @hypothesis_settings(max_examples=300, deadline=None)
    @given(
        st.one_of(
            st.text(max_size=crons.LONGEST_CRON),
            st.lists(st.text("0123456789*/,-#?lLrRhH()@MONJAN", min_size=1, max_size=12), min_size=5, max_size=5).map(
                " ".join
            ),
        )
    )
    def test_any_text_is_valid_or_refused_within_a_moment(self, text: str) -> None:
        began = time.process_time()
        try:
            cron = crons.normal(text)
            found = asyncio.run(crons.next_runs(cron, "Europe/Berlin", datetime(2026, 11, 26, tzinfo=UTC)))
        except ValueError:
            found = None
        assert found is None or len(found) == 5
        assert time.process_time() - began < 1


class TestEdit:
    async def test_anonymous(self, shim: Shim, sql: Connection) -> None:
        assert (await shim.http.patch(PATH, json={"enabled": False})).status_code == 401
        assert await sql.fetchval("select count(*) from schedule_overrides") == 0

    async def test_not_admin(self, shim: Shim, sql: Connection) -> None:
        assert (await shim.http.patch(PATH, json={"enabled": False}, headers=plain(shim))).status_code == 403
        assert await sql.fetchval("select count(*) from schedule_overrides") == 0

    async def test_unknown_job_type(self, shim: Shim) -> None:
        answer = await shim.patch("/api/job-types/dig_holes/schedule", {"enabled": False})
        assert answer.status_code == 400
        assert answer.json()["error"].startswith("job_type: unknown value: valid are 'crawl_pending', ")

    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            ({}, "body: says nothing: give cron, timezone or enabled"),
            ([], "body: must be a JSON object"),
            ({"cron": "61 * * * *"}, "cron: has no valid minute"),
            ({"cron": "0 0 30 2 *"}, "cron: never fires"),
            ({"cron": None}, "cron: Input should be a valid string"),
            ({"cron": ""}, "cron: has 0 fields"),
            ({"timezone": "Mars/Olympus"}, "timezone: is no time zone"),
            ({"enabled": "no"}, "enabled: Input should be a valid boolean"),
            ({"enabled": None}, "enabled: Input should be a valid boolean"),
            ({"enabled": True, "version": 3}, "version: unknown field"),
        ],
    )
    async def test_a_bad_body_changes_nothing(self, shim: Shim, sql: Connection, body: Any, reason: str) -> None:
        answer = await shim.patch(PATH, body)
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"].startswith(reason)
        assert await sql.fetchval("select count(*) from schedule_overrides") == 0
        assert shim.prefect.schedule_changes == []

    async def test_an_edit_is_kept_audited_and_in_prefect(self, shim: Shim, sql: Connection) -> None:
        await insert_admin(sql)
        answer = await shim.patch(PATH, {"cron": "0 6 * * *", "timezone": "Europe/Berlin"})
        assert answer.status_code == 200, answer.text
        body = answer.json()
        next_runs, updated_at = body.pop("nextRuns"), body.pop("updatedAt")
        assert body == {
            "jobType": "crawl_pending", "cron": "0 6 * * *", "timezone": "Europe/Berlin", "enabled": True,
            "overridden": True, "overriddenFields": ["cron", "timezone"],
            "fileCron": "*/15 * * * *", "fileTimezone": "UTC", "fileEnabled": True,
            "version": 1, "updatedBy": str(INTERNAL), "applied": True,
        }  # fmt: skip
        assert len(next_runs) == 5
        assert updated_at.endswith("Z")
        assert answer.headers["etag"] == '"1"'
        (schedule,) = shim.prefect.schedules
        assert schedule["schedule"] == {"cron": "0 6 * * *", "timezone": "Europe/Berlin", "day_or": True}
        assert (schedule["active"], schedule["slug"]) == (True, "default")
        assert await audit(sql) == [(ADMIN, "edit_schedule", "done", "crawl_pending")]
        entry = await sql.fetchrow("select parameters, details from scheduler_audit")
        assert entry is not None
        assert '"cron": "0 6 * * *"' in entry["parameters"]
        assert '"before"' in entry["details"]

    async def test_prefect_is_told_to_plan_at_once(self, shim: Shim) -> None:
        await shim.patch(PATH, {"cron": "0 6 * * *"})
        assert shim.prefect.schedule_changes[-1] == ("PATCH", {"paused": False})

    async def test_a_second_edit_leaves_the_rest_as_it_is(self, shim: Shim) -> None:
        await shim.patch(PATH, {"cron": "0 6 * * *"})
        body = (await shim.patch(PATH, {"enabled": False})).json()
        assert (body["cron"], body["enabled"], body["version"]) == ("0 6 * * *", False, 2)
        assert body["overriddenFields"] == ["cron", "enabled"]
        assert body["nextRuns"] == []
        assert shim.prefect.schedules[0]["active"] is False

    async def test_the_same_edit_again_changes_nothing(self, shim: Shim, sql: Connection) -> None:
        await shim.patch(PATH, {"cron": "0 6 * * *"})
        changed = len(shim.prefect.schedule_changes)
        answer = await shim.patch(PATH, {"cron": " 0 6 * *  *"})
        assert (answer.status_code, answer.json()["version"], answer.headers["etag"]) == (200, 1, '"1"')
        assert len(shim.prefect.schedule_changes) == changed
        assert [outcome for _, _, outcome, _ in await audit(sql)] == ["done", "unchanged"]

    async def test_an_edit_to_the_files_own_value_is_no_override(self, shim: Shim) -> None:
        untouched = (await shim.patch(PATH, {"cron": "*/15 * * * *", "enabled": True})).json()
        assert (untouched["overridden"], untouched["version"], untouched["updatedBy"]) == (False, 0, None)
        await shim.patch(PATH, {"cron": "0 6 * * *", "timezone": "Europe/Berlin"})
        body = (await shim.patch(PATH, {"cron": "*/15 * * * *"})).json()
        assert (body["cron"], body["overriddenFields"], body["version"]) == ("*/15 * * * *", ["timezone"], 2)

    async def test_switched_off_is_always_kept(self, make_shim: MakeShim, sql: Connection) -> None:
        """A run asks the database before it begins, and the database does not know the file."""
        async with make_shim(schedules_paused=True) as shim:
            body = (await shim.patch(PATH, {"enabled": False})).json()
            assert (body["enabled"], body["fileEnabled"], body["overriddenFields"]) == (False, False, ["enabled"])
        assert await sql.fetchval("select enabled from schedule_overrides") is False

    async def test_where_schedules_are_paused_one_can_be_switched_on(self, make_shim: MakeShim) -> None:
        async with make_shim(schedules_paused=True) as shim:
            shim.prefect.schedules[0]["active"] = False
            body = (await shim.patch(PATH, {"cron": "0 6 * * *"})).json()
            assert (body["enabled"], body["nextRuns"], body["applied"]) == (False, [], True)
            assert shim.prefect.schedules[0]["active"] is False
            body = (await shim.patch(PATH, {"enabled": True})).json()
            assert (body["enabled"], len(body["nextRuns"])) == (True, 5)
            assert shim.prefect.schedules[0]["active"] is True

    async def test_while_all_is_paused_there_are_no_next_runs(self, shim: Shim) -> None:
        await shim.put("/api/maintenance", {"paused": True, "reason": "a new index"})
        body = (await shim.patch(PATH, {"cron": "0 6 * * *"})).json()
        assert (body["enabled"], body["nextRuns"]) == (True, [])

    async def test_with_prefect_down_it_is_kept_and_applied_later(self, shim: Shim, sql: Connection) -> None:
        shim.prefect.down = True
        answer = await shim.patch(PATH, {"cron": "0 6 * * *"})
        assert (answer.status_code, answer.json()["applied"], answer.json()["cron"]) == (200, False, "0 6 * * *")
        shim.prefect.down = False
        await shim.runtime.schedules.restore()
        assert shim.prefect.schedules[0]["schedule"]["cron"] == "0 6 * * *"
        assert (await audit(sql))[-1] == ("reconciler", "restore_schedule", "done", "crawl_pending")

    async def test_with_prefect_hanging_the_answer_comes_soon(self, shim: Shim) -> None:
        shim.prefect.hanging = True
        began = time.monotonic()
        answer = await shim.patch(PATH, {"enabled": False})
        assert (answer.status_code, answer.json()["applied"]) == (200, False)
        assert time.monotonic() - began < 4

    async def test_a_type_that_is_not_deployed_is_edited_all_the_same(self, shim: Shim) -> None:
        shim.prefect.deployed = False
        answer = await shim.patch(PATH, {"enabled": False})
        assert (answer.status_code, answer.json()["applied"], answer.json()["version"]) == (200, False, 1)


class TestIfMatch:
    @pytest.mark.parametrize("if_match", ['"0"', "*", ' "0" ', '"7", "0"', 'W/"7","0"'])
    async def test_of_a_schedule_that_nobody_edited(self, shim: Shim, if_match: str) -> None:
        answer = await shim.patch(PATH, {"enabled": False}, If_Match=if_match)
        assert (answer.status_code, answer.headers["etag"]) == (200, '"1"')

    @pytest.mark.parametrize("if_match", ['"1"', '"00"', 'W/"0"', '"abc"', '""', f'"{"9" * 30}"', '"1", "2"'])
    async def test_another_version_is_refused(self, shim: Shim, sql: Connection, if_match: str) -> None:
        answer = await shim.patch(PATH, {"enabled": False}, If_Match=if_match)
        assert (answer.status_code, answer.json()["code"]) == (412, "SCHEDULE_CHANGED")
        assert (answer.json()["details"], answer.headers["etag"]) == ({"version": 0}, '"0"')
        assert await sql.fetchval("select count(*) from schedule_overrides") == 0
        assert shim.prefect.schedule_changes == []
        assert await audit(sql) == [(ADMIN, "edit_schedule", "refused", "crawl_pending")]

    @pytest.mark.parametrize("if_match", ["0", '"0', "", "**", '"0" "1"', "W/0", '"0",'])
    async def test_what_is_no_etag_is_a_bad_request(self, shim: Shim, if_match: str) -> None:
        answer = await shim.patch(PATH, {"enabled": False}, If_Match=if_match)
        assert (answer.status_code, answer.json()["details"][0]["field"]) == (400, "If-Match")

    async def test_of_two_who_have_read_the_same_only_one_edits(self, shim: Shim, sql: Connection) -> None:
        first, second = await asyncio.gather(
            shim.patch(PATH, {"cron": "0 6 * * *"}, If_Match='"0"'),
            shim.patch(PATH, {"cron": "0 7 * * *"}, If_Match='"0"'),
        )
        assert sorted([first.status_code, second.status_code]) == [200, 412]
        winner = first if first.status_code == 200 else second
        assert await sql.fetchval("select cron from schedule_overrides") == winner.json()["cron"]

    async def test_a_version_is_never_used_twice(self, shim: Shim) -> None:
        etag = (await shim.patch(PATH, {"cron": "0 6 * * *"})).headers["etag"]
        await shim.delete(PATH)
        await shim.patch(PATH, {"cron": "0 7 * * *"})
        assert (await shim.patch(PATH, {"cron": "0 8 * * *"}, If_Match=etag)).status_code == 412


class TestReset:
    async def test_back_to_the_file(self, shim: Shim, sql: Connection) -> None:
        await shim.patch(PATH, {"cron": "0 6 * * *", "enabled": False})
        answer = await shim.delete(PATH, If_Match='"1"')
        body = answer.json()
        assert (answer.status_code, answer.headers["etag"]) == (200, '"2"')
        assert (body["cron"], body["enabled"], body["overridden"], body["version"]) == ("*/15 * * * *", True, False, 2)
        assert shim.prefect.schedules[0]["schedule"]["cron"] == "*/15 * * * *"
        assert shim.prefect.schedules[0]["active"] is True
        assert (await audit(sql))[-1] == (ADMIN, "reset_schedule", "done", "crawl_pending")

    async def test_again_changes_nothing(self, shim: Shim, sql: Connection) -> None:
        await shim.patch(PATH, {"cron": "0 6 * * *"})
        first, second = await shim.delete(PATH), await shim.delete(PATH)
        assert first.json() == second.json()
        assert (await audit(sql))[-1] == (ADMIN, "reset_schedule", "unchanged", "crawl_pending")

    async def test_of_what_nobody_edited(self, shim: Shim) -> None:
        answer = await shim.delete(PATH)
        assert (answer.status_code, answer.json()["version"], answer.headers["etag"]) == (200, 0, '"0"')

    async def test_another_version_is_refused(self, shim: Shim) -> None:
        await shim.patch(PATH, {"cron": "0 6 * * *"})
        assert (await shim.delete(PATH, If_Match='"0"')).status_code == 412

    async def test_anonymous_and_not_admin(self, shim: Shim) -> None:
        assert (await shim.http.delete(PATH)).status_code == 401
        assert (await shim.http.delete(PATH, headers=plain(shim))).status_code == 403

    async def test_unknown_job_type(self, shim: Shim) -> None:
        assert (await shim.delete("/api/job-types/dig_holes/schedule")).status_code == 400


SID, OTHER, DEPLOYMENT = UUID(int=1), UUID(int=2), UUID(int=3)


def ours(schedule: Schedule = FILE, **changed: Any) -> DeployedSchedule:
    values = {"schedule_id": SID, "slug": "default", "cron": schedule.cron, "timezone": schedule.timezone}
    return DeployedSchedule(**{**values, "active": schedule.enabled, "is_plain": True, **changed})


def edited(**fields: Any) -> Override:
    values = {"cron": None, "timezone": None, "enabled": None, **fields}
    return Override("crawl_pending", **values, version=1, updated_by=None, updated_at=datetime.now(UTC))


EXTRA = ours(schedule_id=OTHER, slug="somebodys", cron="1 1 * * *")
NAMELESS = ours(schedule_id=OTHER, slug=None, cron=None, is_plain=False)
OFF = Schedule("*/15 * * * *", "UTC", enabled=False)


@pytest.mark.parametrize(
    ("file", "override", "found", "expected"),
    [
        (FILE, None, [ours()], Changes()),  # as it should be
        (FILE, edited(), [ours()], Changes()),  # edits that were taken back
        (FILE, edited(cron="0 * * * *"), [ours()], Changes(change=(SID, Schedule("0 * * * *", "UTC", True)))),
        (FILE, edited(enabled=False), [ours()], Changes(change=(SID, OFF))),
        (OFF, edited(enabled=True), [ours(OFF)], Changes(change=(SID, FILE))),
        (FILE, None, [ours(HOURLY)], Changes(change=(SID, FILE))),  # edited in Prefect
        (FILE, None, [ours(active=False)], Changes(change=(SID, FILE))),  # switched off in Prefect
        (FILE, None, [ours(is_plain=False)], Changes(change=(SID, FILE))),  # with parameters of its own
        (FILE, None, [ours(cron=None, is_plain=False)], Changes(change=(SID, FILE))),  # made an interval
        (FILE, None, [], Changes(make=FILE)),  # deleted in Prefect
        (FILE, edited(enabled=False), [], Changes(make=OFF)),
        (FILE, None, None, Changes(unpause=True)),  # None: the deployment paused in Prefect
        (FILE, None, [ours(), EXTRA, NAMELESS], Changes()),  # others are left alone
        (FILE, None, [EXTRA], Changes(make=FILE)),
        (FILE, None, [NAMELESS], Changes(make=FILE)),
        (FILE, None, [ours(slug=None)], Changes(change=(SID, FILE))),  # a lone cron without a name becomes ours
        (NEVER, None, [ours()], Changes(drop=SID)),  # not in the file any more
        (NEVER, None, [EXTRA], Changes()),
        (NEVER, edited(cron="0 * * * *", enabled=True), [], Changes(make=Schedule("0 * * * *", "UTC", True))),
    ],
)
def test_differences(
    file: Schedule, override: Override | None, found: list[DeployedSchedule] | None, expected: Changes
) -> None:
    schedules_found = (ours(),) if found is None else tuple(found)
    deployed = DeployedSchedules("crawl_pending", DEPLOYMENT, found is None, schedules_found)
    assert differences(file, override, deployed) == expected


class TestKeeping:
    async def test_a_deploy_is_undone(self, shim: Shim, sql: Connection) -> None:
        await shim.patch(PATH, {"cron": "0 6 * * *", "enabled": False})
        shim.prefect.redeploy()
        await shim.runtime.schedules.restore()
        (schedule,) = shim.prefect.schedules
        assert (schedule["schedule"]["cron"], schedule["active"]) == ("0 6 * * *", False)
        assert (await audit(sql))[-1] == ("reconciler", "restore_schedule", "done", "crawl_pending")

    async def test_an_edit_in_prefect_is_undone(self, shim: Shim) -> None:
        shim.prefect.schedules[0] |= {"active": False, "parameters": {"max_items": 1}}
        shim.prefect.paused = True
        await shim.runtime.schedules.restore()
        assert (shim.prefect.schedules[0]["active"], shim.prefect.schedules[0]["parameters"]) == (True, {})
        assert shim.prefect.paused is False

    async def test_a_missing_schedule_is_made_and_others_are_left_alone(self, shim: Shim) -> None:
        shim.prefect.schedules.clear()
        theirs = shim.prefect.add_schedule("1 1 * * *", slug="somebodys")
        await shim.runtime.schedules.restore()
        assert theirs in shim.prefect.schedules
        (made,) = [one for one in shim.prefect.schedules if one["slug"] == "default"]
        assert made["schedule"]["cron"] == "*/15 * * * *"

    async def test_what_is_right_is_not_touched(self, shim: Shim, sql: Connection) -> None:
        await shim.runtime.schedules.restore()
        assert shim.prefect.schedule_changes == []
        assert await audit(sql) == []

    async def test_paused_schedules_are_not_woken_up(self, make_shim: MakeShim) -> None:
        async with make_shim(schedules_paused=True) as shim:
            shim.prefect.schedules[0]["active"] = False
            await shim.runtime.schedules.restore()
            assert shim.prefect.schedule_changes == []

    async def test_of_two_shims_one_looks_and_the_other_takes_over(self, sql: Connection, shim: Shim) -> None:
        assert await schedules.watch("one", 60) == {}
        shim.prefect.schedules[0]["active"] = False
        await shim.runtime.schedules.restore()
        assert not shim.prefect.schedules[0]["active"], "it is not this shim's turn"
        await sql.execute("update schedule_watch set until = now() - interval '1 second'")
        await shim.runtime.schedules.restore()
        assert shim.prefect.schedules[0]["active"] is True
        assert await schedules.watch("one", 60) is None

    async def test_the_loop_looks_within_five_seconds(self, shim: Shim) -> None:
        loop = asyncio.create_task(shim.runtime.schedules.run())
        try:
            await asyncio.sleep(0.5)
            shim.prefect.schedules[0]["active"] = False
            began = time.monotonic()
            while not shim.prefect.schedules[0]["active"]:
                assert time.monotonic() - began < 5
                await asyncio.sleep(0.05)
        finally:
            loop.cancel()
            await asyncio.gather(loop, return_exceptions=True)
