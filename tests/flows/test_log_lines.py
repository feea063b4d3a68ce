"""What the processes of the cluster log: one JSON line a record, with the job's id where it is known."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

ROOT = Path(__file__).resolve().parents[2]
JOB = uuid4()
# A process that Prefect configures, as in a pod: the settings file decides, and nobody calls `basicConfig`.
_PROGRAM = f"""
import logging, threading, contextvars
from uuid import UUID
import prefect.main
from prefect.logging import get_logger
from flows.core import lease
get_logger("workers").info("before any job")
lease.enter(lease.Lease(UUID("{JOB}"), 7))
get_logger("flow_runs").info("under the lease", extra={{"flow_run_id": "f0", "send_to_api": False}})
try:
    raise ValueError("boom\\nsecret=abcdefgh")
except ValueError:
    logging.getLogger("elsewhere").exception("two\\nlines to somebody@example.com")
context = contextvars.copy_context()
threading.Thread(target=context.run, args=(logging.getLogger("thread").warning, "from the beat's thread")).start()
"""


def lines() -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        cwd=ROOT,
        env=os.environ
        | {
            "PREFECT_LOGGING_SETTINGS_PATH": str(ROOT / "flows" / "core" / "logging.yml"),
            "PREFECT_LOGGING_TO_API_ENABLED": "false",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_record_is_one_line_of_json_with_the_job_where_it_is_known() -> None:
    before, under, failed, thread = lines()
    assert (before["level"], before["message"], before.get("jobId")) == ("info", "before any job", None)
    assert (under["jobId"], under["flowRunId"], under["logger"]) == (str(JOB), "f0", "prefect.flow_runs")
    assert UUID(failed["jobId"]) == JOB
    assert "ValueError: boom" in failed["exception"]
    assert "abcdefgh" not in failed["exception"]
    assert failed["message"] == "two\nlines to <address>"
    assert thread["jobId"] == str(JOB)
