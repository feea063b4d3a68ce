"""The dashboard's own tests (vitest, in jsdom), as one test of this suite: what fails is in its failure."""

from __future__ import annotations

import subprocess
from pathlib import Path

DASHBOARD = Path(__file__).resolve().parents[2] / "dashboard"


def test_the_components_pass_their_own_tests() -> None:
    done = subprocess.run(
        ["npm", "test", "--silent"], cwd=DASHBOARD, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
