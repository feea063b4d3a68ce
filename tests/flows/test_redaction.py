"""What free text may never carry into a row or a log."""

from __future__ import annotations

import subprocess
import sys

import pytest

from flows.core.redaction import redact


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("mail to jane.doe+x@mail.example.org failed", "mail to <address> failed"),
        ("Authorization: Bearer abc.def-ghi", "Authorization: Bearer <token>"),
        ("key eyJhbGciOi.eyJzdWIi.c2ln end", "key <token> end"),
        ("GET https://x.org/a?token=1#b", "GET https://x.org/a"),
        ("postgresql://user:pw@host/db", "postgresql://<credentials>@host/db"),
        ("apikey=abc, next", "apikey=<secret>, next"),
        ("nothing to see", "nothing to see"),
    ],
)
def test_secrets_are_taken_out(text: str, left: str) -> None:
    assert redact(text) == left


def test_the_text_is_cut() -> None:
    assert len(redact("word " * 10_000, limit=100)) == 100


def test_no_text_made_to_be_slow_holds_up_the_process() -> None:
    """Work once grew with the square of the length: minutes for these. The kernel ends the child after 20 s of CPU."""
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_CPU, (20, 20))\n"
        "from flows.core.redaction import redact\n"
        "for unit in sys.argv[1:]: assert len(redact(unit * 100_000, limit=32_000)) <= 32_000"
    )
    units = ["a", "eyJ", "http://", "bearer ", "token ", "a://", "a@", "x.", "eyJa."]
    assert subprocess.run([sys.executable, "-c", script, *units], check=False).returncode == 0
