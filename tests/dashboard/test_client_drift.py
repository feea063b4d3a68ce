"""The dashboard's client is what the API's own description says; `make client` writes both files anew."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from api.describe import text

DASHBOARD = Path(__file__).resolve().parents[2] / "dashboard"
HINT = "run `make client` and commit what it changes"


def test_the_kept_description_is_what_the_api_says_of_itself() -> None:
    kept = (DASHBOARD / "openapi.json").read_text(encoding="utf-8")
    assert kept.splitlines() == text().splitlines(), f"dashboard/openapi.json is not the API's: {HINT}"


def test_the_client_types_are_generated_from_the_kept_description(tmp_path: Path) -> None:
    made = tmp_path / "schema.d.ts"
    command = ["npm", "run", "--silent", "types", "--", "--output", str(made)]
    done = subprocess.run(command, cwd=DASHBOARD, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    kept = (DASHBOARD / "src/api/schema.d.ts").read_text(encoding="utf-8")
    assert kept.splitlines() == made.read_text(encoding="utf-8").splitlines(), f"the client is an older one: {HINT}"


def test_the_description_is_the_same_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    before = text()
    monkeypatch.setenv("DOCS_ENABLED", "true")
    monkeypatch.setenv("CLERK_ISSUER", "https://clerk.example.com")
    assert text() == before
