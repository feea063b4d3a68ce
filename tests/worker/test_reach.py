"""A worker whose runs could not read their code says so instead of starting them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from worker.reach import out_of_reach


def test_a_folder_that_is_its_owners_alone_is_out_of_reach() -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are their owner's alone
        closed = Path(name)
        code = closed / "code"
        code.mkdir()
        closed.chmod(0o755)
        assert out_of_reach("nobody", (code,)) is None
        closed.chmod(0o700)
        assert out_of_reach("nobody", (code,)) == closed
        assert out_of_reach("root", (code,)) is None


@pytest.mark.parametrize("user", ["nobody", "no-such-user"])
def test_the_worker_says_so_and_does_not_start(user: str) -> None:
    if user == "nobody" and out_of_reach("nobody") is None:
        pytest.skip("nobody can read the code here")
    done = subprocess.run(
        [sys.executable, "-m", "worker"],
        env={**os.environ, "WORKER_RUN_AS": user},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"WORKER_RUN_AS is {user!r}, ")
