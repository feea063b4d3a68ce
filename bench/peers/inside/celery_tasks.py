"""The trivial job for Celery."""

import os
import time
from pathlib import Path

from celery import Celery

app = Celery("trivial", broker=os.environ["BENCH_REDIS"], backend=os.environ["BENCH_REDIS"])
app.conf.broker_connection_retry_on_startup = True


@app.task
def trivial(file: str) -> None:
    Path(file).write_text(repr(time.time()))
