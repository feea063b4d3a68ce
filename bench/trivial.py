"""The flow that the benchmarks start: it notes when its first line ran."""

from __future__ import annotations

import time
from pathlib import Path

from prefect import flow


@flow
def trivial(file: str) -> None:
    Path(file).write_text(repr(time.time()))
