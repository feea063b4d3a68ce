"""What is secret stays out of the log and out of every answer, wherever a caller puts it."""

from __future__ import annotations

import json
import logging
import signal
import sys
from typing import Any

import httpx
import pytest

from api import machine_keys
from api.logs import JsonLines
from tests.api.conftest import Shim
from tests.api.fakes import Tokens
from tests.api.test_process import running

MACHINE_KEY = machine_keys.make()[0]
CLERK_KEY = "sk_live_AbCdEfGhIjKlMnOpQrStUv"


def raise_it(said: str) -> None:
    raise ValueError(said)


def secrets_of(tokens: Tokens) -> list[str]:
    return [tokens.sign(), MACHINE_KEY, CLERK_KEY, "ada@example.com"]


async def test_no_answer_repeats_a_secret(shim: Shim) -> None:
    for secret in secrets_of(shim.tokens):
        wrong: list[Any] = [
            {"jobType": secret},
            {"jobType": "crawl_pending", secret: 1},
            {"jobType": "crawl_pending", "priority": secret},
            {"jobType": "crawl_pending", "parameters": {secret: 1}},
            {"jobType": "crawl_pending", "parameters": {"mode": secret}},
            {"jobType": "crawl_pending", "parameters": {"max_items": secret}},
            {"jobType": "crawl_pending", "parameters": {"extra": {secret: {"__prefect_kind": "jinja"}}}},
            {"jobType": "crawl_pending", "triggeredBy": f"{secret}\0"},
            [secret],
            secret,
        ]
        answers = [await shim.trigger(body) for body in wrong]
        answers += [
            await shim.get(f"/api/jobs?{secret}=1"),
            await shim.get(f"/api/jobs?type={secret}"),
            await shim.get(f"/api/jobs?limit={secret}"),
            await shim.get(f"/api/jobs?parent={secret}"),
            await shim.get(f"/api/jobs?from={secret}"),
            await shim.get(f"/api/jobs?cursor={secret}"),
            await shim.get(f"/api/jobs?archived={secret}"),
            await shim.get(f"/api/jobs/{secret}"),
            await shim.get(f"/{secret}"),
            await shim.http.get("/api/jobs", headers={"Authorization": f"Bearer {secret}x"}),
            await shim.http.get("/health", headers={"X-Request-Id": secret}),
            await shim.trigger(Idempotency_Key=f"{secret} "),
            await shim.http.request(f"X{secret[:8]}", "/api/jobs"),
        ]
        for answer in answers:
            assert answer.status_code < 500
            assert secret not in answer.text, (answer.request.url, answer.text)
            assert secret not in str(answer.headers)


async def test_no_line_of_the_log_holds_a_secret(tokens: Tokens) -> None:
    secrets = secrets_of(tokens)
    async with running() as (process, url), httpx.AsyncClient(trust_env=False) as http:
        for secret in secrets:
            for path in (f"/{secret}", f"/api/jobs/{secret}", f"/api/jobs?token={secret}", f"/health/{secret}/x"):
                headers = {"Authorization": f"Bearer {secret}", "X-Request-Id": secret, "Cookie": f"__session={secret}"}
                await http.get(f"{url}{path}", headers=headers)
            await http.post(f"{url}/api/jobs/trigger", content=secret, headers={"Authorization": f"Basic {secret}"})
        process.send_signal(signal.SIGTERM)
        output, errors = await process.communicate()
    assert len(output.decode().splitlines()) >= len(secrets) * 5
    for secret in secrets:
        assert secret not in output.decode()
        assert secret not in errors.decode()


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer {}",
        "headers={{'authorization': 'Bearer {}'}}",
        "https://host/path?token={}",
        "{}",
        "'{}'",
        "a/{}/b",
        'apikey="{}"',
    ],
)
async def test_a_traceback_is_told_without_secrets(tokens: Tokens, text: str) -> None:
    for secret in secrets_of(tokens):
        said = text.format(secret)
        try:
            raise_it(said)
        except ValueError:
            record = logging.LogRecord("x", logging.ERROR, "x.py", 1, said, None, sys.exc_info())
        record.path = record.actor = said
        line = JsonLines().format(record)
        assert secret not in line
        assert json.loads(line)["exception"].startswith("Traceback")
