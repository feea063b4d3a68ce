"""The trivial job for Procrastinate."""

import os
import time
from pathlib import Path

from procrastinate import App, PsycopgConnector

app = App(connector=PsycopgConnector(conninfo=os.environ["BENCH_DATABASE"]))


@app.task(name="trivial")
async def trivial(file: str) -> None:
    Path(file).write_text(repr(time.time()))
