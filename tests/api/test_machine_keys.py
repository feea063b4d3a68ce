"""Keys of scripts: what they may, what is written about them, and which settings are refused."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest
from pydantic import ValidationError

from api import machine_keys
from api.settings import ShimSettings, explain
from sandbox.state import REPOSITORY
from tests.api.conftest import MakeShim, Shim
from tests.api.credentials import MACHINE_KEY, MACHINE_KEYS
from tests.conftest import Connection

NAME = "service:nightly-report"
HEADERS = {"Authorization": f"Bearer {MACHINE_KEY}"}
DIGEST = hashlib.sha256(b"a key").hexdigest()


@pytest.fixture
async def shim(make_shim: MakeShim) -> AsyncIterator[Shim]:
    async with make_shim(machine_keys=MACHINE_KEYS) as made:
        yield made


async def test_a_script_triggers_under_its_name_and_nobody_is_asked_about_it(shim: Shim, sql: Connection) -> None:
    sent = {"jobType": "crawl_pending", "triggeredBy": "cron"}
    answer = await shim.http.post("/api/jobs/trigger", json=sent, headers=HEADERS)
    assert answer.status_code == 202
    row = await sql.fetchrow("select started_by, origin from scheduled_jobs")
    assert tuple(row or ()) == (NAME, "dashboard")
    entry = await sql.fetchrow("select actor, action, outcome from scheduler_audit")
    assert tuple(entry or ()) == (NAME, "trigger", "accepted")
    assert shim.clerk.requests == []
    found = await shim.http.get(f"/api/jobs?startedBy={NAME}", headers=HEADERS)
    assert [job["startedBy"] for job in found.json()["jobs"]] == [NAME]


async def test_what_a_script_may_not_is_audited_under_its_name(shim: Shim, sql: Connection) -> None:
    job_id = (await shim.trigger()).json()["id"]
    assert (await shim.http.post(f"/api/jobs/{job_id}/cancel", headers=HEADERS)).status_code == 403
    await shim.runtime.refusals.settled()
    entry = await sql.fetchrow("select * from scheduler_audit where outcome = 'refused'")
    assert entry is not None
    assert (entry["actor"], entry["action"], str(entry["job_id"])) == (NAME, "cancel", job_id)
    assert '"code": "MACHINE_KEY_REFUSED"' in entry["details"]
    assert (await shim.get(f"/api/jobs/{job_id}")).json()["status"] == "pending"


async def test_an_idempotency_key_is_the_scripts_own(shim: Shim) -> None:
    headers = HEADERS | {"Idempotency-Key": "k"}
    answers = [
        await shim.http.post("/api/jobs/trigger", json={"jobType": "crawl_pending"}, headers=headers) for _ in range(2)
    ]
    assert answers[0].json() == answers[1].json()
    assert (await shim.trigger(Idempotency_Key="k")).json()["id"] != answers[0].json()["id"]


async def test_a_script_has_turns_of_its_own(make_shim: MakeShim) -> None:
    async with make_shim(machine_keys=MACHINE_KEYS, rate_limit_per_minute=1, rate_limit_burst=1) as shim:
        assert (await shim.trigger()).status_code == 202
        statuses = [
            (await shim.http.post("/api/jobs/trigger", json={"jobType": "crawl_pending"}, headers=HEADERS)).status_code
            for _ in range(2)
        ]
        assert statuses == [202, 429]


async def test_a_key_is_known_by_its_digest_only(shim: Shim) -> None:
    assert MACHINE_KEY not in repr(shim.runtime.settings)
    assert MACHINE_KEYS not in repr(shim.runtime.settings)
    assert MACHINE_KEY not in str(vars(shim.runtime.authenticator._machine_keys))


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("nightly-report", "entry 1 is not name:sha256"),
        (f"{DIGEST}", "entry 1 is not name:sha256"),
        (f"Nightly:{DIGEST}", "entry 1 is not name:sha256"),
        (f"a:{DIGEST}", "entry 1 is not name:sha256"),
        (f"service:x:{DIGEST}", "entry 1 does not hold the SHA-256 of a key"),
        (f"one:{DIGEST},two words:{DIGEST}", "entry 2 is not name:sha256"),
        (f"one:{MACHINE_KEY}", "entry 1 does not hold the SHA-256 of a key"),  # the key itself
        ("one:changeme", "entry 1 does not hold the SHA-256 of a key"),
        (f"one:{DIGEST.upper()}", "entry 1 does not hold the SHA-256 of a key"),
        (f"one:{'0' * 64}", "entry 1 is a placeholder"),
        (f"one:{'abcd' * 16}", "entry 1 is a placeholder"),
        (f"one:{hashlib.sha256(b'').hexdigest()}", "entry 1 is a placeholder"),
        (f"one:{hashlib.sha256(b'changeme').hexdigest()}", "entry 1 is a placeholder"),
        (f"one:{DIGEST},one:{hashlib.sha256(b'another').hexdigest()}", "entry 2 repeats a name or a key"),
        (f"one:{DIGEST},two:{DIGEST}", "entry 2 repeats a name or a key"),
    ],
    ids=lambda text: text.replace(MACHINE_KEY, "<key>"),
)
def test_a_wrong_setting_is_told_without_what_is_in_it(environment: None, setting: str, sentence: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ShimSettings(machine_keys=setting)
    told = explain(caught.value)
    assert told.startswith(f"MACHINE_KEYS {sentence}")
    assert "\n" not in told
    assert setting not in told
    assert MACHINE_KEY not in told


def test_no_setting_means_no_script(environment: None) -> None:
    assert ShimSettings().machine_key_digests == {}
    assert ShimSettings(machine_keys=f" one:{DIGEST} ,").machine_key_digests == {"one": DIGEST}


def test_a_short_key_opens_nothing_even_if_its_digest_is_known() -> None:
    short = "sched_short"
    assert machine_keys.MachineKeys({"one": hashlib.sha256(short.encode()).hexdigest()}).name_of(short) is None


def test_a_key_can_be_made() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "api.machine_keys", "nightly-report"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    key = told.split("shown once: ")[1].split()[0]
    setting = told.split("MACHINE_KEYS: ")[1].strip()
    assert machine_keys.MachineKeys(machine_keys.parse(setting)).name_of(key) == "nightly-report"
    assert key not in setting
