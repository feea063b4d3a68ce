"""Faults, the log of calls and the life of a stand-in's process; on the page site, which needs nothing else."""

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.sandbox.standin_process import RunningStandIn, running

HANGS = 0.5


@pytest.fixture(scope="module")
def _site() -> Iterator[RunningStandIn]:
    with running("site") as site:
        yield site


@pytest.fixture
def site(_site: RunningStandIn) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=_site.url, timeout=5, trust_env=False) as client:
        yield client
        client.put("/__faults", json={"fault": None})
        client.delete("/__calls")


def test_health_says_who_it_is(site: httpx.Client) -> None:
    answer = site.get("/health").json()
    assert answer.keys() == {"status", "service", "timestamp"}
    assert answer["service"] == "site-service"
    assert answer["timestamp"].endswith("Z")


def test_unknown_path_says_that_the_endpoint_is_absent(site: httpx.Client) -> None:
    answer = site.get("/api/nothing")
    assert answer.status_code == 404
    assert answer.json()["error"] == "Endpoint not found"


@pytest.mark.parametrize("status", [500, 503, 429])
def test_error_faults_answer_so_often_and_then_stop(site: httpx.Client, status: int) -> None:
    assert site.put("/__faults", json={"fault": str(status), "times": 2, "seconds": 7}).status_code == 200
    answers = [site.get("/bulk/1") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [status, status, 200]
    assert answers[0].headers.get("retry-after") == ("7" if status == 429 else None)
    assert site.get("/__faults").json()["fault"] is None


def test_slow_answers_late(site: httpx.Client) -> None:
    site.put("/__faults", json={"fault": "slow", "seconds": 0.3, "times": 1})
    started = time.monotonic()
    assert site.get("/bulk/1").status_code == 200
    assert time.monotonic() - started >= 0.3


def test_hang_never_answers(site: httpx.Client) -> None:
    site.put("/__faults", json={"fault": "hang"})
    with pytest.raises(httpx.ReadTimeout):
        site.get("/bulk/1", timeout=HANGS)
    assert site.get("/health").status_code == 200


def test_drop_closes_the_connection_without_a_byte(site: httpx.Client) -> None:
    site.put("/__faults", json={"fault": "drop", "times": 1})
    with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
        site.get("/bulk/1")
    assert site.get("/bulk/1").status_code == 200
    assert [call["status"] for call in site.get("/__calls").json()["recent"]] == [None, 200]


def test_a_share_of_the_requests_meets_a_fault_the_same_ones_each_time(site: httpx.Client) -> None:
    rounds = []
    for _ in range(2):
        site.put("/__faults", json={"fault": "503", "share": 0.25, "seed": 7})
        rounds.append([site.get("/bulk/1").status_code for _ in range(80)])
        assert site.get("/__faults").json()["met"] == rounds[-1].count(503)
    assert rounds[0] == rounds[1]
    assert 8 <= rounds[0].count(503) <= 32


def test_only_requests_that_meet_a_fault_use_up_its_times(site: httpx.Client) -> None:
    site.put("/__faults", json={"fault": "503", "share": 0.5, "seed": 7, "times": 3})
    assert [site.get("/bulk/1").status_code for _ in range(40)].count(503) == 3
    assert site.get("/__faults").json() == {
        "fault": None,
        "times": None,
        "seconds": 5.0,
        "share": 0.5,
        "met": 3,
        "known": ["slow", "500", "503", "429", "hang", "drop"],
    }


@pytest.mark.parametrize(
    "wanted",
    [
        {"fault": "explode"},
        {"times": 3},
        {"fault": "hang", "times": 0},
        {"fault": "slow", "seconds": "long"},
        [],
    ],
)
def test_a_wrong_fault_is_refused_and_changes_nothing(site: httpx.Client, wanted: object) -> None:
    answer = site.put("/__faults", json=wanted)
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert site.get("/__faults").json()["fault"] is None


def test_calls_are_logged_without_secrets_and_forgotten_on_request(site: httpx.Client) -> None:
    site.get("/bulk/3?x=1", headers={"authorization": "Bearer hush", "idempotency-key": "k1"})
    calls = site.get("/__calls").json()
    assert calls["count"] == 1
    call = calls["recent"][0]
    assert (call["method"], call["path"], call["query"], call["status"]) == ("GET", "/bulk/3", "x=1", 200)
    assert call["headers"]["idempotency-key"] == "k1"
    assert "hush" not in str(calls)
    assert site.delete("/__calls").status_code == 204
    assert site.get("/__calls").json() == {"count": 0, "received": [], "recent": []}


def test_sigterm_ends_it_with_status_0_though_requests_hang() -> None:
    with running("site") as site:
        httpx.put(f"{site.url}/__faults", json={"fault": "hang"}, trust_env=False)
        refused: list[Exception] = []
        caller = threading.Thread(target=_call_until_refused, args=(f"{site.url}/bulk/1", refused))
        caller.start()
        while httpx.get(f"{site.url}/__calls", trust_env=False).json()["count"] == 0:
            time.sleep(0.02)
        started = time.monotonic()
        site.process.send_signal(signal.SIGTERM)
        assert site.process.wait(5) == 0
        assert time.monotonic() - started < 1.2
        caller.join(5)
    assert isinstance(refused[0], httpx.RemoteProtocolError | httpx.ReadError)


def test_a_taken_port_ends_it_with_a_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        command = [sys.executable, "-m", "sandbox.standins", "site", "--port", str(taken.getsockname()[1])]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert ended.returncode != 0
    assert "address already in use" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_missing_setting_ends_it_with_a_sentence() -> None:
    command = [sys.executable, "-m", "sandbox.standins", "email", "--port", "0"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20, env={"PATH": "/usr/bin"})
    assert (ended.returncode, ended.stderr) == (2, "email: DATABASE_URL is not set\n")


def _call_until_refused(url: str, refused: list[Exception]) -> None:
    try:
        httpx.get(url, timeout=30, trust_env=False)
    except httpx.TransportError as cut_off:
        refused.append(cut_off)
