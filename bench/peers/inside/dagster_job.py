"""The trivial job for Dagster."""

import time
from pathlib import Path

from dagster import Definitions, in_process_executor, job, op


@op(config_schema={"file": str})
def note(context) -> None:
    Path(context.op_config["file"]).write_text(repr(time.time()))


@job(executor_def=in_process_executor)
def trivial() -> None:
    note()


defs = Definitions(jobs=[trivial])
