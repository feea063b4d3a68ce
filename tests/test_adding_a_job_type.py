"""A new job type touches four places and README's row, and the registry test names each one that is left out."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# What the registry's checks import and read; the rest of the repository has no say in them.
NEEDED = ("README.md", "prefect.yaml", "pyproject.toml", "deployments", "flows", "tests")
# Without the fixtures: the sandbox they import takes longer than the checks.
REGISTRY_TEST = ("pytest", "-v", "--noconftest", "-p", "no:cacheprovider", "tests/test_registry.py")

JOB_FILE = '''"""Counts stars."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel

from flows.core.domain import JobResult, JobType
from flows.core.job import job


class Parameters(BaseModel):
    pass


@job(JobType.COUNT_STARS, max_run_time=timedelta(minutes=1))
async def count_stars(parameters: Parameters) -> JobResult:
    """Count Stars."""
    return JobResult(0)
'''
STANZA = """
  - name: count_stars
    entrypoint: flows.count_stars.count_stars
    tags: [count_stars]
    work_pool:
      <<: *medium
      job_variables:
        <<: *light
        active_deadline_seconds: 360
    schedules:
      - cron: "30 3 * * *"
"""

Place = Callable[[Path], None]


def insert(path: Path, line: str, *, after: str) -> None:
    """Writes a line behind the last of the lines that `after` matches."""
    text = path.read_text(encoding="utf-8")
    end = [match.end() for match in re.finditer(after, text, re.MULTILINE)][-1]
    path.write_text(f"{text[:end]}\n{line}{text[end:]}", encoding="utf-8")


def job_file(copy: Path) -> None:
    (copy / "flows" / "count_stars.py").write_text(JOB_FILE, encoding="utf-8")


def enum_line(copy: Path) -> None:
    insert(copy / "flows/core/domain.py", '    COUNT_STARS = "count_stars"', after=r"^    CRAWL_PENDING = .*$")


def stanza(copy: Path) -> None:
    insert(copy / "prefect.yaml", STANZA, after=r"\S\n*\Z")


def test_file(copy: Path) -> None:
    (copy / "tests" / "flows" / "test_count_stars.py").write_text('"""Counting stars."""\n', encoding="utf-8")


def readme_row(copy: Path) -> None:
    row = "| `count_stars` | `30 3 * * *` | Count Stars | counts them |"
    insert(copy / "README.md", row, after=r"^\| `crawl_pending` \|.*$")


# The function is a place, not a test.
test_file.__test__ = False  # type: ignore[attr-defined]
PLACES: tuple[Place, ...] = (job_file, enum_line, stanza, test_file, readme_row)


def copy_repository(copy: Path, *needed: str) -> None:
    """The repository as it is here, or what is needed of it, without what git ignores."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *needed],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            target = copy / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)


def run(copy: Path, *command: str) -> tuple[int, str]:
    """Exit status and output."""
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=copy, capture_output=True, text=True, check=False, timeout=120
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[Place | None, tuple[int, str]]:
    """What the registry test says of a copy without each of the places, and (None) with all of them."""

    def verdict(left_out: Place | None) -> tuple[int, str]:
        copy = tmp_path_factory.mktemp(left_out.__name__ if left_out else "complete")
        copy_repository(copy, *NEEDED)
        for place in PLACES:
            if place is not left_out:
                place(copy)
        status, output = run(copy, *REGISTRY_TEST)
        if left_out is None and status == 0:
            return run(copy, "deployments", "check")[0], output
        return status, output

    # Most of it is the import of Prefect, seven times.
    with ThreadPoolExecutor(max_workers=2) as at_once:
        asked: list[Place | None] = [None, *PLACES]
        return dict(zip(asked, at_once.map(verdict, asked), strict=True))


def test_with_all_its_places_a_new_job_type_is_complete(verdicts: dict[Place | None, tuple[int, str]]) -> None:
    status, output = verdicts[None]
    assert status == 0, output
    assert "[count_stars] PASSED" in output


@pytest.mark.parametrize(
    ("left_out", "message"),
    [
        (job_file, "entrypoint 'flows.count_stars.count_stars' does not import: No module named 'flows.count_stars'"),
        (enum_line, "count_stars: is a deployment without a JobType"),
        (stanza, "count_stars: is a JobType without a deployment in prefect.yaml"),
        (test_file, "tests/flows/test_count_stars.py is missing"),
        (readme_row, "README's job table has no row for count_stars"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_place_that_is_left_out_is_named(
    verdicts: dict[Place | None, tuple[int, str]], left_out: Place, message: str
) -> None:
    status, output = verdicts[left_out]
    assert status == 1, output
    assert message in output
