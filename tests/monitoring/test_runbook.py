"""The runbook keeps what it promises: a section for each alert, SQL that runs, routes that exist."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import asyncpg
import pytest
import yaml
from pydantic import SecretStr

from api.main import create_api
from api.runtime import build_runtime
from api.settings import ShimSettings
from checks import rules
from sandbox.stack import Stack
from tests.api.fakes import ISSUER, SECRET_KEY
from tests.test_layering import ROOT

TEXT = (ROOT / rules.RUNBOOK).read_text(encoding="utf-8")
STATEMENTS = [
    statement.strip()
    for block in re.findall(r"```sql\n(.*?)```", TEXT, re.DOTALL)
    for statement in block.split(";")
    if statement.strip()
]


def section(heading: str) -> str:
    found = re.search(rf"^### {re.escape(heading)}\n(.*?)(?=^##)", TEXT + "\n##", re.MULTILINE | re.DOTALL)
    assert found, heading
    return found[1]


def test_every_alert_has_its_section_and_every_section_its_alert() -> None:
    assert rules.headings(ROOT)["alerts"] == [alert.name for alert in rules.alerts(ROOT)], "in the order of the rules"


@pytest.mark.parametrize("alert", [alert.name for alert in rules.alerts(ROOT)])
def test_an_alerts_section_says_what_it_means_how_to_see_and_what_to_do(alert: str) -> None:
    text = section(alert)
    assert "**Means.**" in text
    assert ("**See.**" in text and "**Do.**" in text) or "**See, do.**" in text


@pytest.mark.parametrize(
    "case", ["Jobs stuck in running", "401 and 403", "Probes fail", "The image does not build", "A worker is gone"]
)
def test_a_case_has_symptom_commands_causes_and_cures(case: str) -> None:
    text = section(case)
    assert all(part in text for part in ("**Symptom.**", "**Commands.**", "**Causes and cures.**", "```"))


def test_links_inside_lead_somewhere() -> None:
    anchors = rules.headings(ROOT)["all"]
    linked = re.findall(r"\]\(#([^)]+)\)", TEXT)
    assert linked
    assert [anchor for anchor in linked if anchor not in anchors] == []
    files = re.findall(r"\]\(([^)#:]+)[^)]*\)", TEXT)
    assert [name for name in files if not (ROOT / "docs" / name).exists()] == []


@pytest.fixture(scope="module")
async def connection(database: Stack) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(database.wiring.database_url)
    yield connection
    await connection.close()


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda statement: statement.split("\n")[0][:60])
async def test_its_sql_runs(statement: str, connection: asyncpg.Connection[asyncpg.Record]) -> None:
    # psql's variables are put in as psql would.
    await connection.fetch(re.sub(r":'\w+'", "'crawl_pending'", statement))


def test_the_query_for_jobs_stuck_in_running_is_there() -> None:
    wanted = "select * from scheduled_jobs where status = 'running' order by started_at desc limit 10"
    assert wanted in STATEMENTS
    assert wanted in section("Jobs stuck in running")


def test_its_routes_exist() -> None:
    settings = ShimSettings(
        supabase_url="http://supabase",
        supabase_service_key=SecretStr("a key of some length"),
        prefect_api_url="http://prefect/api",
        clerk_secret_key=SecretStr(SECRET_KEY),
        clerk_issuer=ISSUER,
    )
    api = create_api(build_runtime(settings))
    paths = {re.sub(r"\{\w+\}", "*", path) for path in api.openapi()["paths"]}
    named = re.findall(r"(?<=[7\s`])/(?:api/[\w/$<>{}-]*|ready|health|metrics)", re.sub(r"\s+", " ", TEXT))
    assert len(set(named)) > 5
    asked = {re.sub(r"\{\w+\}|<\w+>|\$\w+", "*", path) for path in named if not path.startswith("/api/health")}
    assert asked <= paths | {"/api/v1/users/*"}


def test_the_workloads_it_names_exist() -> None:
    files = [path for path in (ROOT / "k8s").rglob("*.yaml") if "monitoring" not in path.parts]
    if not files:
        pytest.skip("there are no manifests beside k8s/monitoring")
    objects = [one for path in files for one in yaml.safe_load_all(path.read_text()) if one and "metadata" in one]
    names = {one["kind"]: {o["metadata"]["name"] for o in objects if o["kind"] == one["kind"]} for one in objects}
    assert set(re.findall(r"deploy/([\w-]+)", TEXT)) <= names["Deployment"]
    assert set(re.findall(r"svc/([\w-]+)", TEXT)) <= names["Service"]
    pods = names["Deployment"] | names["StatefulSet"] | {"scheduler-flow"}
    assert set(re.findall(r"app=([\w-]+)", TEXT)) <= pods
