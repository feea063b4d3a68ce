"""What a stranger with nothing but the OpenAPI would send to each route, and whether the answer is one it describes.

Streams never end, and are left aside. The rules between fields (a pause needs a reason, page excludes cursor) are no
part of the schema, so a valid body may well be refused: that it is refused as described is what counts here.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import schemathesis
import uvicorn
from schemathesis import Case, CheckContext, Response
from schemathesis.auths import AuthContext
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import from_schema
from schemathesis.engine.events import EngineEvent, FatalError, NonFatalError, ScenarioFinished

from api.main import create_api, wrap
from flows.core.domain import JobType
from tests.api.conftest import MakeShim, Shim
from tests.e2e.harness import until

EXAMPLES = 12
RENEWED_AFTER_SECONDS = 20  # a session lives for 60
CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
    "every_header_is_described",
]
# Of the transport, of CORS and of the security headers: the same on every answer, and no part of a route.
_EVERYWHERE = (
    *("date", "connection", "keep-alive", "transfer-encoding", "vary", "server", "cache-control"),
    *(
        "content-",
        "access-control-",
        "cross-origin-",
        "x-content-type-",
        "x-frame-",
        "referrer-",
        "strict-",
        "permissions-",
    ),
)


@schemathesis.check
def every_header_is_described(_context: CheckContext, response: Response, case: Case[Any]) -> None:
    """A header that is sent and not in the OpenAPI would be there for nobody."""
    described = case.operation.definition.raw["responses"].get(str(response.status_code), {}).get("headers", {})
    known = {name.lower() for name in described}
    if response.status_code == 405:
        known |= {"allow", "x-request-id"}  # of a method that the path does not have, and no operation describes
    sent = {name.lower() for name in response.headers}
    unknown = sorted(name for name in sent - known if not name.startswith(_EVERYWHERE))
    assert not unknown, f"{response.status_code} with {', '.join(unknown)}"


@dataclass
class Findings:
    """What is wrong, which statuses each operation answered with, and which of them want a token."""

    wrong: list[str] = field(default_factory=list)
    guarded: set[str] = field(default_factory=set)
    statuses: defaultdict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))

    def note(self, event: EngineEvent) -> None:
        if isinstance(event, NonFatalError):
            self.wrong.append(f"{event.label}: {event.info}")
        elif isinstance(event, FatalError):
            raise event.exception
        elif isinstance(event, ScenarioFinished):
            self._read(event)

    def _read(self, scenario: ScenarioFinished) -> None:
        for one, interaction in scenario.recorder.interactions.items():
            case = scenario.recorder.cases[one].value
            if case.operation.definition.raw.get("security"):
                self.guarded.add(case.operation.label)
            if interaction.response is not None:
                self.statuses[case.operation.label][interaction.response.status_code] += 1
        for checks in scenario.recorder.checks.values():
            for check in checks:
                if check.failure_info is not None:
                    failure, call = check.failure_info.failure, check.failure_info.code_sample
                    self.wrong.append(
                        f"{check.name} of {failure.operation}: {failure.title}. {failure.message}\n{call}"
                    )


@pytest.fixture
async def open_shim(make_shim: MakeShim, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shim]:
    """A shim that knows every job type, has a job in most statuses, and counts no calls."""
    monkeypatch.setenv("RATE_LIMIT_PER_MINUTE", "0")
    async with make_shim(catalogue=False, docs_enabled=True) as shim:
        shim.prefect.job_types = [job_type.value for job_type in JobType]
        await shim.runtime.catalogue.refresh(shim.runtime.orchestrator)
        for _ in range(3):
            await shim.trigger()
        cancelled = (await shim.trigger()).json()["id"]
        await shim.post(f"/api/jobs/{cancelled}/cancel")
        yield shim


@pytest.fixture
async def url(open_shim: Shim) -> AsyncIterator[str]:
    """Where it listens, as in a container but for the loops beside the requests."""
    app = wrap(create_api(open_shim.runtime), open_shim.runtime.settings)
    config = uvicorn.Config(app, host="127.0.0.1", port=0, lifespan="off", log_config=None, server_header=False)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    await until(lambda: _started(server), seconds=10, what="it listens")
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await serving


async def _started(server: uvicorn.Server) -> bool:
    return server.started


def ask_everything(url: str, shim: Shim, *, as_admin: bool, job_ids: Sequence[str] = ()) -> Findings:
    """Sends every operation what fits its description, and what does not quite, always the same.

    Every other job that is asked for is one of `job_ids`: a made-up id is never one of a job.
    """
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json", config=SchemathesisConfig(seed=1)).exclude(_streams)
    checks = CHECKS if as_admin else [name for name in CHECKS if name != "negative_data_rejection"]
    schema.config.checks.update(included_check_names=checks)
    schema.config.generation.deterministic = True
    schema.config.generation.max_examples = EXAMPLES
    schema.config.update(continue_on_failure=True)
    schema.config.phases.stateful.enabled = as_admin

    class Session:
        def get(self, _case: Case[Any], _context: AuthContext) -> str:
            return shim.tokens.sign()

        def set(self, case: Case[Any], data: str, _context: AuthContext) -> None:
            case.headers["Authorization"] = f"Bearer {data}"

    if as_admin:
        schema.auth.auth(refresh_interval=RENEWED_AFTER_SECONDS)(Session)
    turns = itertools.cycle([None, *(x for one in job_ids for x in (one, None))])

    @schema.hook
    def map_path_parameters(_context: Any, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
        if path_parameters and "job_id" in path_parameters and (known := next(turns)):
            return {**path_parameters, "job_id": known}
        return path_parameters

    findings = Findings()
    for event in from_schema(schema).execute():
        findings.note(event)
    return findings


def _streams(context: Any) -> bool:
    answers = context.operation.definition.raw["responses"]
    return any("text/event-stream" in answer.get("content", {}) for answer in answers.values())


async def test_an_admin_gets_answers_as_described(open_shim: Shim, url: str) -> None:
    job_ids = [job["id"] for job in (await open_shim.get("/api/jobs")).json()["jobs"]]
    findings = await asyncio.to_thread(ask_everything, url, open_shim, as_admin=True, job_ids=job_ids)
    assert not findings.wrong, "\n\n".join(findings.wrong)
    never = [one for one, statuses in findings.statuses.items() if not any(status < 300 for status in statuses)]
    assert never == [], "these were never asked well enough to succeed"


async def test_nobody_gets_answers_as_described_and_nothing_is_changed(open_shim: Shim, url: str) -> None:
    before = (await open_shim.get("/api/jobs")).json()
    findings = await asyncio.to_thread(ask_everything, url, open_shim, as_admin=False)
    assert not findings.wrong, "\n\n".join(findings.wrong)
    let_in = [one for one in findings.guarded if set(findings.statuses[one]) - {401, 405}]
    assert findings.guarded
    assert let_in == []
    assert (await open_shim.get("/api/jobs")).json() == before
