"""The comparison of rows with Prefect gets round to every open run, also when they are more than one look takes."""

from __future__ import annotations

from tests.api.conftest import Shim
from tests.conftest import Connection


async def test_the_next_look_goes_on_where_the_last_one_was(shim: Shim, sql: Connection) -> None:
    rows = await sql.fetch(
        "insert into scheduled_jobs (job_type, origin, status, flow_run_id, run_open, fence, locked_at)"
        " select 'crawl_pending', 'dashboard', 'running', gen_random_uuid(), true, 1, now()"
        " from generate_series(1, 1100) returning flow_run_id::text"
    )
    looks: list[list[str]] = []
    for _ in range(3):
        shim.prefect.asked.clear()
        await shim.runtime.reconciler.compare_open()
        questions = [body["flow_runs"]["id"]["any_"] for path, body in shim.prefect.asked if path.endswith("/filter")]
        looks.append([run for question in questions for run in question])
    first, second, third = looks
    assert (len(first), len(second)) == (1000, 100)
    assert {*first, *second} == {row["flow_run_id"] for row in rows}
    assert third == first, "and then from the beginning"
