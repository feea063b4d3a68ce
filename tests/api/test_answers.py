"""What every answer has in common: ids, error bodies, CORS, health, readiness and the API's description."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from api.main import create_api, wrap
from tests.api.conftest import MakeShim, Shim
from tests.api.fakes import ORIGIN

JOB = "5f0c2b1e-0000-4000-8000-000000000001"


class TestRequestId:
    async def test_a_sane_one_is_kept(self, shim: Shim) -> None:
        answer = await shim.http.get("/health", headers={"X-Request-Id": "abc-123"})
        assert answer.headers["x-request-id"] == "abc-123"

    @pytest.mark.parametrize("given", ["", "x" * 129, 'a"b', "a b", "<script>"])
    async def test_any_other_is_replaced(self, shim: Shim, given: str) -> None:
        answer = await shim.http.get("/health", headers={"X-Request-Id": given})
        assert answer.headers["x-request-id"] not in ("", given)

    @pytest.mark.parametrize(("method", "path"), [("GET", "/nope"), ("DELETE", "/health"), ("GET", "/api/jobs")])
    async def test_errors_have_one_too(self, shim: Shim, method: str, path: str) -> None:
        answer = await shim.http.request(method, path)
        assert answer.json()["requestId"] == answer.headers["x-request-id"]


class TestErrorBodies:
    @pytest.mark.parametrize(
        ("method", "path", "status", "code"),
        [
            ("GET", "/nope", 404, "NO_SUCH_ROUTE"),
            ("GET", "/api/jobs/", 404, "NO_SUCH_ROUTE"),  # an empty id
            ("GET", "/api/nope", 404, "NO_SUCH_ROUTE"),
            ("GET", "/health/", 404, "NO_SUCH_ROUTE"),
            ("GET", f"/api/jobs/{JOB}/", 404, "NO_SUCH_ROUTE"),
            ("GET", f"/api//jobs/{JOB}", 404, "NO_SUCH_ROUTE"),
            ("GET", "/API/jobs", 404, "NO_SUCH_ROUTE"),
            ("GET", "/api/jobs/..%2Fjobs", 404, "NO_SUCH_ROUTE"),
            ("GET", "/api/jobs/%00", 404, "JOB_NOT_FOUND"),
            ("GET", "/api/jobs/%FF", 404, "JOB_NOT_FOUND"),
            ("GET", f"/api/jobs/%7B{JOB}%7D", 404, "JOB_NOT_FOUND"),
            ("GET", f"/api/jobs/urn:uuid:{JOB}", 404, "JOB_NOT_FOUND"),
            ("POST", "/api/jobs//cancel", 404, "NO_SUCH_ROUTE"),
            ("DELETE", "/health", 405, "METHOD_NOT_ALLOWED"),
            ("PUT", "/api/jobs", 405, "METHOD_NOT_ALLOWED"),
        ],
    )
    async def test_routes_that_are_not_there(self, shim: Shim, method: str, path: str, status: int, code: str) -> None:
        answer = await shim.http.request(method, path, headers=shim.tokens.admin_headers())
        body = answer.json()
        assert (answer.status_code, body["status"], body["code"]) == (status, status, code)
        assert answer.headers["content-type"] == "application/json"

    @pytest.mark.parametrize(
        ("path", "allowed"),
        [
            ("/health", "GET, HEAD"),
            ("/api/maintenance", "GET, PUT"),  # two routes
            ("/api/jobs/trigger", "POST"),  # no job has that id
        ],
    )
    async def test_a_wrong_method_is_told_all_that_are_right(self, shim: Shim, path: str, allowed: str) -> None:
        answer = await shim.http.request("DELETE", path, headers=shim.tokens.admin_headers())
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)

    async def test_problem_json_is_given_to_who_asks_for_it(self, shim: Shim) -> None:
        answer = await shim.http.get("/nope", headers={"Accept": "application/problem+json"})
        assert answer.headers["content-type"] == "application/problem+json"
        body = answer.json()
        assert (body["title"], body["detail"], body["status"]) == ("No such route", "No such route", 404)
        assert body["error"] == "No such route"

    async def test_a_mistake_of_ours_is_a_500_in_the_same_shape(self, shim: Shim) -> None:
        async def mistaken() -> None:
            raise ZeroDivisionError("postgresql://user:password@host")

        api = create_api(shim.runtime)
        api.add_api_route("/api/mistake", mistaken)
        transport = httpx.ASGITransport(wrap(api, shim.runtime.settings), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://shim.test") as http:
            answer = await http.get("/api/mistake")
        assert (answer.status_code, answer.json()["code"]) == (500, "INTERNAL_ERROR")
        assert answer.json()["error"] == "Internal error"
        assert answer.headers["x-request-id"]


class TestDatabaseOutage:
    async def test_every_route_is_503_with_retry_after(
        self, make_shim: MakeShim, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SUPABASE_URL", "http://127.0.0.1:9")
        async with make_shim(catalogue=False) as shim:
            answers = [
                await shim.trigger(),
                await shim.get("/api/jobs"),
                await shim.get("/api/jobs?startedBy=user_x"),
                await shim.get(f"/api/jobs/{JOB}"),
                await shim.post(f"/api/jobs/{JOB}/cancel"),
                await shim.post(f"/api/jobs/{JOB}/retry"),
                await shim.get(f"/api/jobs/{JOB}/explain"),
                await shim.get("/api/maintenance"),
                await shim.put("/api/maintenance", {"paused": False}),
            ]
        for answer in answers:
            assert (answer.status_code, answer.json()["code"]) == (503, "SERVICE_UNAVAILABLE")
            assert answer.headers["retry-after"] == "5"


class TestHealth:
    async def test_it_says_the_process_is_up(self, shim: Shim) -> None:
        answer = await shim.http.get("/health")
        body = answer.json()
        assert (answer.status_code, body["status"], body["service"]) == (200, "healthy", "scheduler-service")
        assert body["timestamp"].endswith("Z")
        assert set(body) == {"status", "service", "timestamp"}
        assert not shim.clerk.requests

    async def test_a_monitor_may_ask_for_the_head_alone(self, shim: Shim) -> None:
        assert [(await shim.http.head(path)).status_code for path in ("/health", "/ready")] == [200, 200]

    async def test_ready_has_a_line_for_each_dependency(self, shim: Shim) -> None:
        answer = await shim.http.get("/ready")
        assert answer.status_code == 200
        assert answer.json()["checks"] == {"supabase": "ok", "prefect": "ok", "jwks": "ok"}

    async def test_ready_names_what_does_not_answer(self, shim: Shim) -> None:
        shim.prefect.down = True
        shim.clerk.hanging = {"keys"}
        answer = await shim.http.get("/ready")
        body = answer.json()
        assert (answer.status_code, body["error"], body["code"]) == (503, "Not ready: prefect, jwks", "NOT_READY")
        assert body["details"]["supabase"] == "ok"
        assert "ConnectError" in body["details"]["prefect"]

    async def test_asking_often_does_not_ask_the_neighbours_often(self, shim: Shim) -> None:
        for _ in range(5):
            await shim.http.get("/ready")
        assert shim.clerk.calls["keys"] == 1


class TestCors:
    async def test_a_known_origin_may_read(self, shim: Shim) -> None:
        answer = await shim.http.get("/api/jobs", headers={"Origin": ORIGIN} | shim.tokens.admin_headers())
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert "X-Request-Id" in answer.headers["access-control-expose-headers"]

    @pytest.mark.parametrize(
        "origin", ["https://evil.test", f"{ORIGIN}.evil.test", "null", ORIGIN.replace("https", "http")]
    )
    async def test_another_origin_may_not(self, shim: Shim, origin: str) -> None:
        answer = await shim.http.get("/api/jobs", headers={"Origin": origin} | shim.tokens.admin_headers())
        assert "access-control-allow-origin" not in answer.headers

    async def test_preflight(self, shim: Shim) -> None:
        asked = {
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type,idempotency-key",
        }
        known = await shim.http.options("/api/jobs/trigger", headers={"Origin": ORIGIN} | asked)
        assert (known.status_code, known.headers["access-control-allow-origin"]) == (200, ORIGIN)
        other = await shim.http.options("/api/jobs/trigger", headers={"Origin": "https://evil.test"} | asked)
        assert (other.status_code, other.json()["code"]) == (400, "INVALID_REQUEST")
        assert "access-control-allow-origin" not in other.headers


class TestDescription:
    @pytest.fixture
    async def description(self, shim: Shim) -> Any:
        return (await shim.http.get("/openapi.json")).json()

    async def test_every_field_and_parameter_is_described(self, description: Any) -> None:
        undescribed = [
            f"{model}.{name}"
            for model, schema in description["components"]["schemas"].items()
            for name, field in schema.get("properties", {}).items()
            if not field.get("description")
        ]
        undescribed += [
            f"{path}?{parameter['name']}"
            for path, operations in description["paths"].items()
            for operation in operations.values()
            for parameter in operation.get("parameters", [])
            if not parameter.get("description")
        ]
        assert undescribed == []

    async def test_every_admin_route_declares_its_errors_and_its_security(self, description: Any) -> None:
        for path, operations in description["paths"].items():
            for operation in operations.values():
                if path.startswith("/api") and path != "/api/config":
                    assert {"401", "403", "500", "503"} <= set(operation["responses"]), path
                    assert operation["security"] == [{"ClerkSession": []}]
        trigger = description["paths"]["/api/jobs/trigger"]["post"]
        assert {"202", "400", "413", "422"} <= set(trigger["responses"])

    async def test_the_frameworks_own_errors_are_not_in_it(self, description: Any) -> None:
        assert "HTTPValidationError" not in str(description)
        assert "422" not in description["paths"]["/api/jobs"]["get"]["responses"]

    async def test_answers_are_what_it_says(self, shim: Shim, description: Any) -> None:
        job_id = (await shim.trigger()).json()["id"]
        one = "/api/jobs/{job_id}"
        pause = {"paused": True, "reason": "x"}
        answers = [
            ("post", "/api/jobs/trigger", await shim.trigger()),
            ("get", "/api/jobs", await shim.get("/api/jobs")),
            ("get", one, await shim.get(f"/api/jobs/{job_id}")),
            ("get", f"{one}/explain", await shim.get(f"/api/jobs/{job_id}/explain")),
            ("post", f"{one}/cancel", await shim.post(f"/api/jobs/{job_id}/cancel")),
            ("post", f"{one}/retry", await shim.post(f"/api/jobs/{job_id}/retry")),
            ("post", f"{one}/retry", await shim.post(f"/api/jobs/{job_id}/retry")),
            ("get", "/api/maintenance", await shim.get("/api/maintenance")),
            ("put", "/api/maintenance", await shim.put("/api/maintenance", pause)),
        ]
        for method, path, answer in answers:
            declared = description["paths"][path][method]["responses"][str(answer.status_code)]
            schema = declared["content"]["application/json"]["schema"]
            Draft202012Validator({**schema, "components": description["components"]}).validate(answer.json())
        assert [answer.status_code for _, _, answer in answers] == [202, 200, 200, 200, 200, 202, 409, 200, 200]

    async def test_its_page_needs_no_other_host(self, shim: Shim) -> None:
        page = (await shim.http.get("/docs")).text
        sources = re.findall(r'(?:src|href)="([^"]+)"', page)
        assert sources
        for source in sources:
            assert source.startswith("/")
            assert (await shim.http.get(source)).status_code == 200

    async def test_it_can_be_switched_off(self, make_shim: MakeShim) -> None:
        async with make_shim(docs_enabled=False) as shim:
            assert [(await shim.http.get(path)).status_code for path in ("/docs", "/openapi.json")] == [404, 404]
