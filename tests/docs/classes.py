"""In which way each command of the docs is tried: every one is in exactly one class.

run        against a stack, with the statuses that the docs say
cluster    its own shell, around a kubectl (docker, kind, git) that has no cluster: what it is asked for is checked
elsewhere  by another test, or a step of CI, that does the same
exempt     not at all, for a reason
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.docs.commands import PROGRAMS, PROMQL, SHELL, SQL, Command

RUN, CLUSTER, ELSEWHERE, EXEMPT = "run", "cluster", "elsewhere", "exempt"

_PYTHON = r"(?:\.venv/bin/)?python3?"
_CLUSTER = re.compile(r"(?:^|\$\(|[;|&] )(?:[A-Z_]+=\S+ )*(?:kubectl|k|docker|podman|kind|git) ")
_RUN = (
    r"curl .*",
    r"make help",
    rf"{_PYTHON} -m (?:sandbox|deployments|deployments\.migrate|api\.machine_keys|api\.probe)(?: .*)?",
    rf"{_PYTHON} \w+\.py\b.*",
    r"node \w+\.mjs\b.*",
    r"prefect (?!deploy\b|flow-run execute).*",
    r"psql .*",
    r"(?:alias|cat|date|echo|export|pip|umask) .*",
)


@dataclass(frozen=True)
class Elsewhere:
    """Commands of a form, and where else they are run: a file, with words of it."""

    form: str
    file: str
    words: str


_CI = ".github/workflows/ci.yml"
ELSEWHERES = (
    # The stack that `make up` starts is the one that every test with a stack starts, with either worker.
    Elsewhere(r"(?:[A-Z]+=\S+ )*make up(?: [A-Z]+=\S+)*", "tests/conftest.py", 'Stack(folder, ports="free"'),
    Elsewhere(r"make down", "tests/sandbox/test_stack.py", '_command(tmp_path, "down")'),
    Elsewhere(r"make prometheus", "tests/monitoring/test_prometheus.py", '("prometheus", "--port"'),
    Elsewhere(r"make test(?: [A-Z]+=.+)*", _CI, "make test PROCESSES=3"),
    Elsewhere(r"make test-browser(?: [A-Z]+=.+)*", _CI, "make test PROCESSES=3"),
    Elsewhere(r"make check", _CI, "run: make check"),
    Elsewhere(r"make image-test(?: [A-Z_]+=\S+)*", _CI, "run: make image-test"),
    Elsewhere(r"make image(?: [A-Z_]+=\S+)*", "tests/image/conftest.py", "engine.build("),
    Elsewhere(r"make chaos(?: [A-Z]+=\S+)*", "tests/chaos/test_kills.py", "`make chaos`"),
    Elsewhere(r"make client", "tests/dashboard/test_client_drift.py", "run `make client`"),
    Elsewhere(r"(?:cd dashboard && )?npm run build", "Makefile", "npm run --silent build"),
    Elsewhere(r"(?:cd dashboard && )?npm ci", "Makefile", "npm ci --no-audit --no-fund"),
    Elsewhere(rf"{_PYTHON} -m worker(?: --.*)?", "tests/worker/harness.py", '"-m", "worker"'),
    Elsewhere(rf"{_PYTHON} -m worker\.pod", "tests/e2e/test_pod.py", '"-m", "worker.pod"'),
    Elsewhere(rf"{_PYTHON} -m api\.smoke.*", "tests/e2e/test_smoke.py", '"-m", "api.smoke"'),
    Elsewhere(rf"{_PYTHON} -m deployments\.rollout .*", "tests/delivery/test_rollout.py", '"deployments.rollout"'),
    Elsewhere(r"prefect flow-run execute", "tests/image/test_running.py", '("prefect", "flow-run", "execute")'),
    Elsewhere(r"prefect deploy(?: --all)?", "tests/e2e/test_schedule_edits.py", '"deploy", "--all"'),
    Elsewhere(r"pg_dump .*", "tests/delivery/test_restore.py", '"pg_dump", *dump_words()'),
    Elsewhere(r"pg_restore .*", "tests/delivery/test_restore.py", '"pg_restore", "--clean", "--if-exists"'),
)
# A page whose commands a test of its own runs, from its first to its last; and one that a program writes, in which
# commands are what was measured.
PAGES_ELSEWHERE = {
    "docs/adding-a-job-type.md": "tests/docs/test_adding_a_job_type_doc.py",
    "docs/benchmarks.md": "tests/bench/test_page.py",
}

EXEMPTIONS = {
    r"make lock": "asks the registries for the newest versions and rewrites the locks",
    r"npm install .*": "the same, for the dashboard's lock",
    r"make screenshots": "rewrites docs/img; tests/browser/test_views.py opens the same views",
    r"make chaos-digest(?: [A-Z]+=\S+)*": "takes half an hour; tests/e2e/test_weekly_digest.py kills digests as well",
    r"make bench(?:-\w+)?(?: [A-Z]+=.+)*": "takes from 15 minutes to hours; tests/bench has its parts",
}


def classes_of(command: Command) -> list[str]:
    """Every class that the command is in: one, where all is well."""
    if command.page in PAGES_ELSEWHERE:
        return [ELSEWHERE]
    if command.kind in (SQL, PROMQL, *PROGRAMS):
        return [RUN]
    text = command.text.partition("  # ")[0].rstrip(" &")
    in_cluster = command.kind == SHELL and _CLUSTER.search(text) is not None
    found = {
        RUN: not in_cluster and any(re.fullmatch(form, text, re.DOTALL) for form in _RUN),
        CLUSTER: in_cluster,
        ELSEWHERE: any(re.fullmatch(one.form, text) for one in ELSEWHERES),
        EXEMPT: any(re.fullmatch(form, text) for form in EXEMPTIONS),
    }
    return [name for name, is_in in found.items() if is_in]
