"""The trivial job as a job of ours: it takes its lease, notes when its first line ran, and ends.

The benchmarks let the deployment of a job type run this instead, so that everything around it is the real thing.
"""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path

from flows.core.domain import JobResult, JobType
from flows.core.job import job
from flows.core.lease import current_lease
from flows.update_metrics import Parameters

FOLDER = "BENCH_FOLDER"


@job(JobType.UPDATE_METRICS, max_run_time=timedelta(minutes=60))
async def update_metrics(_parameters: Parameters) -> JobResult:
    """Update Metrics."""
    at = time.time()
    lease = current_lease()
    assert lease is not None
    (Path(os.environ[FOLDER]) / str(lease.job_id)).write_text(repr(at))
    return JobResult(1)
