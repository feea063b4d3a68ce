"""`python -m checks`: everything wrong with what is shipped beside the code, one line each."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from deployments.terminal import Terminal, complain, ended

ROOT = Path(__file__).resolve().parent.parent
CHECKS = (
    "render",
    "references",
    "restricted",
    "network",
    "rbac",
    "timing",
    "environment",
    "job_template",
    "rules",
    "workflows",
    "dockerfile",
)


def main() -> int:
    """0 when all is well, 1 with one line for each mistake otherwise."""
    argparse.ArgumentParser(prog="python -m checks", description=__doc__).parse_args()
    terminal, found = Terminal(), list[str]()
    with terminal.step("checking") as step:
        for number, name in enumerate(CHECKS, 1):
            terminal.progress(f"checking {name.replace('_', ' ')} ({number} of {len(CHECKS)})")
            # Imported one by one: together it takes seconds, in which something is to be seen.
            found += importlib.import_module(f"checks.{name}").mistakes(ROOT)
        lines = list(dict.fromkeys(found))
        names = ", ".join(CHECKS)
        step.done = f"checks: {len(lines)} mistakes" if lines else f"checks: {names} find no mistake"
    for line in lines:
        complain(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(ended(main))
