"""The trivial job for Airflow."""

import time
from pathlib import Path

from airflow.sdk import dag, get_current_context, task


@dag(schedule=None, catchup=False)
def trivial():
    @task
    def note() -> None:
        at = time.time()
        Path(get_current_context()["dag_run"].conf["file"]).write_text(repr(at))

    note()


trivial()
