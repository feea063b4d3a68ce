"""Schedules: in plain words, edited with a look at what comes of it, switched off and on."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.async_api import Locator, expect

from tests.browser.chromium import Watch
from tests.browser.person import Person
from tests.e2e.harness import Admin, until

REFUSED = r"Failed to load resource: .* 400 .*/api/schedules/preview"
OVERTAKEN = r"Failed to load resource: .* 412 .*/api/job-types/crawl_pending/schedule"


@pytest.fixture
async def person(person: Person) -> Person:
    await person.go_to("Job types")
    await expect(card(person)).to_be_visible()
    return person


def card(person: Person) -> Locator:
    return person.page.get_by_role("region", name="Crawl pending")


async def schedule(admin: Admin) -> dict[str, Any]:
    """What the API says of it."""
    types = (await admin.http.get("/api/job-types")).raise_for_status().json()["jobTypes"]
    found: dict[str, Any] = next(one for one in types if one["jobType"] == "crawl_pending")
    return found


async def open_editor(person: Person) -> Locator:
    await card(person).get_by_role("button", name="Edit schedule").click()
    return person.page.get_by_role("dialog", name="Schedule of")


async def test_an_edited_cron_changes_the_next_runs(person: Person, admin: Admin, watch: Watch) -> None:
    await card(person).get_by_role("switch").click()
    await expect(card(person).get_by_role("switch", checked=True)).to_be_visible()
    before = await card(person).get_by_role("listitem").all_inner_texts()
    dialog = await open_editor(person)
    cron, runs = dialog.get_by_role("textbox", name="Cron"), dialog.get_by_role("list", name="Next runs")
    await expect(runs.get_by_role("listitem")).to_have_count(5)
    await cron.fill("7 3 * * *")
    await expect(runs.get_by_role("listitem").first).to_contain_text("03:07")
    await dialog.get_by_role("combobox", name="Time zone").fill("Asia/Tokyo")
    # Three in the morning in Tokyo is seven or eight in the evening in Berlin.
    await expect(runs.get_by_role("listitem").first).to_contain_text(":07")
    await expect(runs.get_by_role("listitem").first.get_by_role("time")).to_contain_text("19:07")
    await cron.fill("7 33 * * *")
    await expect(dialog.get_by_text("It would never run.")).to_be_visible()
    await expect(cron).to_have_attribute("aria-invalid", "true")
    await expect(cron).to_have_accessible_description(re.compile(r"It has no valid hour \(0-23\)"))
    await expect(dialog.get_by_role("button", name="Save")).to_be_disabled()
    # Only the API can tell that February has no such day.
    watch.expect(REFUSED)
    await cron.fill("0 0 30 2 *")
    await expect(cron).to_have_accessible_description(re.compile("It never fires"))
    await expect(dialog.get_by_role("button", name="Save")).to_be_disabled()
    await cron.fill("7 3 * * *")
    await dialog.get_by_role("button", name="Save").click()
    await expect(dialog).to_have_count(0)
    await expect(card(person).get_by_text("Edited")).to_be_visible()
    await expect(card(person).get_by_role("listitem").first).to_contain_text("19:07")
    assert await card(person).get_by_role("listitem").all_inner_texts() != before
    kept = await schedule(admin)
    assert (kept["cron"], kept["timezone"]) == ("7 3 * * *", "Asia/Tokyo")

    dialog = await open_editor(person)
    await dialog.get_by_role("button", name="Back to the file's").click()
    await expect(dialog).to_have_count(0)
    await expect(card(person).get_by_text("Edited")).to_have_count(0)


async def test_a_schedule_is_switched_on_and_off(person: Person, admin: Admin) -> None:
    switch = card(person).get_by_role("switch")
    await expect(switch).to_have_attribute("aria-checked", "false")
    for enabled in (True, False, True):
        await switch.click()
        await expect(switch).to_have_attribute("aria-checked", str(enabled).lower())
        kept = await schedule(admin)
        assert kept["enabled"] is enabled
        await expect(card(person).get_by_text("it starts only when somebody runs it")).to_have_count(
            0 if enabled else 1
        )
    audited = (await admin.http.get("/api/audit?action=edit_schedule")).json()
    assert len(audited["entries"]) == 3


async def test_an_edit_that_somebody_else_has_overtaken_is_not_lost_and_does_not_win(
    person: Person, admin: Admin, watch: Watch
) -> None:
    watch.expect(OVERTAKEN)
    dialog = await open_editor(person)
    await dialog.get_by_role("textbox", name="Cron").fill("7 3 * * *")
    url = "/api/job-types/crawl_pending/schedule"
    (await admin.http.patch(url, json={"cron": "1 1 * * *"}, headers={"If-Match": "*"})).raise_for_status()
    await dialog.get_by_role("button", name="Save").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("Somebody else edited this schedule")
    await dialog.get_by_role("button", name="Go on with mine").click()
    await expect(dialog.get_by_role("textbox", name="Cron")).to_have_value("7 3 * * *")
    await dialog.get_by_role("button", name="Save").click()
    await expect(dialog).to_have_count(0)

    async def saved() -> bool:
        return bool((await schedule(admin))["cron"] == "7 3 * * *")

    await until(saved, seconds=5, what="the edit is kept")
