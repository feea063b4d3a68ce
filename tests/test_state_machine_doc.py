"""docs/state-machine.md names what is there, and everything that moves a row."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = (ROOT / "docs" / "state-machine.md").read_text(encoding="utf-8")
MIGRATIONS = "\n".join(
    path.read_text(encoding="utf-8") for path in sorted((ROOT / "supabase/migrations").glob("*.sql"))
)


def functions() -> dict[str, str]:
    """Every function's newest body, under its newest name."""
    found: dict[str, str] = {}
    for name, body, old, new in re.findall(
        r"create (?:or replace )?function public\.(\w+)\(.*?\$\$(.*?)\$\$"
        r"|alter function public\.(\w+)\([^)]*\) rename to (\w+)",
        MIGRATIONS,
        flags=re.DOTALL,
    ):
        if new:
            found[new] = found.pop(old)
        else:
            found[name] = body
    return found


def test_every_function_that_it_names_exists() -> None:
    named = {name for name in re.findall(r"`(\w+_\w+)`", DOCUMENT) if not name.startswith("scheduled_")}
    columns = {"exclusive_key", "retry_of", "parent_id", "lease_ends_at", "sweep_state"}
    assert named - columns <= functions().keys()


def test_every_function_that_moves_a_row_is_named() -> None:
    moving = {
        name
        for name, body in functions().items()
        if re.search(r"update public\.scheduled_jobs\b[^;]*?\bset\s+(?:[^;]*?,\s*)?status\s*=", body)
        or "insert into public.scheduled_jobs" in body
    }
    assert {"take_job", "finish_job", "end_without_process", "accept_known_job"} <= moving
    assert [name for name in sorted(moving) if f"`{name}`" not in DOCUMENT] == []
